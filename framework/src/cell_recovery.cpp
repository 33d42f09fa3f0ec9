#include <troupe/barrier_cell.hpp>
#include <troupe/cell.hpp>
#include <troupe/condition_cell.hpp>
#include <troupe/event_cell.hpp>
#include <troupe/lock_cell.hpp>
#include <troupe/queue_cell.hpp>
#include <troupe/semaphore_cell.hpp>

#include "descriptors.hpp"

#include <algorithm>
#include <cerrno>
#include <poll.h>
#include <vector>

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

bool has_ended(pid_t pid) noexcept {
  const FileDescriptor pidfd{open_pidfd(pid)};
  if (!pidfd) return errno == ESRCH;
  pollfd end{.fd = pidfd.get(), .events = POLLIN, .revents = 0};
  return ::poll(&end, 1, 0) > 0;
}

namespace {

/// No process has this number or a higher one.
constexpr pid_t end_of_pids = 1 << 22;

}  // namespace

// The cells of each kind have the numbers of processes in one half of a word, below their marks. To recover for a
// number that is none of a process, or of one that held nothing, changes nothing.
void recover_cells_of_all_dead(std::span<std::byte> slab) noexcept {
  std::vector<bool> seen(end_of_pids);
  const auto look_at = [&](std::uint32_t half) {
    const std::uint32_t pid = half % end_of_pids;
    if (pid == 0 || seen[pid]) return;
    seen[pid] = true;
    if (has_ended(static_cast<pid_t>(pid))) recover_cells(slab, static_cast<pid_t>(pid));
  };
  for (std::size_t at = cell_bytes; at < slab.size(); at += sizeof(std::uint64_t)) {
    const auto& word = *reinterpret_cast<const std::atomic<std::uint64_t>*>(slab.data() + at);
    const std::uint64_t value = word.load(std::memory_order_relaxed);
    look_at(static_cast<std::uint32_t>(value));
    look_at(static_cast<std::uint32_t>(value >> 32U));
  }
  recover_cells(slab, end_of_pids);  // what is done at every death
}

}  // namespace troupe
