#pragma once

/// \file
/// The state of a semaphore that processes share.

#include <troupe/cell.hpp>
#include <troupe/lock_cell.hpp>

namespace troupe {

/// The word of a semaphore: how many permits are there, a mark that somebody may sleep, and a number that changes
/// whenever a permit is given back while others wait.
namespace semaphore_word {

inline constexpr std::uint64_t value_mask = (std::uint64_t{1} << 31U) - 1;
inline constexpr std::uint64_t waiters = std::uint64_t{1} << 31U;
inline constexpr std::uint64_t turn = std::uint64_t{1} << 32U;

constexpr std::uint32_t value(std::uint64_t word) { return static_cast<std::uint32_t>(word & value_mask); }
constexpr bool has_waiters(std::uint64_t word) { return (word & waiters) != 0; }
constexpr std::uint64_t taken(std::uint64_t word) { return word - 1; }
constexpr std::uint64_t given(std::uint64_t word) { return has_waiters(word) ? word + 1 + turn : word + 1; }
/// What follows `given` when nobody slept.
constexpr std::uint64_t settled(std::uint64_t word) { return word & ~waiters; }

}  // namespace semaphore_word

/// The cell of a semaphore that keeps no account of who has its permits. Thread: any.
struct alignas(cell_bytes) SemaphoreCell {
  CellHead head;
  std::atomic<std::uint64_t> word;   ///< semaphore_word
  std::atomic<std::uint32_t> bound;  ///< most permits that can be there

  /// Takes a permit; false if there was none until `deadline`. Blocks.
  bool take(Deadline deadline) noexcept;
  /// Gives a permit; false if there are `bound` already.
  bool give() noexcept;
  std::uint32_t value() const noexcept { return semaphore_word::value(word.load(std::memory_order_relaxed)); }

  /// Wakes whom a process that has died was about to wake.
  void recover() noexcept;
};
static_assert(sizeof(SemaphoreCell) == cell_bytes);

/// The cell of a semaphore whose permits come back from processes that die. Its slots say, for each process that has
/// permits, how many: the process in the upper half, the count in the lower. What is free follows from that, so every
/// change is the change of one word.
struct alignas(cell_bytes) RobustSemaphoreCell {
  enum class Outcome : std::uint8_t { done, not_in_time, too_many_holders, at_bound };

  CellHead head;
  LockState lock;                      ///< held while permits are counted
  std::atomic<std::uint32_t> total;    ///< free and taken permits
  std::atomic<std::uint32_t> bound;    ///< most permits that can be free
  std::atomic<std::uint32_t> changes;  ///< upper bits: counts what became free; lowest: somebody may sleep

  Outcome take(Deadline deadline) noexcept;
  /// A permit of this process, or, if it has none, one more than there were.
  Outcome give() noexcept;
  std::uint32_t value() noexcept;

  /// Gives the permits of a dead process back. `num_lines`: how long the cell can be.
  void recover(std::uint32_t dead, std::size_t num_lines) noexcept;

 private:
  static constexpr std::uint32_t sleepers = 1;

  std::uint32_t count_free() noexcept;
  Outcome take_free() noexcept;
  void tell_change() noexcept;
};
static_assert(sizeof(RobustSemaphoreCell) == cell_bytes);

}  // namespace troupe
