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
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>

namespace troupe::detail {

/// Shared memory between a slot and its worker: this page, then the data of both rings. Zero at first.
struct SlotControl {
  RingControl requests;
  RingControl results;
  alignas(64) std::atomic<std::uint32_t> started;  ///< set by the worker once it reads its ring
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
};

}  // namespace troupe::detail
