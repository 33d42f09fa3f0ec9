#pragma once

/// \file
/// The actor that owns a pool's workers and its queue.

#include <troupe/actor.hpp>

#include "pool_core.hpp"
#include "pool_requests.hpp"
#include "task_queue.hpp"
#include "task_time.hpp"

#include <chrono>
#include <cstdint>
#include <deque>
#include <exception>
#include <map>
#include <string>
#include <vector>

namespace troupe::detail {

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
    resized,          // the number of workers wanted is another
    callback_ended,   // maybe the last
    limits_due,       // timeouts, deadlines, pauses and graces of tasks
    memory_due,       // to be looked at
    asked,            // object: PoolRequest
  };

  explicit Supervisor(PoolCore& core) : core_(core) {}
  void receive(Mail& mail) override;

 private:
  /// A task and when something is to be done about it.
  struct Due {
    Deadline when;
    Ref<TaskRecord> task;
  };

  // Tasks: submitted, given, answered (supervisor_tasks.cpp)
  void take_task(Ref<TaskRecord> task);
  bool hand_out(Ref<TaskRecord>& task);
  void feed_workers();
  WorkerSlot* choose_worker() const;
  WorkerSlot* choose_for_short() const;
  WorkerSlot* choose_for_long() const;
  static bool may_get(WorkerSlot& slot) noexcept {
    return slot.child.has_value() && !slot.is_leaving() && !slot.is_held_up();
  }
  bool give(WorkerSlot& slot, Ref<TaskRecord>& task);
  void drain_results();
  bool drain_slot(WorkerSlot& slot);
  bool take_result(WorkerSlot& slot, const Frame& frame);
  void end_task(WorkerSlot& slot, const Ref<TaskRecord>& task, const Frame& frame, bool failed, bool retry);
  bool take_back_last(WorkerSlot& slot);
  void fail_task(TaskRecord& task, const std::exception_ptr& error);
  void fail_unbegun(TaskRecord& task, const std::exception_ptr& error);
  void fail_cancelled(TaskRecord& task);
  void stop_workers_when_done();

  // Fairness (supervisor_fairness.cpp)
  void look_after_workers();
  void take_back_from_held_up();
  void balance();
  void look_soon();
  void look_soon(std::chrono::milliseconds interval);

  // Rules: what options and cancel say (supervisor_rules.cpp)
  void note_deadline(TaskRecord& task);
  void forget_deadline(TaskRecord& task);
  void front_changed(WorkerSlot& slot);
  void check_limits();
  Deadline check_timeout(WorkerSlot& slot);
  Deadline check_deadlines();
  Deadline check_pauses();
  Deadline check_graces();
  static std::vector<Ref<TaskRecord>> take_due(std::vector<Due>& all, Deadline& next);
  void expire(const Ref<TaskRecord>& task);
  void set_limit_timer(Deadline when);
  void retry_later(const Ref<TaskRecord>& task);
  bool wants_retry(const TaskRecord& task, const WorkerSlot& slot, const Frame& result) const;
  void on_death(const Ref<TaskRecord>& task, const DeathRecord& death);
  bool cancel(CancelRequest& request);
  bool cancel_task(const Ref<TaskRecord>& task, const CancelOptions& options);
  void kill_cancelled_task(const Ref<TaskRecord>& task);
  WorkerSlot* slot_of(const TaskRecord& task);
  bool take_out(WorkerSlot& slot, const TaskRecord& task);
  static std::deque<InFlight>::iterator find(WorkerSlot& slot, const TaskRecord& task);
  void kill_running(WorkerSlot& slot, const TaskRecord& task, const std::exception_ptr& error, const std::string& why);
  bool has_memory_limits() const noexcept;
  void check_memory_soon();
  void check_memory();
  void check_memory_after_task(WorkerSlot& slot);
  void check_memory_of(WorkerSlot& slot);

  // Workers: started, ended, replaced (supervisor_workers.cpp)
  void start_worker(WorkerSlot& slot);
  void on_started(WorkerSlot& slot, PoolCore::Launched launched);
  void adopt_worker(WorkerSlot& slot, PoolCore::Launched launched);
  bool has_workers() const;
  bool has_ready_workers() const;
  void on_start_failed(WorkerSlot& slot, const StartFailure& failure);
  void on_exit(WorkerSlot& slot);
  void settle_tasks_of_dead(WorkerSlot& slot, DeathRecord death);
  void replace_worker(WorkerSlot& slot, bool was_ready, int exitcode);
  void retire(WorkerSlot& slot);
  void stop_if_leaving(WorkerSlot& slot);
  void tell_to_stop(WorkerSlot& slot);
  void on_resized();
  void on_terminate();
  void kill_workers(int signal_number);
  static void send_signal(const Child& child, int number) noexcept;
  void give_up(const std::exception_ptr& error);
  void fail_all(const std::exception_ptr& error);
  void check_all_gone();
  bool ending() const noexcept { return terminated_ || stopping_; }

  // Reports (supervisor_reports.cpp)
  void answer(PoolRequest& request);
  PoolStatistics statistics();
  static WorkerStatistics statistics_of(WorkerSlot& slot);
  void remember(const DeathRecord& death);

  /// How often to look whether a worker goes on that owes nothing and does not read its ring, as one that was stopped.
  static constexpr std::chrono::milliseconds slow_look_interval{100};

  PoolCore& core_;
  Backlog backlog_;
  TaskTime task_time_;
  std::uint64_t stamp_ = 0;  // counts tasks given
  unsigned submitted_since_drain_ = 0;
  bool look_timer_set_ = false;
  bool recovered_ = false;      // a worker that was held up has answered since the last drain
  unsigned failed_starts_ = 0;  // in a row: workers that ended before they were ready, or could not be started
  std::exception_ptr initializer_error_;  // what the last initializer that failed threw
  Pump::Id kill_timer_ = 0;               // set by terminate
  bool closed_ = false;
  bool stopping_ = false;  // workers were told to end
  bool terminated_ = false;
  bool gone_ = false;
  std::exception_ptr broken_;  // why no more tasks can be run

  std::multimap<Deadline, TaskRecord*> deadlines_;  // of tasks that have not ended
  std::vector<Due> resting_;                        // between two attempts
  std::vector<Due> graces_;                         // cancelled and still running
  Deadline limits_at_ = no_deadline;                // when check_limits comes
  Pump::Id limit_timer_ = 0;
  bool memory_timer_set_ = false;

  // What statistics tell beside the workers'.
  std::size_t num_done_ = 0, num_failed_ = 0, num_cancelled_ = 0, num_retried_ = 0, num_deaths_ = 0;
  std::deque<DeathRecord> deaths_;
};

}  // namespace troupe::detail
