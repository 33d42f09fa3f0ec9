#pragma once

/// \file
/// Who waits on a condition, in memory that processes share. Its lock is a cell of its own.

#include <troupe/cell.hpp>

#include <cstddef>
#include <optional>

namespace troupe {

/// The cell of a Condition. Each slot is one thread that waits: which process it belongs to, whether it was notified,
/// and when it came. Waiting and notified threads sleep on their own slot.
///
///     free ──enter──► waiting ──notify──► notified ──awake──► free
///                        └──────────── time out ───────────────►
///
/// Each arrow is one compare-and-swap, so a thread has either timed out or was notified. The slot of a process that has
/// died becomes free, and if it was notified, the oldest waiting one is notified in its place.
struct alignas(cell_bytes) ConditionCell {
  CellHead head;
  std::atomic<std::uint32_t> arrivals;  ///< counts the calls of enter

  /// Counts the calling thread as waiting; its slot, or nothing when all are taken. Thread: holds the condition's lock.
  std::optional<std::size_t> enter() noexcept;
  /// Waits until notified; false if that was not before `deadline`. The slot is free afterwards. Blocks.
  bool wait(std::size_t slot, Deadline deadline) noexcept;
  /// Wakes the `count` threads that have waited longest, and waits until they are awake. Thread: holds the condition's
  /// lock. Blocks: until the kernel has let them run.
  void notify(std::size_t count) noexcept;

  /// Takes dead threads out. `num_lines`: how long the cell can be.
  void recover(std::uint32_t dead, std::size_t num_lines) noexcept;
};
static_assert(sizeof(ConditionCell) == cell_bytes);

}  // namespace troupe
