#include <troupe/barrier_cell.hpp>
#include <troupe/cell.hpp>
#include <troupe/condition_cell.hpp>
#include <troupe/event_cell.hpp>
#include <troupe/lock_cell.hpp>
#include <troupe/queue_cell.hpp>
#include <troupe/semaphore_cell.hpp>

#include <algorithm>

namespace troupe {

namespace {

void recover(CellHead& head, std::uint32_t dead, std::size_t num_lines) noexcept {
  void* cell = &head;
  switch (head.kind.load(std::memory_order_acquire)) {
    case CellKind::none: return;
    case CellKind::lock:
    case CellKind::recursive_lock: return static_cast<LockCell*>(cell)->state.recover(dead);
    case CellKind::semaphore: return static_cast<SemaphoreCell*>(cell)->recover();
    case CellKind::robust_semaphore: return static_cast<RobustSemaphoreCell*>(cell)->recover(dead, num_lines);
    case CellKind::event: return static_cast<EventCell*>(cell)->recover();
    case CellKind::condition: return static_cast<ConditionCell*>(cell)->recover(dead, num_lines);
    case CellKind::barrier: return static_cast<BarrierCell*>(cell)->recover(dead, num_lines);
    case CellKind::queue:
      if (num_lines >= QueueCell::num_lines) static_cast<QueueCell*>(cell)->recover(dead);
      return;
  }
}

}  // namespace

void recover_cells(std::span<std::byte> slab, pid_t dead) noexcept {
  const std::size_t num_lines = slab.size() / cell_bytes;
  // The first line is the slab's own.
  for (std::size_t i = 1; i < num_lines;) {
    auto& head = *reinterpret_cast<CellHead*>(slab.data() + i * cell_bytes);
    const std::size_t lines =
        std::clamp<std::size_t>(head.lines.load(std::memory_order_relaxed), 1, num_lines - i);
    recover(head, static_cast<std::uint32_t>(dead), lines);
    i += lines;
  }
}

}  // namespace troupe
