#pragma once

/// \file
/// The state of a barrier that processes share.

#include <troupe/cell.hpp>
#include <troupe/lock_cell.hpp>

#include <cstddef>
#include <optional>

namespace troupe {

/// The cell of a Barrier. It goes through epochs. One ends when all parties have arrived, by one compare-and-swap of
/// `phase` from "epoch 7" to "epoch 8"; or it breaks, by one from "epoch 7" to "epoch 7, broken", until somebody resets
/// the barrier. The slots name the processes that wait and the epoch they wait in.
struct alignas(cell_bytes) BarrierCell {
  enum class Outcome : std::uint8_t { passed, broken };

  CellHead head;
  LockState lock;                      ///< recursive; held while somebody arrives, breaks or resets it
  std::atomic<std::uint32_t> phase;    ///< the epoch, and in the lowest bit whether it is broken
  std::atomic<std::uint32_t> parties;  ///< how many have to arrive
  std::atomic<std::uint64_t> arrived;  ///< an epoch, and how many have arrived in it

  bool is_broken() const noexcept { return (phase.load(std::memory_order_acquire) & broken) != 0; }
  /// How many wait; 0 when it is broken.
  std::uint32_t num_waiting() const noexcept;

  /// All of these: Thread: holds `lock`.
  /// Counts the caller among those who wait; its slot, or nothing when too many have not left yet.
  std::optional<std::size_t> arrive() noexcept;
  /// Lets all go on who wait, and begins the next epoch; `broken` if it broke meanwhile.
  Outcome trip() noexcept;
  void abort() noexcept;
  void reset() noexcept;

  /// Waits until `epoch`, in which `slot` has arrived, is over; nothing if it is not at `deadline`. Blocks.
  std::optional<Outcome> wait(std::size_t slot, std::uint32_t epoch, Deadline deadline) noexcept;
  std::uint32_t epoch() const noexcept { return phase.load(std::memory_order_relaxed) & ~broken; }

  /// Breaks the barrier if the dead process waited in it. `num_lines`: how long the cell can be.
  void recover(std::uint32_t dead, std::size_t num_lines) noexcept;

  /// How many lines a barrier needs: slots for the parties of two epochs.
  static constexpr std::size_t slots_for(std::size_t num_parties) { return 2 * num_parties + 1; }
  static constexpr std::size_t lines_for(std::size_t num_parties) {
    return SlotTable::lines_for(slots_for(num_parties));
  }

 private:
  static constexpr std::uint32_t broken = 1;
  static constexpr std::uint32_t next_epoch = 2;

  void leave_broken(std::uint32_t in_epoch) noexcept;
};
static_assert(sizeof(BarrierCell) == cell_bytes);

}  // namespace troupe
