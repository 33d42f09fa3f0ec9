#include "queue_memory.hpp"

#include <troupe/error.hpp>
#include <troupe/runtime.hpp>

#include "message_arena.hpp"
#include "open_queues.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

namespace troupe::detail {

namespace {

constexpr std::size_t header_bytes = round_to_pages(sizeof(QueueHeader));
constexpr std::size_t first_region_bytes = 256 * 1024;
/// Memory is asked for in pieces of this size.
constexpr std::size_t backed_bytes = 64 * 1024;
/// Each region is so many times as large as the one before.
constexpr std::size_t growth = 4;
/// How long a call that is not to block waits for another one that is under way and does not block either.
constexpr std::chrono::milliseconds shortly{100};
/// How many tickets a process remembers to have told the store of; more are told again.
constexpr std::size_t max_kept = 1024;

constexpr std::size_t region_bytes(std::size_t index) {
  std::size_t bytes = first_region_bytes;
  for (; index > 0; --index) bytes *= growth;
  return bytes;
}

constexpr std::size_t region_offset(std::size_t index) {
  std::size_t offset = header_bytes;
  for (std::size_t i = 0; i < index; ++i) offset += region_bytes(i);
  return offset;
}

constexpr std::size_t bytes_of(std::size_t words, std::size_t segments) {
  const std::size_t bytes = sizeof(QueueFrame) + segments * sizeof(SegmentRef) + words * sizeof(std::uint64_t);
  return (bytes + frame_alignment - 1) / frame_alignment * frame_alignment;
}

/// When to give up waiting for the lock of an end, for a call that ends at `deadline`.
Deadline lock_deadline(Deadline deadline) { return is_over(deadline) ? deadline_after(shortly) : deadline; }

/// With the lock of one end: looks for a while whether `found()`, then sleeps where the other end rings, until
/// `deadline`; whether it is found.
template <class Found>
bool wait_until(Bell::Word& word, Found found, Deadline deadline) noexcept {
  thread_local SpinWait spin;
  if (found()) return true;
  if (is_over(deadline)) return false;
  if (spin(found)) return true;
  const bool is_found = Bell{&word}.sleep_until(found, deadline);
  spin.found_later();
  return is_found;
}

}  // namespace

QueueItem::~QueueItem() {
  if (arena && !is_leased)
    for (const SegmentRef& segment : segments) arena->release(segment.ticket);
}

/// Holds the lock of one end. What a killed holder left undone is done first.
class QueueMemory::Guard {
 public:
  /// Not held, and false, when it was not free until `deadline`.
  Guard(QueueMemory& queue, End end, Deadline deadline)
      : lock_(queue.line(end).lock), held_(lock_.take(own_pid(), deadline)) {
    if (!held_ || !lock_.is_abandoned()) return;
    try {
      queue.settle(end);
    } catch (...) {
      lock_.give_as_abandoned();
      throw;
    }
    lock_.clear_abandoned();
  }
  ~Guard() {
    if (held_) lock_.give();
  }
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;
  explicit operator bool() const noexcept { return held_; }

 private:
  LockState& lock_;
  bool held_;
};

QueueMemory::QueueMemory(CellHandle cell, Ticket ticket, std::vector<FileDescriptor> files)
    : cell_(std::move(cell)),
      ticket_(ticket),
      file_(std::move(files.at(0))),
      eventfd_(std::move(files.at(1))),
      header_map_(file_.get(), 0, header_bytes, Mapping::Access::read_write, "a queue"),
      header_(*reinterpret_cast<QueueHeader*>(header_map_.data())),
      kind_(static_cast<QueueKind>(cell_.head().options.load())) {
  if (kind_ == QueueKind::leasing) leases_.emplace(file_.get(), region_offset(QueueHeader::num_regions));
}

QueueMemory::~QueueMemory() {
  OpenQueues::of_this_process().forget(ticket_);
  if (!is_running()) return;
  try {
    store::let_go(ticket_);
  } catch (const Error&) {
    // Without a nursery nobody keeps the memory.
  }
}

std::shared_ptr<QueueMemory> QueueMemory::make(std::uint64_t capacity, QueueKind kind) {
  CellHandle cell = CellHandle::make(CellKind::queue, QueueCell::num_lines);
  cell.head().options = static_cast<std::uint32_t>(kind);
  std::vector<FileDescriptor> files;
  files.push_back(create_memory_file("troupe-queue", region_offset(QueueHeader::num_regions) + QueueLeases::bytes));
  files.push_back(above_standard(FileDescriptor{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)}));
  if (!files[1]) throw OSError(errno, "making a queue's eventfd");
  const Ticket ticket = new_ticket();
  store::hold(ticket, std::array{files[0].get(), files[1].get()});
  cell.as<QueueCell>().store_ticket = ticket;
  std::shared_ptr<QueueMemory> queue{new QueueMemory{std::move(cell), ticket, std::move(files)}};
  queue->header_.mark = QueueCounts::right_mark;
  queue->header_.capacity = capacity;
  queue->header_.is_leasing = kind == QueueKind::leasing;
  return OpenQueues::of_this_process().find(ticket, [&] { return queue; });
}

