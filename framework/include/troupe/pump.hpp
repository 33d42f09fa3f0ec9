#pragma once

/// \file
/// The process's one event loop: descriptors, timers, and work that must not run inside an actor.

#include <troupe/bell.hpp>

#include <cstdint>
#include <functional>

namespace troupe {

/// A thread, started on first use, that sleeps in one epoll_wait for everything this process waits for: ends of child
/// processes, eventfds of pools, timers. Callbacks run on that thread, one at a time; they may be late when another one
/// takes long, so none may run user code. Never polls: idle means asleep.
/// Thread: any. Processes forked later have their own.
class Pump {
 public:
  using Callback = std::function<void()>;
  using Id = std::uint64_t;

  /// This process's pump. Errors: OSError when the thread or its descriptors cannot be made.
  static Pump& instance();

  /// Runs `callback` whenever `descriptor` is readable or at its end. The descriptor must stay open until unwatch.
  Id watch(int descriptor, Callback callback);
  /// Runs `callback` once at `when`, later if the thread is busy.
  Id call_at(Deadline when, Callback callback);
  /// Runs `callback` once, soon.
  void run_soon(Callback callback);
  /// Ends a watch or a timer. When it returns, its callback does not run any more (unless called from the pump itself).
  /// Blocks: while that callback runs.
  void cancel(Id id);
  /// Whether the calling thread is the pump.
  bool is_pump_thread() const noexcept;

  /// Ends the thread of this process's pump, if there is one. Part of the end of the Runtime.
  static void stop();

 private:
  Pump();
  ~Pump();
  struct Loop;
  Loop* loop_;
};

/// The thread that runs the user's callbacks and resumes coroutines, one at a time and in order, so that slow or
/// blocking user code delays other callbacks and nothing else. Started on first use. Thread: any.
class CallbackThread {
 public:
  /// Runs `callback` soon. An exception that leaves it is logged and harms nothing.
  static void post(std::function<void()> callback);
  /// Runs what is queued, then ends the thread, if there is one. Part of the end of the Runtime.
  static void stop();
};

}  // namespace troupe
