#pragma once

/// \file
/// The part of a queue that is looked after when a process has ended: who puts, who gets, and who sleeps.

#include <troupe/lock_cell.hpp>

#include <cstdint>

namespace troupe {

/// What is decided from the counts and positions of a queue (actors/src/queue_memory.hpp); a test goes through every
/// order of the steps between these decisions. Any count may lag behind by the one item that a killed process moved.
namespace queue_rules {

/// Whether one more item may go in. `capacity` 0: any number.
constexpr bool has_capacity(std::uint64_t capacity, std::uint64_t num_put, std::uint64_t num_got) {
  return capacity == 0 || num_put < num_got + capacity;
}
/// Whether `bytes` fit into a region behind its tail.
constexpr bool has_room(std::uint64_t region_bytes, std::uint64_t tail, std::uint64_t released, std::uint64_t bytes) {
  return tail + bytes - released <= region_bytes;
}

enum class Found : std::uint8_t { item, nothing, next_region };
/// What is at the head of `region`. `last` is where items are put, and was read before `tail`.
constexpr Found look(std::uint64_t head, std::uint64_t tail, std::uint32_t region, std::uint32_t last) {
  if (tail != head) return Found::item;
  return region < last ? Found::next_region : Found::nothing;
}

}  // namespace queue_rules

/// The cell of a queue. Thread: any. Each line is written by one side only, most of the time.
struct alignas(cell_bytes) QueueCell {
  struct alignas(cell_bytes) Line {
    std::atomic<std::uint64_t> life;  ///< see SlotLine
    LockState lock;
    Bell::Word bell;   ///< who holds the other side's lock sleeps here
    Bell::Word watch;  ///< of who puts: event loops watch the queue's eventfd
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

/// The beginning of a queue's memory, which the nursery looks at as well.
struct QueueCounts {
  struct Side {
    alignas(64) std::atomic<std::uint64_t> count;  ///< items put, or got
    std::atomic<std::uint32_t> region;
  };

  static constexpr std::uint64_t right_mark = 0x747270'7175657565;

  std::uint64_t mark;
  std::uint64_t capacity;    ///< most items; 0: any number
  std::uint32_t is_leasing;  ///< items that were got may be given to others until all are done
  Side puts;
  Side gets;
  alignas(64) std::atomic<std::uint64_t> done;  ///< of a joinable queue: items that somebody has said to be done
};

}  // namespace troupe
