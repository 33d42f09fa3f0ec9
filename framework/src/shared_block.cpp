// Handles to blocks, and what this process knows: its heap, the arenas of others that it has mapped, all its handles.
// A forked process gets knowledge of its own and counts the handles that came along; what it had is given up as it is.

#include <troupe/error.hpp>
#include <troupe/finalizer.hpp>
#include <troupe/runtime.hpp>
#include <troupe/shared_block.hpp>

#include "use_ledger.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <limits>
#include <mutex>
#include <pthread.h>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace troupe {

namespace {

constexpr const char* memory_kind = "memory";
/// After everything else at the end of the process; lower ones could not be told from none.
constexpr int last_priority = -1'000'000'000;
/// Arenas of others that stay mapped although no handle needs them: the next message will.
constexpr std::size_t max_idle_arenas = 16;

/// The arenas of others.
class Neighbours {
 public:
  std::shared_ptr<SharedArena> find(Ticket ticket) {
    const std::lock_guard lock{mutex_};
    const auto found = arenas_.find(ticket);
    if (found == arenas_.end()) return nullptr;
    found->second.last_use = ++clock_;
    return found->second.arena;
  }
  /// One at a time: whoever closes one lets go of its ticket, which must not have been taken anew.
  std::shared_ptr<SharedArena> open(Ticket ticket) {
    const std::lock_guard opening{opening_mutex_};
    if (auto arena = find(ticket)) return arena;
    std::shared_ptr<SharedArena> arena{SharedArena::open(ticket)};
    const auto unneeded = add(arena);
    return arena;
  }
  /// Returns those that are to be closed.
  std::vector<std::shared_ptr<SharedArena>> add(const std::shared_ptr<SharedArena>& arena) {
    const std::lock_guard lock{mutex_};
    auto unneeded = take_unneeded();
    arenas_.emplace(arena->ticket(), Known{arena, ++clock_});
    return unneeded;
  }

 private:
  struct Known {
    std::shared_ptr<SharedArena> arena;
    std::uint64_t last_use = 0;
  };

  std::vector<std::shared_ptr<SharedArena>> take_unneeded() {
    std::vector<std::uint64_t> idle;
    for (const auto& [ticket, known] : arenas_)
      if (known.arena.use_count() == 1) idle.push_back(known.last_use);
    std::uint64_t oldest_kept = 0;
    if (idle.size() > max_idle_arenas) {
      const auto middle = idle.end() - max_idle_arenas;
      std::nth_element(idle.begin(), middle, idle.end());
      oldest_kept = *middle;
    }
    std::vector<std::shared_ptr<SharedArena>> unneeded;
    for (auto entry = arenas_.begin(); entry != arenas_.end();) {
      const Known& known = entry->second;
      if (known.arena.use_count() > 1 || (known.last_use >= oldest_kept && !known.arena->is_retired())) {
        ++entry;
      } else {
        unneeded.push_back(known.arena);
        entry = arenas_.erase(entry);
      }
    }
    return unneeded;
  }

