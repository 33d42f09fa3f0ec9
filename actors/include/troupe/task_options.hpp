#pragma once

/// \file
/// What may be said about tasks beside what they call: see TaskCalls::with.

#include <troupe/bell.hpp>
#include <troupe/failure.hpp>
#include <troupe/ref.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <typeinfo>
#include <vector>

namespace troupe {

/// Pauses between the attempts of a task that is retried.
struct Backoff {
  /// Before the first retry. 0: at once.
  std::chrono::nanoseconds initial = std::chrono::milliseconds{10};
  /// Each further pause is so many times as long ...
  double factor = 2;
  /// ... but never longer than this.
  std::chrono::nanoseconds longest = std::chrono::seconds{10};
  /// Share of the pause that is left to chance, 0 to 1, so that tasks that failed together do not come back together.
  double jitter = 0.5;
};

/// The names of exception classes, for TaskOptions::retry_on. Exactly these classes, not those derived from them.
///
///     pool.with({.retries = 3, .retry_on = troupe::exceptions<troupe::TimeoutError, std::system_error>()})
template <class... E>
std::vector<std::string> exceptions() {
  return {detail::exception_name_of(typeid(E))...};
}

/// How tasks are to be run. The defaults are those of tasks without options.
struct TaskOptions {
  /// How long a worker may run the task; then that worker is killed and the task fails with TimeoutError. Counted from
  /// when the worker begins it, anew with each attempt.
  std::optional<std::chrono::nanoseconds> timeout = {};
  /// How long the task may take in all, from its submission; then it fails with TimeoutError, and if a worker runs it,
  /// that is killed. What the task itself submits to pools of its own has no more time than the task has left.
  std::optional<std::chrono::nanoseconds> deadline = {};
  /// How often the task is begun again after its worker died, or after it threw one of `retry_on`. Not after a timeout,
  /// cancel or terminate. 0: at most once, which is the promise for all other tasks.
  unsigned retries = 0;
  std::vector<std::string> retry_on = {};
  Backoff backoff = {};
  /// Tasks of a higher priority are begun before all others that no worker was given yet. Default: 0.
  int priority = 0;
  /// Shows in error texts and death records. Default: the name of what it calls.
  std::string name = {};
};

/// How AsyncResult::cancel treats a task.
struct CancelOptions {
  /// Also end a task that a worker has begun, by killing that worker.
  bool force = false;
  /// With force: how long the task may look at this_task::stop_requested() before that. Default: not at all.
  std::chrono::nanoseconds grace{0};
};

namespace detail {

/// Options as tasks share them. Thread: any, never changed.
class SharedOptions final : public Shared {
 public:
  /// Errors: ValueError naming the option that makes no sense.
  explicit SharedOptions(TaskOptions all);
  const TaskOptions options;
};

/// When a task that is submitted here and now must have ended: by its options, and by the deadline of the task that
/// submits it.
Deadline deadline_of(const SharedOptions* options);

/// How long to wait after so many `attempts`.
std::chrono::nanoseconds pause_before_retry(const Backoff& backoff, std::uint32_t attempts);

}  // namespace detail

}  // namespace troupe
