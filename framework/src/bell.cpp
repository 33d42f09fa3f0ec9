#include <troupe/bell.hpp>

#include <climits>
#include <ctime>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace troupe {

namespace {

timespec to_timespec(Deadline deadline) {
  const auto since_boot = std::max(deadline.time_since_epoch(), std::chrono::steady_clock::duration::zero());
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since_boot);
  return {.tv_sec = seconds.count(), .tv_nsec = std::chrono::nanoseconds(since_boot - seconds).count()};
}

}  // namespace

void futex_wait(std::atomic<std::uint32_t>* word, std::uint32_t expected, Deadline deadline) noexcept {
  // FUTEX_WAIT_BITSET takes an absolute time of the monotonic clock, so a signal in between costs no accuracy.
  const timespec until = to_timespec(deadline);
  ::syscall(SYS_futex, word, FUTEX_WAIT_BITSET, expected, deadline == no_deadline ? nullptr : &until, nullptr,
            FUTEX_BITSET_MATCH_ANY);
}

void futex_wake(std::atomic<std::uint32_t>* word, int count) noexcept {
  ::syscall(SYS_futex, word, FUTEX_WAKE, count, nullptr, nullptr, 0);
}

void Bell::sleep(Deadline deadline) noexcept {
  futex_wait(word_, static_cast<std::uint32_t>(Sleeper::thread), deadline);
}

void Bell::wake() noexcept {
  const auto sleeper = static_cast<Sleeper>(word_->exchange(0, std::memory_order_seq_cst));
  if (sleeper == Sleeper::thread) futex_wake(word_, INT_MAX);
  if (sleeper == Sleeper::event_loop && eventfd_ >= 0) {
    const std::uint64_t one = 1;
    // Fails only when the counter is full, and then the event loop is awake anyhow.
    [[maybe_unused]] const auto written = ::write(eventfd_, &one, sizeof one);
  }
}

void SpinWait::yield() noexcept { ::sched_yield(); }

}  // namespace troupe
