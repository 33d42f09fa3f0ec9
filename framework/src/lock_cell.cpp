#include <troupe/lock_cell.hpp>

#include <pthread.h>
#include <unistd.h>

namespace troupe {

namespace detail {

std::atomic<pid_t> cached_pid{0};

namespace {

void forget_ids() noexcept {
  cached_pid.store(::getpid(), std::memory_order_relaxed);
  cached_tid = 0;
}

[[maybe_unused]] const int watches_forks = ::pthread_atfork(nullptr, nullptr, forget_ids);

}  // namespace

pid_t look_up_pid() noexcept {
  const pid_t pid = ::getpid();
  cached_pid.store(pid, std::memory_order_relaxed);
  return pid;
}

pid_t look_up_tid() noexcept { return cached_tid = ::gettid(); }

}  // namespace detail

void LockState::wake_next(std::uint64_t free_word) noexcept {
  if (futex_wake(low_half(word), 1) > 0) return;
  // Nobody slept. Whoever comes to sleep before this takes effect has seen another turn, and the mark stays.
  word.compare_exchange_strong(free_word, lock_word::settled(free_word), std::memory_order_relaxed);
}

bool LockState::wait_and_take(std::uint32_t pid, Deadline deadline) noexcept {
  if (deadline == at_once) return try_take(pid);
  look_shortly([&] { return lock_word::owner(word.load(std::memory_order_relaxed)) == 0; });
  for (std::uint64_t seen = word.load(std::memory_order_relaxed);;) {
    if (lock_word::owner(seen) == 0) {
      if (word.compare_exchange_weak(seen, lock_word::taken(seen, pid), std::memory_order_acquire,
                                     std::memory_order_relaxed))
        return true;
      continue;
    }
    if (is_over(deadline)) return false;
    const std::uint64_t marked = seen | lock_word::waiters;
    if (seen != marked && !word.compare_exchange_weak(seen, marked, std::memory_order_relaxed)) continue;
    futex_wait(low_half(word), low_half(marked), deadline);
    seen = word.load(std::memory_order_relaxed);
  }
}

void LockState::give_as_abandoned() noexcept {
  std::uint64_t seen = word.load(std::memory_order_relaxed);
  while (!word.compare_exchange_weak(seen, lock_word::left_behind(seen), std::memory_order_release)) {
  }
  if (lock_word::has_waiters(seen)) futex_wake(low_half(word), 1);
}

bool LockState::give_recursive() noexcept {
  if (!is_own_recursive()) return false;
  if (const std::uint32_t more = depth.load(std::memory_order_relaxed); more > 0) {
    depth.store(more - 1, std::memory_order_relaxed);
    return true;
  }
  // First, so that the next thread of this process to take it does not find its own number from long ago.
  owner_thread.store(0, std::memory_order_relaxed);
  return give();
}

void LockState::recover(std::uint32_t dead) noexcept {
  std::uint64_t seen = word.load(std::memory_order_relaxed);
  while (lock_word::owner(seen) == dead) {
    owner_thread.store(0, std::memory_order_relaxed);
    if (!word.compare_exchange_strong(seen, lock_word::left_behind(seen), std::memory_order_acq_rel)) continue;
    seen = lock_word::left_behind(seen);
  }
  if (lock_word::owner(seen) == 0 && lock_word::has_waiters(seen)) futex_wake(low_half(word), 1);
}

}  // namespace troupe