  std::mutex opening_mutex_;
  std::mutex mutex_;
  // Guarded by mutex_:
  std::unordered_map<Ticket, Known> arenas_;
  std::uint64_t clock_ = 0;
};

struct Memory {
  SharedHeap heap;
  Neighbours neighbours;
  std::once_flag end_is_watched;
  Memory* before = nullptr;  // what this one has replaced
};

/// This process's; never destroyed, because static objects may have handles.
std::atomic<Memory*> current_memory{new Memory};

void begin_anew() {
  auto* fresh = new Memory;
  fresh->before = current_memory;
  current_memory = fresh;
}

/// The place in the ledger of a use of `block`, which has been counted; of those of our own heap nobody else need know.
std::size_t write_down(const SharedHeap::Block& block) {
  if (current_memory.load()->heap.find(block.arena->ticket())) return UseLedger::nowhere;
  return UseLedger::current().add(
      {.arena = block.arena->ticket(), .offset = block.offset, .bytes = block.bytes, .serial = block.serial});
}

void drop(const SharedHeap::Block& block, std::size_t place) noexcept {
  if (place != UseLedger::nowhere) UseLedger::current().remove(place);
  SharedHeap& heap = current_memory.load()->heap;
  if (heap.find(block.arena->ticket())) {
    heap.release(block);
  } else {
    block.arena->drop_user(block.offset, block.serial, block.bytes);
  }
}

void count_after_fork();
void drop_all() noexcept;

void watch_end() {
  std::call_once(current_memory.load()->end_is_watched, [] { Finalizer::at_exit(drop_all, last_priority); });
}

/// All handles of this process. The mutex is held over every fork, so that the list is whole in the new process.
struct Registry {
  std::mutex mutex;
  detail::BlockHandle* first = nullptr;
};

Registry& registry() {
  static auto* all = new Registry;
  return *all;
}

void lock_registry() { registry().mutex.lock(); }
void unlock_registry() { registry().mutex.unlock(); }

// Before main: a copy of a process in which another thread just does this would wait for that thread for ever.
const bool prepared = [] {
  registry();
  detail::run_finalizers(std::numeric_limits<int>::max());  // runs none, but they are ready in a child before this is
  detail::at_child_start(count_after_fork);
  return ::pthread_atfork(lock_registry, unlock_registry, unlock_registry) == 0;
}();

}  // namespace

/// One counted use of a block by this process.
class detail::BlockHandle {
 public:
  BlockHandle(SharedHeap::Block its_block, std::size_t its_place) : block(std::move(its_block)), place(its_place) {
    const std::lock_guard lock{registry().mutex};
    next = std::exchange(registry().first, this);
    if (next != nullptr) next->previous = this;
  }
  ~BlockHandle() {
    bool counts = false;
    {
      const std::lock_guard lock{registry().mutex};
      (previous != nullptr ? previous->next : registry().first) = next;
      if (next != nullptr) next->previous = previous;
      counts = is_mine();
    }
    if (counts) drop(block, place);
  }
  BlockHandle(const BlockHandle&) = delete;
  BlockHandle& operator=(const BlockHandle&) = delete;

  // In a copy of the process that troupe did not make the handles are those of the parent.
  bool is_mine() const { return is_counted && its_fork_depth == fork_depth(); }

  const SharedHeap::Block block;
  // Guarded by the registry's mutex:
  std::size_t place;  // in the ledger
  bool is_counted = true;
  unsigned its_fork_depth = fork_depth();
  BlockHandle* previous = nullptr;
  BlockHandle* next = nullptr;
};

namespace {

// In a process that was just forked its handles are handles like all others, but for those that came by way of the
// nursery, which nobody here can reach. The process that it comes from may have dropped its last one meanwhile; then
// there is no block any more.
void count_after_fork() {
  begin_anew();
  bool any = false;
  {
    const std::lock_guard lock{registry().mutex};
    for (auto* handle = registry().first; handle != nullptr; handle = handle->next) {
      if (!handle->is_counted || handle->is_mine()) continue;
      const SharedHeap::Block& block = handle->block;
      const bool is_parents = handle->its_fork_depth + 1 == detail::fork_depth();
      handle->is_counted = is_parents && block.arena->add_user(block.offset, block.serial, false);
      handle->its_fork_depth = detail::fork_depth();
      handle->place = handle->is_counted ? write_down(block) : UseLedger::nowhere;
      current_memory.load()->neighbours.add(block.arena);
      any = true;
    }
  }
  if (any) watch_end();
}

// At the end of the process, whose last handles may never be destroyed.
void drop_all() noexcept {
  std::vector<std::pair<SharedHeap::Block, std::size_t>> dropped;
  {
    const std::lock_guard lock{registry().mutex};
    for (auto* handle = registry().first; handle != nullptr; handle = handle->next) {
      if (!handle->is_mine()) continue;
      handle->is_counted = false;
      dropped.emplace_back(handle->block, handle->place);
    }
  }
  for (const auto& [block, place] : dropped) drop(block, place);
  shared_heap().leave();
  begin_anew();  // for a Runtime that may come later: its nursery does not know the arenas
}

// Of a block that has one user counted for it.
std::shared_ptr<const detail::BlockHandle> make_handle(SharedHeap::Block block) {
  std::size_t place = UseLedger::nowhere;
  try {
    watch_end();
    place = write_down(block);
    return std::make_shared<const detail::BlockHandle>(block, place);
  } catch (...) {
    drop(block, place);
    throw;
  }
}

std::uint64_t number_at(capnp::List<wire::Value>::Reader address, unsigned index) {
  const auto value = address[index];
  if (!value.isUint64()) detail::fail_shape("a number in the address of shared memory", value);
  return value.getUint64();
}

[[noreturn]] void fail_gone() { throw OSError(ENOENT, "opening a block of shared memory whose last handle has gone"); }

std::shared_ptr<SharedArena> find_arena(Ticket ticket) {
  Memory& memory = *current_memory;
  if (auto arena = memory.heap.find(ticket)) return arena;
  if (auto arena = memory.neighbours.find(ticket)) return arena;
  return memory.neighbours.open(ticket);
}

}  // namespace

