#pragma once

/// \file
/// What the cells of locks, semaphores, events, conditions and barriers have in common: memory that processes share,
/// changed by compare-and-swap and slept on by futex, in such a way that a process that is killed at any instruction
/// leaves a state which tells what is left to be done. `recover_cells` does it.
///
/// Whoever holds something is named by its process id in the same word that says that it is held. Nobody is forgotten
/// in the kernel: a word that says "somebody may sleep" is cleared only by who has woken nobody since.

#include <troupe/bell.hpp>

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <sys/types.h>

namespace troupe {

enum class CellKind : std::uint16_t {
  none = 0,
  lock = 1,
  recursive_lock = 2,
  semaphore = 3,
  robust_semaphore = 4,
  event = 5,
  condition = 6,
  barrier = 7,
  queue = 8,
};

/// A cell is one line of this size or several in a row, all of one cache line each.
inline constexpr std::size_t cell_bytes = 64;

/// Starts the first line of every cell.
struct CellHead {
  std::atomic<std::uint64_t> life;  ///< who uses the cell (sync_slab.hpp)
  std::atomic<CellKind> kind;
  std::atomic<std::uint16_t> lines;  ///< how many lines the cell has
  std::atomic<std::uint32_t> options;
};
static_assert(sizeof(CellHead) == 16);

/// Every further line of a cell: seven words, whose meaning the kind tells.
struct alignas(cell_bytes) SlotLine {
  static constexpr std::size_t num_slots = 7;

  std::atomic<std::uint64_t> life;  ///< unused here; keeps what it had
  std::atomic<std::uint64_t> slots[num_slots];
};
static_assert(sizeof(SlotLine) == cell_bytes);

/// The slots in the lines behind a cell's first one. Thread: any.
class SlotTable {
 public:
  SlotTable(CellHead& head, std::size_t num_lines) noexcept
      : lines_(reinterpret_cast<SlotLine*>(&head) + 1), size_((num_lines - 1) * SlotLine::num_slots) {}
  /// Of a cell that this process trusts.
  explicit SlotTable(CellHead& head) noexcept : SlotTable(head, head.lines.load(std::memory_order_relaxed)) {}

  std::size_t size() const noexcept { return size_; }
  std::atomic<std::uint64_t>& operator[](std::size_t index) const noexcept {
    return lines_[index / SlotLine::num_slots].slots[index % SlotLine::num_slots];
  }
  /// How many lines a cell with that many slots has.
  static constexpr std::size_t lines_for(std::size_t num_slots) noexcept {
    return 1 + (num_slots + SlotLine::num_slots - 1) / SlotLine::num_slots;
  }

 private:
  SlotLine* lines_;
  std::size_t size_;
};

namespace detail {

extern std::atomic<pid_t> cached_pid;
inline constinit thread_local pid_t cached_tid = 0;
pid_t look_up_pid() noexcept;
pid_t look_up_tid() noexcept;

}  // namespace detail

/// The id of this process, and of the calling thread, without a system call. Right in forked processes as well.
inline std::uint32_t own_pid() noexcept {
  const pid_t pid = detail::cached_pid.load(std::memory_order_relaxed);
  return static_cast<std::uint32_t>(pid != 0 ? pid : detail::look_up_pid());
}
inline std::uint32_t own_tid() noexcept {
  return static_cast<std::uint32_t>(detail::cached_tid != 0 ? detail::cached_tid : detail::look_up_tid());
}

/// Whether that process has ended, also if nobody has waited for it yet. Thread: any.
bool has_ended(pid_t pid) noexcept;

/// The lower half of a word, which is what the kernel looks at when a thread goes to sleep on it.
inline std::atomic<std::uint32_t>* low_half(std::atomic<std::uint64_t>& word) noexcept {
  return reinterpret_cast<std::atomic<std::uint32_t>*>(&word) + (std::endian::native == std::endian::big ? 1 : 0);
}
constexpr std::uint32_t low_half(std::uint64_t word) noexcept { return static_cast<std::uint32_t>(word); }

/// A deadline that is over.
inline constexpr Deadline at_once = Deadline::min();

/// Looks a few hundred nanoseconds whether `found` comes true, which is less than going to sleep costs.
template <class Predicate>
bool look_shortly(Predicate found) noexcept {
  constexpr int num_looks = 40;
  for (int i = 0; i < num_looks; ++i) {
    if (found()) return true;
    pause_processor();
  }
  return false;
}

/// Puts right what process `dead` has left in the cells of `slab` (sync_slab.hpp): what it held is given back and
/// marked abandoned, what it was about to wake is woken. To be called after the end of every process that may have had
/// the slab; more than once does no harm. The memory is trusted in nothing: others may write anything there meanwhile.
/// Thread: any, in any process that has the slab mapped. Never blocks.
void recover_cells(std::span<std::byte> slab, pid_t dead) noexcept;
/// The same for every process that has ended and may have left something in these cells: after the death of the
/// nursery, which would have told. Thread: any.
void recover_cells_of_all_dead(std::span<std::byte> slab) noexcept;

}  // namespace troupe
