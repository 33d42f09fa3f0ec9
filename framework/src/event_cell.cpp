#include <troupe/event_cell.hpp>

#include <climits>

namespace troupe {

void EventCell::set() noexcept {
  std::uint32_t seen = word.load(std::memory_order_relaxed);
  std::uint32_t next = 0;
  do {
    next = (seen | flag) + one_call;
  } while (!word.compare_exchange_weak(seen, next, std::memory_order_release, std::memory_order_relaxed));
  if ((seen & waiters) == 0) return;
  futex_wake(&word, INT_MAX);
  // The mark is taken away only now: had this process died before the wake-up, it would be made good.
  word.compare_exchange_strong(next, next & ~waiters, std::memory_order_relaxed);
}

bool EventCell::wait(Deadline deadline) noexcept {
  std::uint32_t seen = word.load(std::memory_order_acquire);
  if ((seen & flag) != 0) return true;
  if (deadline == at_once) return false;
  const std::uint32_t calls = seen & ~(one_call - 1);
  const auto was_set = [&] {
    seen = word.load(std::memory_order_acquire);
    return (seen & flag) != 0 || (seen & ~(one_call - 1)) != calls;
  };
  if (look_shortly(was_set)) return is_set();
  while (!was_set() && !is_over(deadline)) {
    const std::uint32_t marked = seen | waiters;
    if (seen != marked && !word.compare_exchange_weak(seen, marked, std::memory_order_relaxed)) continue;
    futex_wait(&word, marked, deadline);
  }
  return is_set();
}

void EventCell::recover() noexcept {
  if ((word.load(std::memory_order_relaxed) & waiters) != 0) futex_wake(&word, INT_MAX);
}

}  // namespace troupe
