#pragma once

/// \file
/// The end of a task that somebody else runs.

#include <troupe/completion.hpp>
#include <troupe/error.hpp>
#include <troupe/submission.hpp>
#include <troupe/task_call.hpp>

#include <chrono>
#include <coroutine>
#include <cstddef>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

namespace troupe {

namespace detail {

/// Throws what a task ended with, if not a value; else decodes the value.
template <class T>
T take_value(const TaskRecord& task) {
  if (task.error()) std::rethrow_exception(task.error());
  auto message = task.open();
  return decode_result<T>(message);
}

/// One task whose value is the result.
template <class T>
struct SingleTask {
  using Waited = TaskRecord;
  static bool failed(const TaskRecord& task) { return task.has_failed(); }
  static T value(const TaskRecord& task) { return take_value<T>(task); }
  static std::size_t num_left(const TaskRecord& task) noexcept { return task.ready() ? 0 : 1; }
};

/// Many tasks, each with a chunk of the result.
template <class T>
struct ChunkedTasks {
  using Waited = TaskGroup;
  static bool failed(const TaskGroup& group) { return group.first_failure() != nullptr; }
  static std::size_t num_left(const TaskGroup& group) noexcept { return group.num_left(); }
  static T value(const TaskGroup& group) {
    if (const TaskRecord* failure = group.first_failure()) take_value<void>(*failure);
    if constexpr (!std::is_void_v<T>) {
      T all;
      for (const auto& task : group.tasks) {
        auto message = task->open();
        decode_chunk_result(message, all);
      }
      return all;
    }
  }
};

}  // namespace detail

/// A result that may not be there yet, as in multiprocessing. Copies refer to the same result; it outlives the pool.
/// Destroying it does not cancel the task. Thread: any.
///
///     AsyncResult<int> result = pool.apply_async(square, 7);
///     result.get();                      // 49
///     int value = co_await result;       // the same, without blocking a thread
template <class T, class Source = detail::SingleTask<T>>
class AsyncResult {
 public:
  using value_type = T;
  using Waited = typename Source::Waited;

  explicit AsyncResult(Ref<Waited> state) noexcept : state_(std::move(state)) {}

  /// The value. May be called again, and gives an equal value then. Blocks: until the task has ended.
  /// Errors: what the task threw, with its type if that is a standard or registered one, else RemoteError; WorkerDied;
  /// Cancelled when the pool was terminated; CodecError when the value is no T.
  T get() const { return get_until(no_deadline); }
  /// The same with a bound; a timeout that is not positive only looks. Errors: TimeoutError as well; the task goes on.
  template <class Rep, class Period>
  T get(std::chrono::duration<Rep, Period> timeout) const {
    return get_until(deadline_after(timeout));
  }
  /// The value if it is there, else empty. Never blocks. Errors: as get.
  auto try_get() const {
    if constexpr (std::is_void_v<T>) {
      const bool there = ready();
      if (there) Source::value(*state_);
      return there;
    } else {
      return ready() ? std::optional<T>(Source::value(*state_)) : std::nullopt;
    }
  }

  /// Waits for the end of the task, whatever that is. Blocks.
  void wait() const { state_->wait(no_deadline); }
  /// The same with a bound; returns ready().
  template <class Rep, class Period>
  bool wait(std::chrono::duration<Rep, Period> timeout) const {
    return state_->wait(deadline_after(timeout));
  }

  /// Whether the task has ended. Never blocks.
  bool ready() const noexcept { return state_->ready(); }
  /// Whether the task ended with a value. Errors: ValueError while it is not ready.
  bool successful() const {
    if (!ready()) throw ValueError("the result is not ready: call wait() before successful()");
    return !Source::failed(*state_);
  }

  /// How many of its tasks have not ended; those of a map are chunks. Never blocks.
  std::size_t num_left() const noexcept { return Source::num_left(*state_); }

  /// Ends the task if no worker has begun it: it fails with Cancelled. Returns whether it does; false when it has
  /// ended, or runs and is left alone. With `{.force = true}` a running one is ended too: it can look at
  /// this_task::stop_requested() for `grace`, then its worker is killed; its result is Cancelled in any case. For maps
  /// that goes for every chunk. Never blocks for longer than the pool needs to look.
  bool cancel(CancelOptions options = {}) const {
    using detail::cancel;  // not the only one: each kind of pool has its own
    return cancel(*state_, options);
  }

  /// Suspends a coroutine until the task has ended; it goes on on the callback thread.
  /// Errors: as get; AssertionError when another coroutine waits for this result already.
  auto operator co_await() const {
    struct Awaiter {
      Ref<Waited> state;
      bool await_ready() const noexcept { return state->ready(); }
      void await_suspend(std::coroutine_handle<> waiting) const {
        state->then([waiting] { waiting.resume(); });
      }
      T await_resume() const { return Source::value(*state); }
    };
    return Awaiter{state_};
  }

 private:
  T get_until(Deadline deadline) const {
    if (!state_->wait(deadline)) throw TimeoutError("the result was not ready in time; the task goes on");
    return Source::value(*state_);
  }

  Ref<Waited> state_;
};

/// The result of map_async: all values, in the order of the input.
template <class T>
using MapResult = AsyncResult<T, detail::ChunkedTasks<T>>;

}  // namespace troupe
