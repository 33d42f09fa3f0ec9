#include <troupe/semaphore_cell.hpp>

#include <climits>

namespace troupe {

bool SemaphoreCell::take(Deadline deadline) noexcept {
  bool has_looked = deadline == at_once;
  for (std::uint64_t seen = word.load(std::memory_order_relaxed);;) {
    if (semaphore_word::value(seen) > 0) {
      if (word.compare_exchange_weak(seen, semaphore_word::taken(seen), std::memory_order_acquire,
                                     std::memory_order_relaxed))
        return true;
      continue;
    }
    if (deadline == at_once || is_over(deadline)) return false;
    if (!has_looked) {
      look_shortly([&] { return value() > 0; });
      has_looked = true;
      seen = word.load(std::memory_order_relaxed);
      continue;
    }
    const std::uint64_t marked = seen | semaphore_word::waiters;
    if (seen != marked && !word.compare_exchange_weak(seen, marked, std::memory_order_relaxed)) continue;
    futex_wait(low_half(word), low_half(marked), deadline);
    seen = word.load(std::memory_order_relaxed);
  }
}

bool SemaphoreCell::give() noexcept {
  std::uint64_t seen = word.load(std::memory_order_relaxed);
  do {
    if (semaphore_word::value(seen) >= bound.load(std::memory_order_relaxed)) return false;
  } while (!word.compare_exchange_weak(seen, semaphore_word::given(seen), std::memory_order_release,
                                       std::memory_order_relaxed));
  if (!semaphore_word::has_waiters(seen) || futex_wake(low_half(word), 1) > 0) return true;
  // Nobody slept; as in LockState::wake_next.
  seen = semaphore_word::given(seen);
  word.compare_exchange_strong(seen, semaphore_word::settled(seen), std::memory_order_relaxed);
  return true;
}

void SemaphoreCell::recover() noexcept {
  const std::uint64_t seen = word.load(std::memory_order_relaxed);
  if (semaphore_word::value(seen) > 0 && semaphore_word::has_waiters(seen)) futex_wake(low_half(word), INT_MAX);
}

namespace {

// A slot of a robust semaphore.
constexpr std::uint64_t slot_of(std::uint32_t pid) { return std::uint64_t{pid} << 32U; }
constexpr std::uint32_t holder(std::uint64_t slot) { return static_cast<std::uint32_t>(slot >> 32U); }
constexpr std::uint32_t count(std::uint64_t slot) { return static_cast<std::uint32_t>(slot); }

/// The lock of the cell, for a scope.
class Counting {
 public:
  explicit Counting(LockState& lock) noexcept : lock_(lock) { lock_.take(own_pid(), no_deadline); }
  ~Counting() { lock_.give(); }
  Counting(const Counting&) = delete;
  Counting& operator=(const Counting&) = delete;

 private:
  LockState& lock_;
};

}  // namespace

std::uint32_t RobustSemaphoreCell::count_free() noexcept {
  std::uint32_t num_taken = 0;
  const SlotTable table{head};
  for (std::size_t i = 0; i < table.size(); ++i) num_taken += count(table[i].load(std::memory_order_acquire));
  return total.load(std::memory_order_relaxed) - num_taken;
}

RobustSemaphoreCell::Outcome RobustSemaphoreCell::take_free() noexcept {
  const Counting counting{lock};
  if (count_free() == 0) return Outcome::not_in_time;
  const SlotTable table{head};
  std::atomic<std::uint64_t>* free_slot = nullptr;
  for (std::size_t i = 0; i < table.size(); ++i) {
    const std::uint64_t slot = table[i].load(std::memory_order_relaxed);
    if (holder(slot) == own_pid()) {
      table[i].store(slot + 1, std::memory_order_release);
      return Outcome::done;
    }
    if (count(slot) == 0) free_slot = &table[i];
  }
  if (free_slot == nullptr) return Outcome::too_many_holders;
  free_slot->store(slot_of(own_pid()) + 1, std::memory_order_release);
  return Outcome::done;
}

RobustSemaphoreCell::Outcome RobustSemaphoreCell::take(Deadline deadline) noexcept {
  for (;;) {
    std::uint32_t seen = changes.load(std::memory_order_acquire);
    const Outcome outcome = take_free();
    if (outcome != Outcome::not_in_time || deadline == at_once || is_over(deadline)) return outcome;
    const std::uint32_t marked = seen | sleepers;
    if (seen != marked && !changes.compare_exchange_strong(seen, marked)) continue;
    futex_wait(&changes, marked, deadline);
  }
}

void RobustSemaphoreCell::tell_change() noexcept {
  std::uint32_t seen = changes.load(std::memory_order_relaxed);
  while (!changes.compare_exchange_weak(seen, (seen & ~sleepers) + 2, std::memory_order_release)) {
  }
  if ((seen & sleepers) != 0) futex_wake(&changes, INT_MAX);
}

RobustSemaphoreCell::Outcome RobustSemaphoreCell::give() noexcept {
  {
    const Counting counting{lock};
    if (count_free() >= bound.load(std::memory_order_relaxed)) return Outcome::at_bound;
    const SlotTable table{head};
    std::atomic<std::uint64_t>* own_slot = nullptr;
    for (std::size_t i = 0; i < table.size() && own_slot == nullptr; ++i) {
      const std::uint64_t slot = table[i].load(std::memory_order_relaxed);
      if (holder(slot) == own_pid() && count(slot) > 0) own_slot = &table[i];
    }
    if (own_slot != nullptr) {
      own_slot->fetch_sub(1, std::memory_order_release);
    } else {
      total.fetch_add(1, std::memory_order_release);
    }
  }
  tell_change();
  return Outcome::done;
}

std::uint32_t RobustSemaphoreCell::value() noexcept {
  const Counting counting{lock};
  return count_free();
}

void RobustSemaphoreCell::recover(std::uint32_t dead, std::size_t num_lines) noexcept {
  lock.recover(dead);
  const SlotTable table{head, num_lines};
  for (std::size_t i = 0; i < table.size(); ++i) {
    std::uint64_t slot = table[i].load(std::memory_order_relaxed);
    if (holder(slot) == dead) table[i].compare_exchange_strong(slot, 0, std::memory_order_release);
  }
  std::uint32_t seen = changes.load(std::memory_order_relaxed);
  changes.compare_exchange_strong(seen, seen + 2, std::memory_order_release);  // who else changes it wakes by himself
  futex_wake(&changes, INT_MAX);
}

}  // namespace troupe
