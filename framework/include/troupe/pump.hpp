#pragma once

/// \file
/// The process's one event loop: descriptors, timers, and work that must not run inside an actor.

#include <troupe/bell.hpp>

#include <cstdint>
#include <functional>
#include <memory>

namespace troupe {

/// A thread, started on first use, that sleeps in one epoll_wait for everything this process waits for: ends of child
/// processes, eventfds of pools, timers. Callbacks run on that thread, one at a time; they may be late when another one
/// takes long, so none may run user code. Never polls: idle means asleep.
/// Thread: any. Processes forked later have their own.
class Pump {
 public:
  using Callback = std::function<void()>;
  using Id = std::uint64_t;

  /// This process's pump. After the end of the Runtime one that runs nothing any more.
  /// Errors: OSError when the thread or its descriptors cannot be made; AssertionError without a Runtime.
  static Pump& instance();

  /// Runs `callback` whenever `descriptor` is readable or at its end. It must stay open until `cancel`, and has one
  /// watch at a time. Errors: OSError naming the descriptor if it cannot be watched.
  Id watch(int descriptor, Callback callback);
  /// Runs `callback` once at `when`, later if the thread is busy.
  Id call_at(Deadline when, Callback callback);
  /// Runs `callback` once, soon.
  void run_soon(Callback callback);
  /// Ends a watch or a timer; 0 and what has ended is ignored. When it returns, its callback does not run any more
  /// (unless called from the pump itself). Blocks: while that callback runs.
  void cancel(Id id);
  /// Whether the calling thread is the pump.
  bool is_pump_thread() const noexcept;

  /// Ends the thread of this process's pump, if there is one; what is waiting is not run. Part of the Runtime's end.
  static void stop();

 private:
  friend struct std::default_delete<Pump>;
  struct Loop;

  Pump();
  ~Pump();
  /// Gives up the parent's pump in a forked child.
  static void forget();

  std::unique_ptr<Loop> loop_;
};

/// The thread that runs the user's callbacks and resumes coroutines, one at a time and in order, so that slow or
/// blocking user code delays other callbacks and nothing else. Started on first use. Thread: any.
class CallbackThread {
 public:
  /// Makes sure that `post` will not have to make the thread. Errors: as post.
  static void start();
  /// Runs `callback` soon; never, after the end of the Runtime. An exception that leaves it is printed to stderr and
  /// harms nothing. Errors: OSError when the thread cannot be made; AssertionError without a Runtime.
  static void post(std::function<void()> callback);
  /// Whether the calling thread is this process's callback thread.
  static bool is_current() noexcept;
  /// Runs what is queued, then ends the thread, if there is one. Called from a callback (which calls std::exit) it
  /// does not wait. Part of the end of the Runtime.
  static void stop();
};

}  // namespace troupe
