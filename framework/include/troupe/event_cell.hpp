#pragma once

/// \file
/// The state of an event that processes share.

#include <troupe/cell.hpp>

namespace troupe {

/// The cell of an Event. Thread: any.
struct alignas(cell_bytes) EventCell {
  CellHead head;
  std::atomic<std::uint32_t> word;  ///< the flag, the mark that somebody may sleep, and a count of the calls of set

  bool is_set() const noexcept { return (word.load(std::memory_order_acquire) & flag) != 0; }
  void set() noexcept;
  void clear() noexcept { word.fetch_and(~flag, std::memory_order_relaxed); }
  /// Waits until it is set, or has been since; returns the flag as it is then. Blocks.
  bool wait(Deadline deadline) noexcept;

  /// Wakes whom a process that has died was about to wake.
  void recover() noexcept;

 private:
  static constexpr std::uint32_t flag = 1;
  static constexpr std::uint32_t waiters = 2;
  static constexpr std::uint32_t one_call = 4;
};
static_assert(sizeof(EventCell) == cell_bytes);

}  // namespace troupe
