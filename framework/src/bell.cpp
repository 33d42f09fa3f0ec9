#include <troupe/bell.hpp>

#include <algorithm>
#include <cerrno>
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

constexpr std::chrono::seconds look_interval{1};
std::atomic<void (*)() noexcept> look_while_asleep{nullptr};

}  // namespace

void sleep_in_pieces(void (*look)() noexcept) noexcept { look_while_asleep = look; }

void futex_wait(std::atomic<std::uint32_t>* word, std::uint32_t expected, Deadline deadline) noexcept {
  const auto look = look_while_asleep.load(std::memory_order_relaxed);
  const Deadline end_of_piece = look != nullptr ? std::min(deadline, deadline_after(look_interval)) : deadline;
  // FUTEX_WAIT_BITSET takes an absolute time of the monotonic clock, so a signal in between costs no accuracy.
  const timespec until = to_timespec(end_of_piece);
  const long result = ::syscall(SYS_futex, word, FUTEX_WAIT_BITSET, expected,
                                end_of_piece == no_deadline ? nullptr : &until, nullptr, FUTEX_BITSET_MATCH_ANY);
  if (result != 0 && errno == ETIMEDOUT && end_of_piece < deadline) look();
}

int futex_wake(std::atomic<std::uint32_t>* word, int count) noexcept {
  return static_cast<int>(::syscall(SYS_futex, word, FUTEX_WAKE, count, nullptr, nullptr, 0));
}

void Bell::sleep(Deadline deadline) noexcept {
  futex_wait(word_, static_cast<std::uint32_t>(Sleeper::thread), deadline);
}

// The word changes before the sleeper is woken, or it might go to sleep just then; it is cleared only afterwards, so
// that the mark of a process killed in between has the next ring wake the sleeper.
void Bell::wake() noexcept {
  std::uint32_t word = word_->load(std::memory_order_relaxed);
  do {
    if (word == 0) return;
  } while (!word_->compare_exchange_weak(word, word | waking));
  word |= waking;
  const auto sleeper = static_cast<Sleeper>(word & ~waking);
  if (sleeper == Sleeper::thread) futex_wake(word_, INT_MAX);
  if (sleeper == Sleeper::event_loop && eventfd_ >= 0) {
    const std::uint64_t one = 1;
    // Fails only when the counter is full, and then the event loop is awake anyhow.
    [[maybe_unused]] const auto written = ::write(eventfd_, &one, sizeof one);
  }
  word_->compare_exchange_strong(word, 0);
}

void Bell::rouse() noexcept {
  ring();
  futex_wake(word_, INT_MAX);
}

void SpinWait::yield() noexcept { ::sched_yield(); }

}  // namespace troupe
