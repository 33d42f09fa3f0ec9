#include "slab_registry.hpp"

#include <troupe/error.hpp>
#include <troupe/runtime.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <pthread.h>
#include <string>
#include <unistd.h>

namespace troupe::detail {

namespace {

// CellHead::life: which cell it is of all that were ever there, how many other processes than the maker use it, and how
// many messages are on their way with it.
constexpr std::uint64_t one_message = 1;
constexpr std::uint64_t message_mask = (std::uint64_t{1} << 24U) - 1;
constexpr std::uint64_t one_user = std::uint64_t{1} << 24U;
constexpr std::uint64_t user_mask = ((std::uint64_t{1} << 16U) - 1) * one_user;
constexpr unsigned generation_shift = 40;
constexpr std::uint64_t generation_mask = (std::uint64_t{1} << 24U) - 1;

constexpr std::uint64_t generation_of(std::uint64_t life) { return life >> generation_shift; }
// A count that has reached its end stays there: the cell is then never free again.
constexpr bool counts(std::uint64_t life, std::uint64_t mask) { return (life & mask) != 0 && (life & mask) != mask; }

/// Changes the life of a cell of that generation by `change(life)`; false if the cell is another one by now.
template <class Change>
bool update(CellHead& head, std::uint64_t generation, Change change) noexcept {
  std::uint64_t life = head.life.load(std::memory_order_acquire);
  do {
    if (generation_of(life) != generation) return false;
  } while (!head.life.compare_exchange_weak(life, change(life), std::memory_order_acq_rel));
  return true;
}

std::uint64_t without_message(std::uint64_t life) {
  return counts(life, message_mask) ? life - one_message : life;
}
std::uint64_t with_message(std::uint64_t life) {
  return (life & message_mask) == message_mask ? life : life + one_message;
}
std::uint64_t with_user(std::uint64_t life) { return (life & user_mask) == user_mask ? life : life + one_user; }
std::uint64_t without_user(std::uint64_t life) { return counts(life, user_mask) ? life - one_user : life; }

std::atomic<bool> has_instance{false};

/// Makes lines all zero but for the first word of each.
void wipe(const Slab& slab, std::size_t index, std::size_t num_lines) noexcept {
  for (std::size_t i = index; i < index + num_lines; ++i)
    std::memset(reinterpret_cast<std::byte*>(slab.line(i)) + sizeof(CellHead::life), 0,
                cell_bytes - sizeof(CellHead::life));
}

/// Where `num_lines` unused ones stand in a row; 0: nowhere.
std::size_t find_unused(const Slab& slab, std::size_t num_lines) noexcept {
  std::size_t in_a_row = 0;
  for (std::size_t i = 1; i < slab.used.size(); ++i) {
    in_a_row = slab.used[i] ? 0 : in_a_row + 1;
    if (in_a_row == num_lines) return i + 1 - num_lines;
  }
  return 0;
}

void mark_used(Slab& slab, std::size_t index, std::size_t num_lines, bool used) noexcept {
  for (std::size_t i = index; i < index + num_lines; ++i) slab.used[i] = used;
}

}  // namespace

Slab::Slab(int descriptor, Ticket name, bool made_here)
    : ticket(name), memory(descriptor, 0, slab_bytes, Mapping::Access::read_write, "locks"), is_own(made_here) {}

CellRecord::~CellRecord() {
  if (slab) SlabRegistry::instance().drop(*this);
}

bool CellRecord::count_message() noexcept { return update(*slab->line(index), generation, with_message); }
bool CellRecord::drop_message() noexcept { return update(*slab->line(index), generation, without_message); }

bool slab_has_messages(int descriptor) noexcept {
  struct alignas(cell_bytes) Line {
    std::uint64_t life;
  };
  std::array<Line, slab_bytes / cell_bytes> lines{};
  if (::pread(descriptor, lines.data(), sizeof lines, 0) != static_cast<ssize_t>(sizeof lines)) return false;
  return std::any_of(lines.begin() + 1, lines.end(), [](const Line& line) { return (line.life & message_mask) != 0; });
}

SlabRegistry& SlabRegistry::instance() {
  static auto* all = new SlabRegistry;  // never destroyed: handles may be dropped at any time
  has_instance = true;
  return *all;
}

void recover_mapped_slabs(pid_t dead) noexcept {
  if (has_instance) SlabRegistry::instance().recover(dead);
}

void SlabRegistry::recover(pid_t dead) noexcept {
  const std::lock_guard lock{mutex_};
  for (const auto& [ticket, slab] : slabs_) recover_cells({slab->memory.data(), slab->memory.size_bytes()}, dead);
}

void recover_mapped_slabs_of_all_dead() noexcept {
  if (has_instance) SlabRegistry::instance().recover_of_all_dead();
}

void SlabRegistry::recover_of_all_dead() noexcept {
  const std::lock_guard lock{mutex_};
  for (const auto& [ticket, slab] : slabs_)
    recover_cells_of_all_dead({slab->memory.data(), slab->memory.size_bytes()});
}

SlabRegistry::SlabRegistry() {
  static SlabRegistry* all = this;
  ::pthread_atfork([] { all->before_fork(); }, [] { all->mutex_.unlock(); }, [] { all->after_fork_in_child(); });
  at_child_start([] { all->give_back_at_end(); });
  if (is_running()) give_back_at_end();
}

std::shared_ptr<CellRecord> SlabRegistry::make(CellKind kind, std::size_t num_lines) {
  require_runtime();
  if (num_lines == 0 || num_lines > max_cell_lines)
    throw ValueError("a cell has 1 to " + std::to_string(max_cell_lines) + " lines, not " + std::to_string(num_lines));
  for (;;) {
    if (auto record = try_make(kind, num_lines)) return record;
    const FileDescriptor file = create_memory_file("troupe locks", slab_bytes);
    const auto slab = std::make_shared<Slab>(file.get(), new_ticket(), true);
    slab->head().mark = SlabHead::right_mark;
    store::hold(slab->ticket, std::array{file.get()});
    const std::lock_guard lock{mutex_};
    slabs_.emplace(slab->ticket, slab);
  }
}

std::shared_ptr<CellRecord> SlabRegistry::try_make(CellKind kind, std::size_t num_lines) {
  const std::lock_guard lock{mutex_};
  for (const auto& [ticket, slab] : slabs_) {
    if (!slab->is_own) continue;
    sweep(*slab);
    const std::size_t index = find_unused(*slab, num_lines);
    if (index == 0) continue;
    slab->last_generation = slab->last_generation == generation_mask ? 1 : slab->last_generation + 1;
    auto record = list(slab, index, slab->last_generation);
    mark_used(*slab, index, num_lines, true);
    CellHead& head = *slab->line(index);
    head.lines.store(static_cast<std::uint16_t>(num_lines), std::memory_order_relaxed);
    head.life.store(slab->last_generation << generation_shift, std::memory_order_release);
    head.kind.store(kind, std::memory_order_release);
    return record;
  }
  return nullptr;
}

std::shared_ptr<CellRecord> SlabRegistry::list(const std::shared_ptr<Slab>& slab, std::size_t index,
                                               std::uint64_t generation) {
  auto record = std::make_shared<CellRecord>();
  record->index = index;
  record->generation = generation;
  record->is_counted = !slab->is_own;
  records_[slab->line(index)] = {.record = record.get(), .handle = record};
  record->slab = slab;
  ++slab->num_records;
  return record;
}

// Frees what is needed nowhere any more. Not while a process that was forked here has yet to count what it took along.
void SlabRegistry::sweep(Slab& slab) noexcept {
  if (slab.head().forks_arrived.load(std::memory_order_acquire) != slab.forks_begun) return;
  std::erase_if(slab.pending, [&](const Slab::Freed& freed) {
    CellHead& head = *slab.line(freed.index);
    std::uint64_t unused = freed.generation << generation_shift;
    if (!head.life.compare_exchange_strong(unused, 0, std::memory_order_acq_rel)) return false;
    wipe(slab, freed.index, freed.num_lines);
    mark_used(slab, freed.index, freed.num_lines, false);
    return true;
  });
}

std::shared_ptr<CellRecord> SlabRegistry::find(Ticket ticket, std::size_t index, std::uint64_t generation) {
  const std::lock_guard slabs_lock{slabs_mutex_};
  const std::shared_ptr<Slab> slab = reach(ticket);
  const std::lock_guard lock{mutex_};
  return join(slab, index, generation);
}

std::shared_ptr<Slab> SlabRegistry::reach(Ticket ticket) {
  {
    const std::lock_guard lock{mutex_};
    if (const auto known = slabs_.find(ticket); known != slabs_.end()) return known->second;
  }
  const std::vector<FileDescriptor> files = store::take_hold(ticket);
  if (files.size() != 1 || !is_slab(files.front().get())) {
    store::let_go(ticket);
    throw CodecError("a handle names shared memory that holds no locks");
  }
  const auto slab = std::make_shared<Slab>(files.front().get(), ticket, false);
  const std::lock_guard lock{mutex_};
  return slabs_.emplace(ticket, slab).first->second;
}

std::shared_ptr<CellRecord> SlabRegistry::join(const std::shared_ptr<Slab>& slab, std::size_t index,
                                               std::uint64_t generation) {
  CellHead& head = *slab->line(index);
  const auto known = records_.find(&head);
  auto record = known == records_.end() ? nullptr : known->second.handle.lock();
  if (record && record->generation != generation) record = nullptr;
  const bool is_new_user = !record && !slab->is_own;
  if (!update(head, generation, [&](std::uint64_t life) {
        return is_new_user ? with_user(without_message(life)) : without_message(life);
      }))
    throw OSError(ENOENT, "finding a lock, or the like, that was sent here");
  if (record) return record;
  std::erase_if(slab->pending, [&](const Slab::Freed& freed) { return freed.index == index; });
  return list(slab, index, generation);
}

void SlabRegistry::drop(CellRecord& record) noexcept {
  Slab& slab = *record.slab;
  CellHead& head = *slab.line(record.index);
  bool is_last = false;
  {
    const std::lock_guard lock{mutex_};
    const auto known = records_.find(&head);
    const bool is_listed = known != records_.end() && known->second.record == &record;
    if (is_listed) records_.erase(known);
    if (record.is_counted) {
      update(head, record.generation, without_user);
    } else if (slab.is_own && is_listed) {
      slab.pending.push_back({.index = record.index,
                              .num_lines = head.lines.load(std::memory_order_relaxed),
                              .generation = record.generation});
    }
    is_last = --slab.num_records == 0 && !slab.is_own;
  }
  if (is_last) forget(slab.ticket);
}

// Unmaps a slab of another process in which this one has no cell any more.
void SlabRegistry::forget(Ticket ticket) noexcept {
  try {
    const std::lock_guard slabs_lock{slabs_mutex_};
    std::shared_ptr<Slab> slab;
    {
      const std::lock_guard lock{mutex_};
      const auto known = slabs_.find(ticket);
      if (known == slabs_.end() || known->second->num_records > 0) return;
      slab = std::move(known->second);
      slabs_.erase(known);
    }
    store::let_go(ticket);
  } catch (const Error&) {
    // After the end of the Runtime, or in a process forked by hand: nobody keeps a list of who holds what.
  }
}

std::size_t SlabRegistry::num_own_lines() {
  const std::lock_guard lock{mutex_};
  std::size_t count = 0;
  for (const auto& [ticket, slab] : slabs_) {
    if (!slab->is_own) continue;
    sweep(*slab);
    count += slab->used.count();
  }
  return count;
}

// --- Forks ---

void SlabRegistry::before_fork() {
  mutex_.lock();
  for (const auto& [ticket, slab] : slabs_)
    if (slab->is_own) ++slab->forks_begun;
}

// The child uses what its parent used, and has made none of it.
void SlabRegistry::after_fork_in_child() {
  for (const auto& [head, known] : records_) {
    CellRecord& record = *known.record;
    record.is_counted = update(*record.slab->line(record.index), record.generation, with_user);
  }
  for (const auto& [ticket, slab] : slabs_) {
    if (!slab->is_own) continue;
    slab->is_own = false;
    slab->pending.clear();
    slab->head().forks_arrived.fetch_add(1, std::memory_order_acq_rel);
  }
  mutex_.unlock();
  new (&slabs_mutex_) std::mutex;  // another thread of the parent may have held it
}

// What is left in the end lives in closures and static objects that are not destroyed in a process that was forked.
void SlabRegistry::give_back_at_end() {
  at_runtime_end([this] { give_back_all(); });
}

void SlabRegistry::give_back_all() noexcept {
  const std::lock_guard lock{mutex_};
  for (const auto& [head, known] : records_) {
    CellRecord& record = *known.record;
    if (record.is_counted) update(*record.slab->line(record.index), record.generation, without_user);
    record.is_counted = false;
  }
}

}  // namespace troupe::detail
