#pragma once

/// \file
/// The process and pool classes on threads of this process, under the same names: multiprocessing.dummy. For tasks that
/// wait more than they compute, for arguments that cannot travel, and to debug what runs in processes otherwise.
///
///     namespace mp = troupe::dummy;        // or troupe, for processes
///     mp::Process process{greet, "world"};
///     process.start();
///     process.join();
///     mp::Pool pool{4};
///
/// Needs no Runtime.

#include <troupe/bell.hpp>
#include <troupe/dummy_connection.hpp>
#include <troupe/dummy_queue.hpp>
#include <troupe/dummy_sync.hpp>
#include <troupe/process.hpp>
#include <troupe/thread_call.hpp>
#include <troupe/thread_pool.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <sys/types.h>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace troupe::dummy {

using Pool = ThreadPool;
using PoolOptions = ThreadPoolOptions;
using troupe::cpu_count;
using troupe::ProcessOptions;

/// Names one thread that plays a process. Copies name the same one. Neither destroying nor copying it does anything to
/// the thread. Thread: any.
class ProcessRef {
 public:
  /// "MainProcess" for every thread that is no Process, "Process-1", "Process-1:2" for the second child of that one, or
  /// as set.
  std::string name() const;
  void set_name(std::string name);

  /// Whether the program ends without waiting for the thread.
  bool daemon() const;
  /// Errors: AssertionError once the thread has started.
  void set_daemon(bool daemon);

  /// The number of the thread, as the kernel counts; empty before it has started.
  std::optional<pid_t> ident() const;
  std::optional<pid_t> pid() const { return ident(); }

  /// Whether it has started and not ended. Never blocks.
  bool is_alive() const;
  /// 0 when the target has returned, 1 when it threw; empty before that. Never blocks.
  std::optional<int> exitcode() const;

  /// Waits until the thread has ended. Blocks. May be repeated, by any thread.
  /// Errors: AssertionError before start, and in the thread itself.
  void join() const { join_until(no_deadline); }
  /// The same with a bound, negative like zero; returns whether it has ended.
  template <class Rep, class Period>
  bool join(std::chrono::duration<Rep, Period> timeout) const {
    return join_until(deadline_after(timeout));
  }

  /// "<Process name='Process-1' stopped exitcode=0>".
  std::string to_string() const;
  friend std::ostream& operator<<(std::ostream& out, const ProcessRef& process) { return out << process.to_string(); }

  /// Whether both name the same thread.
  friend bool operator==(const ProcessRef& a, const ProcessRef& b) { return a.state_ == b.state_; }

  struct State;

 protected:
  explicit ProcessRef(std::shared_ptr<State> state) noexcept : state_(std::move(state)) {}
  /// Errors: AssertionError after a move.
  const std::shared_ptr<State>& state() const;
  bool was_moved_from() const noexcept { return state_ == nullptr; }

 private:
  friend ProcessRef current_process();
  friend std::optional<ProcessRef> parent_process();
  friend std::vector<ProcessRef> active_children();

  bool join_until(Deadline deadline) const;

  std::shared_ptr<State> state_;
};

namespace detail {

/// What a thread calls.
class Target {
 public:
  virtual ~Target() = default;
  virtual void call() = 0;
};

template <class Callable, class... Args>
class TargetOf final : public Target {
 public:
  template <class F, class... A>
  explicit TargetOf(F&& callable, A&&... arguments)
      : callable_(std::forward<F>(callable)), arguments_(std::forward<A>(arguments)...) {}
  void call() override {
    std::apply([&](auto&... stored) { std::invoke(callable_, troupe::detail::hand_on<Args>(stored, false)...); },
               arguments_);
  }

 private:
  Callable callable_;
  std::tuple<Args...> arguments_;
};

}  // namespace detail

/// A thread to be started once. There is no way to end it from outside, so it has no terminate, kill and sentinel.
/// Destroying the object neither ends nor waits for a thread that runs: at the end of the program those that are not
/// daemonic are joined. An error that leaves the target is printed to stderr. Movable, not copyable; a ProcessRef made
/// from it stays valid. Thread: any.
///
/// Instead of giving it a target, derive from it and override `run`; such an object must stay where it is until it is
/// joined, or the program is ended by std::terminate.
class Process : public ProcessRef {
 public:
  /// A thread without a target: it ends at once with exit code 0, unless `run` is overridden. Of the options the start
  /// method has no effect.
  explicit Process(ProcessOptions options = {});
  /// A thread that calls `callable(arguments...)`. Both are copied or moved in, and handed on as values.
  template <class F, class... Args>
    requires(!std::is_base_of_v<ProcessRef, std::decay_t<F>> && !std::is_same_v<ProcessOptions, std::decay_t<F>>)
  explicit Process(F&& callable, Args&&... arguments)
      : Process(ProcessOptions{}, std::forward<F>(callable), std::forward<Args>(arguments)...) {}
  template <class F, class... Args>
  explicit Process(ProcessOptions options, F&& callable, Args&&... arguments) : Process(std::move(options)) {
    static_assert(std::is_invocable_v<std::decay_t<F>&, std::decay_t<Args>...>,
                  "troupe: the target does not take these arguments (number or types)");
    target_ = std::make_shared<detail::TargetOf<std::decay_t<F>, std::decay_t<Args>...>>(
        std::forward<F>(callable), std::forward<Args>(arguments)...);
  }
  Process(Process&&) noexcept = default;
  Process& operator=(Process&&) noexcept = default;
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  virtual ~Process();

  /// What the thread does: calls the target. Called directly it runs in the caller. Override it in subclasses.
  virtual void run();

  /// Starts the thread. Blocks: until it runs, not until it has done anything.
  /// Errors: AssertionError if it was started before; OSError when there can be no more threads.
  void start();

 private:
  std::shared_ptr<detail::Target> target_;
  bool runs_itself_ = false;
};

/// The thread that calls it.
ProcessRef current_process();
/// The one that started it; empty in threads that are no Process.
std::optional<ProcessRef> parent_process();
/// Those that the calling thread (all threads that are no Process together) has started and that have not ended, in the
/// order of their start. Never blocks.
std::vector<ProcessRef> active_children();

}  // namespace troupe::dummy
