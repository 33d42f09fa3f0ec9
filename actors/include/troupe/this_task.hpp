#pragma once

/// \file
/// What a task may ask about itself while it runs in a worker.

#include <troupe/bell.hpp>

#include <cstdint>

namespace troupe::this_task {

/// Whether this thread runs a pool's task. Never blocks.
bool is_running() noexcept;
/// The task's number in its pool, as in error texts; 0 outside tasks.
std::uint64_t id() noexcept;
/// Whether the task was cancelled with force: it should end soon, before its worker is killed. What it returns or throws
/// does not matter any more. False outside tasks. Never blocks; costs a load.
bool stop_requested() noexcept;
/// When the task must have ended (TaskOptions::deadline); no_deadline: never, or not in a task.
Deadline deadline() noexcept;

}  // namespace troupe::this_task