std::shared_ptr<QueueMemory> QueueMemory::open(CellHandle cell) {
  const Ticket ticket = cell.as<QueueCell>().store_ticket;
  return OpenQueues::of_this_process().find(ticket, [&] {
    return std::shared_ptr<QueueMemory>{new QueueMemory{std::move(cell), ticket, store::take_hold(ticket)}};
  });
}

std::byte* QueueMemory::region_data(std::size_t index) {
  if (std::byte* data = region_data_[index].load(std::memory_order_acquire)) return data;
  const std::lock_guard lock{mutex_};
  if (regions_[index].data() == nullptr)
    regions_[index] = Mapping::twice_in_a_row(file_.get(), region_offset(index), region_bytes(index), "a queue");
  region_data_[index].store(regions_[index].data(), std::memory_order_release);
  return regions_[index].data();
}

// --- Putting ---

void QueueMemory::keep(Ticket ticket) {
  const std::lock_guard lock{mutex_};
  if (const auto now = store::num_let_go(); std::exchange(num_let_go_, now) != now || kept_.size() == max_kept)
    kept_.clear();
  if (kept_.contains(ticket)) return;
  store::attach(ticket_, ticket);
  kept_.insert(ticket);
}

bool QueueMemory::has_capacity() const noexcept {
  return queue_rules::has_capacity(header_.capacity, header_.puts.count.load(std::memory_order_relaxed),
                                   header_.gets.count.load(std::memory_order_acquire));
}

// With the put lock. An item may be out and not counted; if nobody else gets, this is who counts it.
bool QueueMemory::wait_for_capacity(Deadline deadline) {
  const std::uint64_t num_put = header_.puts.count.load(std::memory_order_relaxed);
  while (!queue_rules::has_capacity(header_.capacity, num_put, num_got_seen_)) {
    if (!wait_until(shared().get.bell, [this] { return !is_full(); }, deadline)) return false;
    settle_left_behind(End::get);
    num_got_seen_ = header_.gets.count.load(std::memory_order_acquire);
  }
  return true;
}

// Asks for memory before it is touched the first time.
void QueueMemory::back_with_memory(std::size_t region, std::uint64_t tail, std::size_t bytes) {
  const auto round_up = [](std::uint64_t position) {
    return (position + backed_bytes - 1) / backed_bytes * backed_bytes;
  };
  const std::uint64_t begin = round_up(tail);
  const std::uint64_t end = std::min<std::uint64_t>(round_up(tail + bytes), region_bytes(region));
  if (begin >= end) return;
  if (const int error = troupe::back_with_memory(file_.get(), region_offset(region) + begin, end - begin); error != 0)
    throw OSError(error, "getting memory for an item of a queue");
}

// With the put lock: where `bytes` fit, in this region or in the next.
std::byte* QueueMemory::room_for(std::size_t bytes, std::size_t& region) {
  for (region = header_.puts.region.load(std::memory_order_relaxed); region < QueueHeader::num_regions; ++region) {
    QueueRegion& positions = header_.regions[region];
    const std::uint64_t tail = positions.tail.load(std::memory_order_relaxed);
    const auto has_room = [&] {
      return queue_rules::has_room(region_bytes(region), tail, released_seen_.in(region), bytes);
    };
    if (!has_room()) released_seen_ = {region, positions.released.load(std::memory_order_acquire)};
    if (!has_room()) continue;
    std::byte* data = region_data(region);
    back_with_memory(region, tail, bytes);
    return data + tail % region_bytes(region);
  }
  throw OSError(ENOMEM, "a queue has " + std::to_string(size()) + " items and no room for more");
}

