#pragma once

/// \file
/// Who waits for a pool's results, and who takes them out of the rings meanwhile.
///
///   a thread that waits   looks into the rings itself, then sleeps on the pool's bell: the *leader*
///   other waiting threads sleep until their task is done, or the leader leaves and one of them takes over
///   nobody waits          the pump is armed instead; after a wake-up it looks every 100 us while results keep coming,
///                         so that a stream of small tasks costs it a few wake-ups a millisecond, not one per task;
///                         and ever more seldom, down to every 800 us, while others come and take them
///
/// Whoever looks and finds something tells the supervisor actor to drain, which runs on that thread.

#include <troupe/bell.hpp>
#include <troupe/completion.hpp>
#include <troupe/pump.hpp>

#include <atomic>
#include <list>
#include <mutex>

namespace troupe::detail {

/// Thread: any.
class WaitingRoom {
 public:
  /// enter and leave as a scope.
  class Visit {
   public:
    explicit Visit(WaitingRoom& room) : room_(&room) { room_->enter(); }
    ~Visit() { room_->leave(); }
    Visit(const Visit&) = delete;
    Visit& operator=(const Visit&) = delete;

   private:
    WaitingRoom* room_;
  };

  WaitingRoom(PoolCore& core, Bell bell, Bell::Word* word);

  /// Somebody is about to submit and wait, or waits: the pump need not be armed. Counts.
  void enter() noexcept;
  /// Somebody takes results along without waiting for one. Never blocks.
  void pass_by() noexcept;
  /// Ends what `enter` began, and leaves the watch to another sleeper or to the pump.
  void leave();

  /// Waits until `completion` is ready or `deadline`. Blocks. Between enter and leave.
  void wait(Completion& completion, Deadline deadline);
  /// Wakes whoever sleeps until `completion` is ready.
  void wake(Completion& completion) noexcept;
  /// Makes sure that somebody notices the next result. Thread: actor.
  void ensure_watched();
  /// Takes results if nobody else will. Thread: the pump, when the bell rang for it.
  void serve_from_pump();

 private:
  struct Sleeper {
    const Completion* completion;
    std::atomic<std::uint32_t> woken{0};
  };

  void sleep(Completion& completion, Deadline deadline);
  void sleep_as_leader(std::unique_lock<std::mutex>& lock, const Completion& completion, Deadline deadline);
  static void rouse(Sleeper& sleeper) noexcept;
  bool arm_pump();
  void linger();
  void end_linger();

  PoolCore& core_;
  Bell bell_;
  Bell::Word* word_;
  std::atomic<int> num_inside_{0};
  std::atomic<std::uint32_t> num_visits_{0};
  std::atomic<bool> pump_lingers_{false};
  // Of the pump, or of whoever has set pump_lingers_:
  std::chrono::nanoseconds linger_time_;
  std::uint32_t num_visits_seen_ = 0;

  std::mutex mutex_;
  // Guarded by mutex_:
  const Completion* leader_ = nullptr;  // what the sleeping leader waits for; null while none sleeps
  std::list<Sleeper*> followers_;
};

}  // namespace troupe::detail