SharedBlock::SharedBlock(std::shared_ptr<const detail::BlockHandle> handle) noexcept
    : handle_(std::move(handle)),
      data_(handle_->block.arena->data(handle_->block.offset)),
      bytes_(handle_->block.bytes) {}

SharedBlock::SharedBlock(std::ptrdiff_t bytes) : SharedBlock(make_handle(shared_heap().allocate(bytes))) {}

bool SharedBlock::is_same(const SharedBlock& other) const noexcept {
  if (!handle_ || !other.handle_) return handle_ == other.handle_;
  const SharedHeap::Block& mine = handle_->block;
  const SharedHeap::Block& theirs = other.handle_->block;
  return mine.arena->ticket() == theirs.arena->ticket() && mine.offset == theirs.offset && mine.serial == theirs.serial;
}

SharedHeap& shared_heap() { return current_memory.load()->heap; }

void Codec<SharedBlock>::encode(const SharedBlock& block, wire::Value::Builder out) {
  if (!block) throw ValueError("a handle without a block of shared memory cannot be sent");
  const SharedHeap::Block& place = block.handle_->block;
  auto handle = out.initHandle();
  handle.setKind(memory_kind);
  auto address = handle.initAddress(4);
  unsigned next = 0;
  for (const std::uint64_t number :
       {place.arena->ticket(), std::uint64_t{place.offset}, std::uint64_t{place.bytes}, std::uint64_t{place.serial}})
    address[next++].setUint64(number);
  if (!place.arena->add_message(place.offset, place.serial)) fail_gone();
  WrittenHandles::note(place.arena->ticket(), [handle = block.handle_] {
    handle->block.arena->drop_message(handle->block.offset, handle->block.serial);
  });
}

SharedBlock Codec<SharedBlock>::decode(wire::Value::Reader in) {
  if (!in.isHandle() || in.getHandle().getKind() != memory_kind || in.getHandle().getAddress().size() != 4)
    detail::fail_shape("a block of shared memory", in);
  const auto address = in.getHandle().getAddress();
  const std::uint64_t ticket = number_at(address, 0);
  const std::uint64_t offset = number_at(address, 1);
  const std::uint64_t bytes = number_at(address, 2);
  const auto serial = static_cast<std::uint32_t>(number_at(address, 3));
  SharedHeap::Block block{.arena = find_arena(ticket), .offset = offset, .bytes = bytes, .serial = serial};
  if (!block.arena->has_room(offset, bytes)) detail::fail("a handle of shared memory reaches outside its arena");
  if (!block.arena->add_user(offset, serial, true)) fail_gone();
  return SharedBlock{make_handle(std::move(block))};
}

}  // namespace troupe