// With the put lock.
void QueueMemory::write(std::span<const std::uint64_t> words, std::span<const SegmentRef> segments) {
  const std::size_t bytes = bytes_of(words.size(), segments.size());
  std::size_t region = 0;
  std::byte* place = room_for(bytes, region);
  const std::uint64_t number = header_.puts.count.load(std::memory_order_relaxed) + 1;
  const QueueFrame frame{.num_words = static_cast<std::uint32_t>(words.size()),
                         .num_segments = static_cast<std::uint32_t>(segments.size()),
                         .number = number,
                         .arena = segments.empty() ? 0 : MessageArena::instance().ticket,
                         .unused = 0};
  std::memcpy(place, &frame, sizeof frame);
  place += sizeof frame;
  if (!segments.empty()) std::memcpy(place, segments.data(), segments.size_bytes());
  if (!words.empty()) std::memcpy(place + segments.size_bytes(), words.data(), words.size_bytes());
  QueueRegion& positions = header_.regions[region];
  const std::uint64_t tail = positions.tail.load(std::memory_order_relaxed) + bytes;
  header_.puts.region.store(static_cast<std::uint32_t>(region), std::memory_order_release);
  positions.tail.store(tail, std::memory_order_release);  // from here on the item is in
  header_.puts.count.store(number, std::memory_order_release);
  positions.counted.store(tail, std::memory_order_relaxed);
}

bool QueueMemory::put(std::span<const std::uint64_t> words, std::span<const SegmentRef> segments, Deadline deadline) {
  if (is_over(deadline) && is_full()) return false;
  {
    const Guard guard{*this, End::put, lock_deadline(deadline)};
    if (!guard || !wait_for_capacity(deadline)) return false;
    write(words, segments);
  }
  Bell{&shared().put.bell}.ring();
  // The fence of that ring is one for this as well.
  if (shared().put.watch.load(std::memory_order_relaxed) != 0) [[unlikely]]
    Bell{&shared().put.watch, eventfd_.get()}.ring();
  return true;
}

// With the lock of that end, whose holder died with it: at most one item has gone in, or out, and was not counted.
void QueueMemory::settle(End end) {
  QueueHeader::Side& side = end == End::put ? header_.puts : header_.gets;
  const std::size_t region = side.region.load();
  QueueRegion& positions = header_.regions[region];
  const std::uint64_t position = (end == End::put ? positions.tail : positions.head).load();
  std::atomic<std::uint64_t>& counted = end == End::put ? positions.counted : positions.released;
  if (counted.load() == position) return;
  QueueFrame frame{};
  std::memcpy(&frame, region_data(region) + counted.load() % region_bytes(region), sizeof frame);
  side.count.store(frame.number);
  counted.store(position);
  Bell{&line(end).bell}.ring();
}

void QueueMemory::settle_left_behind(End end) {
  if (line(end).lock.is_left_behind()) const Guard guard{*this, end, at_once};
}

// --- Getting ---

// With the get lock. Follows those who put into the next region.
bool QueueMemory::has_item() noexcept {
  for (;;) {
    const std::uint32_t region = header_.gets.region.load(std::memory_order_relaxed);
    const QueueRegion& positions = header_.regions[region];
    const std::uint64_t head = positions.head.load(std::memory_order_relaxed);
    if (head < tail_seen_.in(region)) return true;
    const std::uint32_t last = header_.puts.region.load(std::memory_order_acquire);
    tail_seen_ = {region, positions.tail.load(std::memory_order_acquire)};
    const auto found = queue_rules::look(head, tail_seen_.position, region, last);
    if (found != queue_rules::Found::next_region) return found == queue_rules::Found::item;
    give_memory_back(file_.get(), region_offset(region), region_bytes(region));
    header_.gets.region.store(region + 1, std::memory_order_release);
  }
}

// Whether a process has died since somebody looked after what it had taken.
bool QueueMemory::has_orphans() const noexcept {
  return leases_ && shared().num_deaths.load() != header_.num_deaths_seen.load();
}

// Reads the message at the beginning of `memory`; its size there. Errors: OSError when there is none.
std::size_t QueueMemory::read(std::span<const std::byte> memory, QueueFrame& frame, QueueItem& item) {
  std::memcpy(&frame, memory.data(), sizeof frame);
  const std::size_t bytes = bytes_of(frame.num_words, frame.num_segments);
  if (bytes > memory.size()) throw OSError(EIO, "the memory of a queue is damaged");
  const std::byte* place = memory.data() + sizeof frame;
  item.segments.resize(frame.num_segments);
  if (!item.segments.empty()) std::memcpy(item.segments.data(), place, frame.num_segments * sizeof(SegmentRef));
  item.words.resize(frame.num_words);
  if (!item.words.empty())
    std::memcpy(item.words.data(), place + frame.num_segments * sizeof(SegmentRef),
              frame.num_words * sizeof(std::uint64_t));
  return bytes;
}

