#pragma once

/// \file
/// One place of a pool for a worker: the rings, which stay, and the worker process, which may be replaced.

#include <troupe/arena.hpp>
#include <troupe/child.hpp>
#include <troupe/completion.hpp>
#include <troupe/file_descriptor.hpp>
#include <troupe/pump.hpp>
#include <troupe/ring.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <exception>
#include <limits>
#include <memory>
#include <optional>
#include <string>

namespace troupe::detail {

/// Shared memory between a slot and its worker: this page, then the data of both rings. Zero at first.
struct SlotControl {
  RingControl requests;
  RingControl results;
  alignas(64) std::atomic<std::uint32_t> started;  ///< set by the worker once it is ready for tasks
  /// Steady clock, ns: when the worker began what it runs, or did last. On a line of its own, because the worker writes
  /// it for every task, and who gives tasks reads the one before.
  alignas(64) std::atomic<std::int64_t> busy_since;
};
inline constexpr std::size_t slot_control_bytes = 4096;
inline constexpr std::size_t slot_file_bytes = slot_control_bytes + 2 * ring_bytes;
static_assert(sizeof(SlotControl) <= slot_control_bytes);

/// The mapped parts of a slot's file, the same in the supervisor's process and in the worker's.
struct SlotMemory {
  explicit SlotMemory(int file)
      : control(file, 0, slot_control_bytes, Mapping::Access::read_write, "a worker's rings"),
        request_data(Mapping::twice_in_a_row(file, slot_control_bytes, ring_bytes, "a worker's tasks")),
        result_data(Mapping::twice_in_a_row(file, slot_control_bytes + ring_bytes, ring_bytes, "a worker's results")) {}

  SlotControl& shared() const { return *reinterpret_cast<SlotControl*>(control.data()); }

  Mapping control;
  Mapping request_data;
  Mapping result_data;
};

/// What a worker was given and has not answered.
struct InFlight {
  Ref<TaskRecord> task;
  FrameHeader* frame;

  /// Takes the task back from its worker; false if that has begun it.
  bool revoke() const noexcept {
    auto expected = static_cast<std::uint32_t>(FrameState::queued);
    return frame->state.compare_exchange_strong(expected, static_cast<std::uint32_t>(FrameState::revoked));
  }
  bool has_begun() const noexcept { return frame->state.load() != static_cast<std::uint32_t>(FrameState::queued); }
};

/// Why the pool has killed a worker, and what becomes of the task that it ran.
struct Doom {
  std::uint64_t task_id;
  std::exception_ptr error;  // null: the death itself
  std::string why;
};

/// Thread: the supervisor's, except `has_results`.
class WorkerSlot {
 public:
  WorkerSlot(std::size_t number, const std::string& pool_name);

  /// Whether the worker has answered something that was not read yet. Thread: any.
  bool has_results() const noexcept { return results.has_data(); }
  /// Whether the worker sleeps, so that giving it a task costs a wake-up.
  bool sleeps() const noexcept { return RingReader::sleeps(memory.shared().requests); }
  /// Whether the worker was seen not to get on: it runs a long task, is stopped, or its ring is full. Such a worker
  /// gets nothing more until it has answered, or, when it owes no answer, has taken everything out of its ring.
  bool is_held_up() noexcept {
    if (held_up && in_flight.empty() && requests.is_drained()) held_up = false;
    return held_up;
  }
  /// Whether the worker reads its ring.
  bool has_started() const noexcept { return memory.shared().started.load(std::memory_order_acquire) != 0; }
  /// How long the worker has run its first task, as far as it has begun it.
  std::chrono::nanoseconds time_of_front() const noexcept {
    return std::chrono::steady_clock::now().time_since_epoch() -
           std::chrono::nanoseconds(memory.shared().busy_since.load(std::memory_order_relaxed));
  }
  /// Whether this process gets no more tasks, and ends after those it has.
  bool is_leaving() const noexcept { return is_retired || tasks_left <= 0; }
  /// Clears the rings for the next worker. Only when the last one is gone.
  void reset();

  const std::size_t number;
  const std::string name;  // of the rings and arenas, for /proc/<pid>/fd
  const FileDescriptor file;
  const SlotMemory memory;
  RingWriter requests;
  RingReader results;
  std::shared_ptr<ArenaView> arena;  // where this worker puts large results

  std::optional<Child> child;  // empty while there is no worker
  std::atomic<pid_t> pid{0};   // the child's, for any thread; 0 while there is none
  Pump::Id exit_watch = 0;
  bool starting = false;           // a launch is under way on the pump
  std::deque<InFlight> in_flight;  // in the order of the ring
  std::uint64_t last_given = 0;    // stamp of the last task given, for least recently used
  std::uint64_t oldest_seen = 0;   // id of the oldest task in flight when the supervisor last looked
  bool held_up = false;            // see is_held_up
  bool is_retired = false;         // gets no more tasks, and ends after what it has begun
  bool is_told_to_stop = false;
  std::optional<Doom> doom;      // set when the pool kills the worker for its task
  std::int64_t tasks_left = std::numeric_limits<std::int64_t>::max();  // that this process may get
  bool has_answered = false;                                           // this process, a task
  std::chrono::steady_clock::time_point memory_seen{};                 // last look at how much it has
  std::size_t tasks = 0;         // answered by all processes in this place
  std::chrono::nanoseconds busy{0};
  unsigned restarts = 0;
};

}  // namespace troupe::detail
