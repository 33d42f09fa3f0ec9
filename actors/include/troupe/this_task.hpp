#pragma once

/// \file
/// What a task may ask about itself while it runs in a worker.

#include <troupe/bell.hpp>
#include <troupe/ref.hpp>

#include <cstdint>
#include <utility>

namespace troupe {

namespace detail {

class ThreadTask;
void acquire_ref(ThreadTask* task) noexcept;
void release_ref(ThreadTask* task) noexcept;

}  // namespace detail

/// Tells a task whether it is still wanted: what std::stop_token is between threads. Thread: any of its process.
class StopToken {
 public:
  /// One that never says so.
  StopToken() = default;
  explicit StopToken(std::uint64_t task_id) noexcept : task_id_(task_id) {}
  explicit StopToken(Ref<detail::ThreadTask> task) noexcept : thread_task_(std::move(task)) {}
  /// Whether the task was cancelled with force: it should end soon, before its worker is killed. What it returns or
  /// throws does not matter any more. In a ThreadPool, where nobody is killed, also once that is terminated. False when
  /// the task has ended. Never blocks; costs a load.
  bool stop_requested() const noexcept;

 private:
  std::uint64_t task_id_ = 0;              // of a Pool
  Ref<detail::ThreadTask> thread_task_ = {};  // of a ThreadPool
};

namespace this_task {

/// Whether this thread runs a task of a ThreadPool, or this process is a worker that has been given a task.
bool is_running() noexcept;
/// The task's number in its pool, as in error texts; 0 outside tasks.
std::uint64_t id() noexcept;
/// For what the task calls. Outside tasks one that never says so.
StopToken stop_token() noexcept;
/// stop_token().stop_requested().
bool stop_requested() noexcept;
/// When the task must have ended (TaskOptions::deadline); no_deadline: never, or not in a task.
Deadline deadline() noexcept;

}  // namespace this_task

}  // namespace troupe
