// How many items a queue has, and how many of them are done.

#include "queue_memory.hpp"

#include <algorithm>
#include <climits>
#include <utility>

namespace troupe::detail {

namespace {

/// How often who waits for all items to be done looks by itself: the last one's process may have been killed between
/// doing it and saying so.
constexpr std::chrono::seconds look_interval{1};

}  // namespace

std::size_t QueueMemory::size() const noexcept {
  const std::uint64_t got = header_.gets.count.load(std::memory_order_acquire);
  const std::uint64_t put = header_.puts.count.load(std::memory_order_acquire);
  return put > got ? put - got : 0;
}

// Without the get lock, whose holder may go on meanwhile. Read the other way round, a tail of before and a head of now
// could be equal though there was an item all the time.
bool QueueMemory::is_empty() const noexcept {
  for (std::uint32_t region = header_.gets.region.load(std::memory_order_acquire);; ++region) {
    const std::uint32_t last = header_.puts.region.load(std::memory_order_acquire);
    const QueueRegion& positions = header_.regions[region];
    const std::uint64_t head = positions.head.load(std::memory_order_acquire);
    const auto found = queue_rules::look(head, positions.tail.load(std::memory_order_acquire), region, last);
    if (found != queue_rules::Found::next_region) return found == queue_rules::Found::nothing;
  }
}

// Items that are out were put, whether or not that was counted already.
bool QueueMemory::count_done() noexcept {
  std::uint64_t done = header_.done.load();
  do {
    if (done >= std::max(header_.puts.count.load(), header_.gets.count.load())) return false;
  } while (!header_.done.compare_exchange_weak(done, done + 1));
  return true;
}

// The large parts of a leased item are given back only now: who takes it over needs them as well.
bool QueueMemory::end_lease() {
  while (Lease* lease = leases_->oldest_taken()) {
    QueueFrame frame{};
    QueueItem item;
    read(leases_->message_of(*lease), frame, item);
    if (!QueueLeases::end(*lease)) continue;
    if (item.segments.empty()) return true;
    const std::lock_guard lock{mutex_};
    if (const auto view = leased_views_.extract(frame.number)) item.arena = std::move(view.mapped());
    return true;
  }
  return false;
}

bool QueueMemory::task_done() {
  if (leases_ ? !end_lease() : !count_done()) return false;
  header_.num_done_low.fetch_add(1);
  if (is_all_done()) futex_wake(&header_.num_done_low, INT_MAX);
  return true;
}

// An item that was put is in the queue, or it is taken, or it is done.
bool QueueMemory::is_all_done() const noexcept {
  if (leases_) return size() == 0 && leases_->size() == 0;
  return header_.done.load() >= header_.puts.count.load();
}

bool QueueMemory::wait_done(Deadline deadline) {
  for (;;) {
    settle_left_behind(End::put);
    const std::uint32_t seen = header_.num_done_low.load();
    if (is_all_done()) return true;
    if (is_over(deadline)) return false;
    futex_wait(&header_.num_done_low, seen, std::min(deadline, deadline_after(look_interval)));
  }
}

}  // namespace troupe::detail