// With the get lock: an item that a process which has died had taken; null: there is none.
Lease* QueueMemory::find_orphan() {
  if (!has_orphans()) return nullptr;
  const std::uint32_t num_deaths = shared().num_deaths.load();
  Lease* lease = leases_->find_orphan(header_.gets.count.load());
  if (lease == nullptr) header_.num_deaths_seen.store(num_deaths);
  return lease;
}

// With the get lock: takes such an item. False: there is none.
bool QueueMemory::take_over(QueueItem& item, QueueFrame& frame) {
  Lease* lease = find_orphan();
  if (lease == nullptr) return false;
  QueueLeases::take_over(*lease);
  read(leases_->message_of(*lease), frame, item);
  item.deliveries = lease->deliveries;
  return true;
}

// With the get lock, and there is an item.
void QueueMemory::take(QueueItem& item, QueueFrame& frame) {
  const std::size_t region = header_.gets.region.load(std::memory_order_relaxed);
  QueueRegion& positions = header_.regions[region];
  const std::uint64_t head = positions.head.load(std::memory_order_relaxed);
  const std::byte* place = region_data(region) + head % region_bytes(region);
  const std::size_t bytes = read({place, tail_seen_.in(region) - head}, frame, item);
  // At the limit of open files, or without memory, this throws, and the item stays.
  auto view = item.segments.empty() ? nullptr : find_view(frame.arena);
  if (leases_) leases_->keep(frame.number, {place, bytes});
  positions.head.store(head + bytes, std::memory_order_release);  // from here on the item is out
  header_.gets.count.store(frame.number, std::memory_order_release);
  positions.released.store(head + bytes, std::memory_order_release);
  item.arena = std::move(view);
}

// Null if the arena is gone for good: an item that lies there must not stay in the queue.
std::shared_ptr<ArenaView> QueueMemory::find_view(Ticket arena) {
  try {
    return MessageViews::instance().find(arena);
  } catch (const OSError& error) {
    if (error.errno_value() != ENOENT) throw;
    return nullptr;
  }
}

bool QueueMemory::get(QueueItem& item, Deadline deadline) {
  const bool at_once_only = is_over(deadline);
  QueueFrame frame{};
  for (bool taken = false; !taken;) {
    if (at_once_only && is_empty() && !has_orphans()) return false;
    const Guard guard{*this, End::get, lock_deadline(deadline)};
    const auto found = [this] { return has_item() || has_orphans(); };
    if (!guard || !wait_until(shared().put.bell, found, deadline)) return false;
    taken = take_over(item, frame);
    if (taken || !has_item()) continue;
    take(item, frame);
    taken = true;
  }
  Bell{&shared().get.bell}.ring();
  item.is_leased = leases_.has_value();
  if (item.segments.empty()) return true;
  if (!item.arena) item.arena = MessageViews::instance().find(frame.arena);
  if (!item.is_leased) return true;
  const std::lock_guard lock{mutex_};
  leased_views_[frame.number] = item.arena;
  return true;
}

bool QueueMemory::is_ready() {
  if (!is_empty()) return true;
  if (!has_orphans()) return false;
  const Guard guard{*this, End::get, at_once};
  return guard && find_orphan() != nullptr;  // without the lock: who has it gets what there is
}

// The eventfd is shared by all who watch, so nobody reads it. Edge-triggered, each one's own epoll tells each write.
FileDescriptor QueueMemory::watch() {
  if (is_closed) throw OSError(EBADF, "waiting for a closed queue");
  if (is_ready()) return {};
  FileDescriptor epoll = above_standard(FileDescriptor{::epoll_create1(EPOLL_CLOEXEC)});
  epoll_event event{.events = EPOLLIN | EPOLLET, .data = {}};
  if (!epoll || ::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, eventfd_.get(), &event) != 0)
    throw OSError(errno, "waiting for a queue");
  ::epoll_wait(epoll.get(), &event, 1, 0);  // what was written before
  Bell{&shared().put.watch}.arm(Bell::Sleeper::event_loop);
  return epoll;
}

}  // namespace troupe::detail
