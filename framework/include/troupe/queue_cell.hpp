#pragma once

/// \file
/// The part of a queue that is looked after when a process has ended: who puts, who gets, and who sleeps.

#include <troupe/lock_cell.hpp>

#include <cstdint>

namespace troupe {

/// The cell of a queue. Each line is written by one side only, most of the time.
struct alignas(cell_bytes) QueueCell {
  struct alignas(cell_bytes) Line {
    std::atomic<std::uint64_t> life;  ///< see SlotLine
    LockState lock;
    Bell::Word bell;  ///< who holds the other side's lock sleeps here
  };

  CellHead head;
  std::atomic<std::uint64_t> store_ticket;  ///< names the queue's memory
  std::atomic<std::uint32_t> num_deaths;    ///< changes when a process that had the queue has ended
  Line put;                                 ///< held by who puts; its bell wakes who gets
  Line get;                                 ///< held by who gets; its bell wakes who puts

  static constexpr std::size_t num_lines = 3;

  /// Gives the locks of `dead` back, and wakes who may have been about to be woken.
  void recover(std::uint32_t dead) noexcept;
};
static_assert(sizeof(QueueCell) == QueueCell::num_lines * cell_bytes);

}  // namespace troupe
