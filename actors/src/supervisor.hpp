#pragma once

/// \file
/// The actor that owns a pool's workers and its queue.

#include <troupe/actor.hpp>

#include "pool_core.hpp"

#include <chrono>
#include <cstdint>
#include <exception>
#include <string>

namespace troupe::detail {

/// First in, first out; linked through the records. Thread: actor.
class TaskQueue {
 public:
  ~TaskQueue();
  bool empty() const noexcept { return first_ == nullptr; }
  void push_back(Ref<TaskRecord> task) noexcept;
  void push_front(Ref<TaskRecord> task) noexcept;
  Ref<TaskRecord> pop_front() noexcept;

 private:
  TaskRecord* first_ = nullptr;  // each link is an owner
  TaskRecord* last_ = nullptr;
};

/// How long this pool's tasks take, as an average that forgets; decides how far ahead workers are fed.
class TaskTime {
 public:
  void learn(std::chrono::nanoseconds busy) noexcept {
    mean_ns_ =
        known() ? mean_ns_ + (static_cast<double>(busy.count()) - mean_ns_) / 8 : static_cast<double>(busy.count());
    known_ = true;
  }
  bool known() const noexcept { return known_; }
  /// So short that waking a sleeping worker would cost more than running the task behind others.
  bool is_short() const noexcept { return known_ && mean_ns_ < 50'000; }
  /// How many tasks a worker may hold: about 200 us of work, 1 for long tasks and while nothing is known.
  std::size_t depth() const noexcept;
  /// How long `count` tasks are likely to take, in nanoseconds.
  double backlog_ns(std::size_t count) const noexcept { return mean_ns_ * static_cast<double>(count); }

 private:
  double mean_ns_ = 0;
  bool known_ = false;
};

/// A new worker on its way to the supervisor. Thread: caller.
class WorkerStarted final : public Shared {
 public:
  explicit WorkerStarted(PoolCore::Launched launched) : launched_(std::move(launched)) {}
  PoolCore::Launched take() { return std::move(launched_); }

 private:
  PoolCore::Launched launched_;
};

/// Why a worker could not be started.
class StartFailure final : public Shared {
 public:
  explicit StartFailure(std::exception_ptr reason) : error(std::move(reason)) {}
  const std::exception_ptr error;
};

/// Owns workers, in-flight tasks and the backlog of one pool; restarts workers that end. Strategy one_for_one, restart
/// permanent, in OTP's words. Thread: actor.
class Supervisor final : public Actor {
 public:
  enum Topic : std::uint32_t {
    submitted = 1,    // object: TaskRecord
    batch_submitted,  // object: Batch
    drain,            // results are in the rings
    worker_started,   // number: slot, object: WorkerStarted
    start_failed,     // number: slot, object: StartFailure
    worker_exited,    // number: slot
    close,            // no more tasks will come
    terminate,        // end everything now
    kill_rest,        // the grace after terminate is over
    look,             // for workers that do not get on, and what waits behind them
  };

  explicit Supervisor(PoolCore& core) : core_(core) {}
  void receive(Mail& mail) override;

 private:
  // Tasks (supervisor_tasks.cpp)
  void take_task(Ref<TaskRecord> task);
  bool hand_out(Ref<TaskRecord>& task);
  void feed_workers();
  WorkerSlot* choose_worker() const;
  WorkerSlot* choose_for_short() const;
  WorkerSlot* choose_for_long() const;
  static bool may_get(WorkerSlot& slot) noexcept { return slot.child.has_value() && !slot.is_held_up(); }
  bool give(WorkerSlot& slot, Ref<TaskRecord>& task);
  void drain_results();
  bool drain_slot(WorkerSlot& slot);
  bool take_result(WorkerSlot& slot, const Frame& frame);
  void look_after_workers();
  void take_back_from_held_up();
  void balance();
  void look_soon(std::chrono::milliseconds interval);
  void stop_workers_when_done();

  // Workers (supervisor_workers.cpp)
  void start_worker(WorkerSlot& slot);
  void on_started(WorkerSlot& slot, PoolCore::Launched launched);
  void adopt_worker(WorkerSlot& slot, PoolCore::Launched launched);
  bool has_workers() const;
  bool has_ready_workers() const;
  void on_start_failed(WorkerSlot& slot, const StartFailure& failure);
  void on_exit(WorkerSlot& slot);
  void settle_tasks_of_dead(WorkerSlot& slot, pid_t pid, int exitcode);
  void on_terminate();
  void kill_workers(int signal_number);
  static void send_signal(const Child& child, int number) noexcept;
  void give_up(const std::exception_ptr& error);
  void fail_all(const std::exception_ptr& error);
  void check_all_gone();
  bool ending() const noexcept { return terminated_ || stopping_; }

  PoolCore& core_;
  TaskQueue backlog_;
  TaskTime task_time_;
  std::uint64_t stamp_ = 0;  // counts tasks given
  unsigned submitted_since_drain_ = 0;
  bool look_timer_set_ = false;
  bool recovered_ = false;      // a worker that was held up has answered since the last drain
  unsigned failed_starts_ = 0;  // in a row: workers that ended before they were ready, or could not be started
  Pump::Id kill_timer_ = 0;     // set by terminate
  bool closed_ = false;
  bool stopping_ = false;  // workers were told to end
  bool terminated_ = false;
  bool gone_ = false;
  std::exception_ptr broken_;  // why no more tasks can be run
};

}  // namespace troupe::detail
