#pragma once

/// \file
/// The state of a lock that processes share, and the word that says who holds it.

#include <troupe/cell.hpp>

#include <climits>

namespace troupe {

/// The word of a lock: the process that holds it, two marks, and a number that changes whenever the lock is given back
/// while others wait. These functions are all that ever happens to it; a test goes through every order of their steps.
namespace lock_word {

inline constexpr std::uint64_t owner_mask = (std::uint64_t{1} << 30U) - 1;
/// The holder before this one died with the lock.
inline constexpr std::uint64_t abandoned = std::uint64_t{1} << 30U;
/// Somebody may sleep. Stays while the lock is free, so that a wake-up that got lost can be made good.
inline constexpr std::uint64_t waiters = std::uint64_t{1} << 31U;
inline constexpr std::uint64_t turn = std::uint64_t{1} << 32U;

constexpr std::uint32_t owner(std::uint64_t word) { return static_cast<std::uint32_t>(word & owner_mask); }
constexpr bool has_waiters(std::uint64_t word) { return (word & waiters) != 0; }
constexpr bool is_abandoned(std::uint64_t word) { return (word & abandoned) != 0; }

/// Free, and now held by `pid`.
constexpr std::uint64_t taken(std::uint64_t word, std::uint32_t pid) { return word | pid; }
/// Held, and given back. With a new turn if somebody has to be woken.
constexpr std::uint64_t freed(std::uint64_t word) {
  const std::uint64_t free = word & ~(owner_mask | abandoned);
  return has_waiters(word) ? free + turn : free;
}
/// What follows `freed` when nobody slept.
constexpr std::uint64_t settled(std::uint64_t word) { return word & ~waiters; }
/// Free, and nobody has looked after what the one who died with it left.
constexpr bool is_left_behind(std::uint64_t word) { return is_abandoned(word) && owner(word) == 0; }
/// Held by one who has died, and given back in his place.
constexpr std::uint64_t left_behind(std::uint64_t word) { return ((word & ~owner_mask) | abandoned) + turn; }

}  // namespace lock_word

/// A lock as processes share it. All zero: free. Thread: any.
struct LockState {
  std::atomic<std::uint64_t> word;          ///< lock_word
  std::atomic<std::uint32_t> owner_thread;  ///< of a recursive lock: the thread that holds it; 0: none, or about to
  std::atomic<std::uint32_t> depth;         ///< of a recursive lock: how often more than once it is held

  /// Takes the lock if it is free.
  bool try_take(std::uint32_t pid) noexcept {
    std::uint64_t seen = word.load(std::memory_order_relaxed);
    while (lock_word::owner(seen) == 0) {
      if (word.compare_exchange_weak(seen, lock_word::taken(seen, pid), std::memory_order_acquire,
                                     std::memory_order_relaxed))
        return true;
    }
    return false;
  }
  /// Takes the lock; false if it was not free until `deadline`. Blocks.
  bool take(std::uint32_t pid, Deadline deadline) noexcept { return try_take(pid) || wait_and_take(pid, deadline); }
  /// Gives the lock back, whoever holds it; false if nobody does.
  bool give() noexcept {
    std::uint64_t seen = word.load(std::memory_order_relaxed);
    do {
      if (lock_word::owner(seen) == 0) return false;
    } while (!word.compare_exchange_weak(seen, lock_word::freed(seen), std::memory_order_release,
                                         std::memory_order_relaxed));
    if (lock_word::has_waiters(seen)) [[unlikely]]
      wake_next(lock_word::freed(seen));
    return true;
  }
  /// Gives the lock back for one who has died with it, after it was recovered: forgets that it was abandoned. False if
  /// it is not left behind.
  bool give_left_behind() noexcept {
    std::uint64_t seen = word.load(std::memory_order_relaxed);
    do {
      if (!lock_word::is_left_behind(seen)) return false;
    } while (!word.compare_exchange_weak(seen, seen & ~lock_word::abandoned, std::memory_order_release,
                                         std::memory_order_relaxed));
    return true;
  }
  /// Gives the lock back as the one who had it before left it: abandoned.
  void give_as_abandoned() noexcept;
  /// Forgets that it was abandoned.
  void clear_abandoned() noexcept { word.fetch_and(~lock_word::abandoned, std::memory_order_relaxed); }

  /// The same for a lock that its thread may take several times. `depth` is set by take, as restored by a condition.
  bool try_take_recursive() noexcept { return take_again() || note_thread(try_take(own_pid())); }
  bool take_recursive(Deadline deadline) noexcept { return take_again() || note_thread(take(own_pid(), deadline)); }
  /// False if this thread does not hold it.
  bool give_recursive() noexcept;
  bool is_abandoned() const noexcept { return lock_word::is_abandoned(word.load(std::memory_order_relaxed)); }
  bool is_left_behind() const noexcept { return lock_word::is_left_behind(word.load(std::memory_order_relaxed)); }
  /// Whether this process holds it, and whether this thread does.
  bool is_own() const noexcept { return lock_word::owner(word.load(std::memory_order_relaxed)) == own_pid(); }
  bool is_own_recursive() const noexcept {
    return is_own() && owner_thread.load(std::memory_order_relaxed) == own_tid();
  }

  /// Gives it back for a holder that has died, and wakes whom that one was about to wake.
  void recover(std::uint32_t dead) noexcept;

 private:
  bool wait_and_take(std::uint32_t pid, Deadline deadline) noexcept;
  void wake_next(std::uint64_t free_word) noexcept;
  bool take_again() noexcept {
    if (!is_own_recursive()) return false;
    depth.fetch_add(1, std::memory_order_relaxed);
    return true;
  }
  bool note_thread(bool taken) noexcept {
    if (taken) {
      depth.store(0, std::memory_order_relaxed);
      owner_thread.store(own_tid(), std::memory_order_relaxed);
    }
    return taken;
  }
};
static_assert(sizeof(LockState) == 16);

/// The cell of a Lock or RLock.
struct alignas(cell_bytes) LockCell {
  /// In `head.options`: who takes the lock after it was abandoned gets an error instead.
  static constexpr std::uint32_t fails_abandoned = 1;

  CellHead head;
  LockState state;
};
static_assert(sizeof(LockCell) == cell_bytes);

}  // namespace troupe
