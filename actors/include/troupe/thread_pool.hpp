#pragma once

/// \file
/// A pool of threads of this process with the interface of Pool: multiprocessing.pool.ThreadPool.
///
///     troupe::ThreadPool pool{4};
///     int calls = 0;
///     std::vector<int> squares = pool.map([&](int x) { return x * x; }, std::views::iota(0, 100));

#include <troupe/pool_options.hpp>
#include <troupe/pool_statistics.hpp>
#include <troupe/thread_calls.hpp>

#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

namespace troupe {

/// What every thread of a ThreadPool calls before its first task, as in `{.initializer = {open_database, path}}`.
class ThreadInitializer {
 public:
  /// None.
  ThreadInitializer() = default;
  /// Any callable with its arguments, which are copied; what it returns is dropped.
  template <class F, class... Args>
    requires(!std::is_same_v<std::decay_t<F>, ThreadInitializer>)
  ThreadInitializer(F callable, Args... arguments)  // NOLINT(google-explicit-constructor): a field of ThreadPoolOptions
      : call_([callable = std::move(callable), ... arguments = std::move(arguments)] {
          std::invoke(callable, arguments...);
        }) {
    static_assert(std::is_invocable_v<const F&, const Args&...>,
                  "troupe: the initializer does not take these arguments (number or types)");
  }

  explicit operator bool() const noexcept { return static_cast<bool>(call_); }
  /// Errors: what the callable throws.
  void operator()() const { call_(); }

 private:
  std::function<void()> call_;
};

/// Those of PoolOptions that threads have a use for.
struct ThreadPoolOptions {
  /// How many threads; none: as many as this process has processors (cpu_count()).
  Count workers = {};
  /// Shows in error texts and as the threads' name; empty: "ThreadPool-N".
  std::string name = {};
  /// Runs on every thread before its first task. A thread whose initializer throws ends; when the last one has, tasks
  /// fail with that error.
  ThreadInitializer initializer = {};
  /// Checked, else without effect: a new thread would be no cleaner than the old one.
  Count maxtasksperchild = {};
  /// Bound of the tasks (chunks, for map) that have been submitted and not ended; none: only memory bounds them.
  std::optional<std::size_t> max_pending_tasks = {};
  /// At that bound. try_apply_async never waits, map and its kin always do.
  WhenFull when_full = WhenFull::wait;
};

/// Threads that run tasks for this process. Tasks are taken in the order of submission. A task that waits for a result
/// of its own pool does not hold up its thread: that runs other tasks meanwhile, first those that are waited for. So a
/// task should hold no lock while it waits, and a timeout of such a wait may be overrun by a task that was begun.
/// Needs no Runtime. The destructor terminates.
/// Thread: any. Only in the process that made it.
class ThreadPool : public ThreadCalls<> {
 public:
  /// Starts the threads. Blocks: until they are started, not until they are ready.
  /// Errors: ValueError for less than one worker and other options that make no sense; OSError when one cannot be
  /// started.
  explicit ThreadPool(ThreadPoolOptions options = {});
  explicit ThreadPool(int workers) : ThreadPool(ThreadPoolOptions{.workers = workers}) {}
  /// Terminates and joins, so it waits for tasks that run; logs a warning if the pool was neither closed nor terminated
  /// before.
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  /// Takes no more tasks; threads end when all are done. Never blocks; may be repeated.
  void close();
  /// Takes no more tasks. What has not begun fails with Cancelled; what runs goes on, and can look at
  /// this_task::stop_requested(). Never blocks; may be repeated.
  void terminate();
  /// Waits until the threads have ended and callbacks have returned. Blocks, after terminate too: for what runs.
  /// Errors: ValueError while the pool is running; AssertionError in one of its tasks and callbacks.
  void join();
  /// The same with a bound; returns whether they have ended. Errors: as join.
  template <class Rep, class Period>
  bool join(std::chrono::duration<Rep, Period> timeout) {
    return join_until(deadline_after(timeout));
  }

  /// Changes how many threads the pool keeps. New ones are started, or the last ones end when they have done what they
  /// have begun. Never blocks for a task.
  /// Errors: ValueError for less than one or more than 4096, or when the pool is not running; OSError.
  void resize(int workers);

  /// What the pool does now, and what it has done so far. One moment. As a Pool's; `pid` is the number of the thread,
  /// and nobody dies. Thread: any.
  PoolStatistics statistics() const;

  /// How many threads the pool keeps.
  std::size_t num_workers() const noexcept { return detail::num_workers(core()); }
  /// "ThreadPool-1", or the name given.
  const std::string& name() const noexcept;

 private:
  bool join_until(Deadline deadline);
};

}  // namespace troupe
