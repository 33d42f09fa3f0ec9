#pragma once

/// \file
/// What a pool tells about itself.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace troupe {

enum class WorkerState : std::uint8_t {
  absent,    ///< its process has ended or could not be started; the next one comes
  starting,  ///< not ready yet
  idle,      ///< waits for a task
  busy,      ///< has tasks
  held_up,   ///< has had the same task for a while, or is stopped: others take what waits behind
  leaving,   ///< gets no more tasks and ends
};

/// "idle" for WorkerState::idle.
std::string_view to_string(WorkerState state) noexcept;

struct WorkerStatistics {
  WorkerState state = WorkerState::absent;
  pid_t pid = 0;                     ///< 0: absent
  std::size_t tasks = 0;             ///< ended by this process and those before it in its place
  std::chrono::nanoseconds busy{0};  ///< time that those took
  std::uint64_t resident_bytes = 0;  ///< memory in use now
  unsigned restarts = 0;             ///< processes before this one
};

/// One moment of a pool.
struct PoolStatistics {
  std::size_t queued = 0;     ///< tasks that no worker has begun
  std::size_t running = 0;    ///< tasks that a worker has begun, or is about to: what it was given first
  std::size_t done = 0;       ///< ended with a value
  std::size_t failed = 0;     ///< ended with an error, cancelled ones included
  std::size_t cancelled = 0;  ///< of these, ended by cancel or by the end of the pool
  std::size_t retried = 0;    ///< times that a task was begun again
  std::size_t deaths = 0;     ///< workers that ended without being told to
  /// Time that tasks took in the worker: half of them, 90 % and 99 % stayed below; each at most a quarter too long.
  std::chrono::nanoseconds median_time{0}, time_90{0}, time_99{0}, longest_time{0};
  std::vector<WorkerStatistics> workers;
};

}  // namespace troupe
