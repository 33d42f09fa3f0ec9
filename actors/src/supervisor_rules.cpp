// What the options of tasks, cancel and memory limits say: which task is ended or tried again, and when.

#include <troupe/error.hpp>

#include "resident_memory.hpp"
#include "supervisor.hpp"
#include "worker.hpp"

#include <algorithm>
#include <csignal>
#include <unistd.h>
#include <utility>

namespace troupe::detail {

namespace {

using Clock = std::chrono::steady_clock;

/// Between two looks at the memory of workers.
constexpr auto memory_interval = std::chrono::milliseconds{50};

std::string milliseconds_text(std::chrono::nanoseconds time) {
  return std::to_string(time.count() / 1'000'000) + " ms";
}

}  // namespace

// --- Time ---

void Supervisor::note_deadline(TaskRecord& task) {
  deadlines_.emplace(task.deadline(), &task);
  set_limit_timer(task.deadline());
}

void Supervisor::forget_deadline(TaskRecord& task) {
  if (task.deadline() == no_deadline) return;
  const auto [first, last] = deadlines_.equal_range(task.deadline());
  const auto place = std::find_if(first, last, [&](const auto& entry) { return entry.second == &task; });
  if (place != last) deadlines_.erase(place);
}

// The first task of `slot` is another one: its time begins when the worker begins it.
void Supervisor::front_changed(WorkerSlot& slot) {
  if (slot.in_flight.empty()) return;
  const TaskOptions* options = slot.in_flight.front().task->options();
  if (options != nullptr && options->timeout) set_limit_timer(Clock::now() + *options->timeout);
}

void Supervisor::set_limit_timer(Deadline when) {
  if (when >= limit_timer_) return;
  limit_timer_ = when;
  Pump::instance().call_at(when, [core = Ref<PoolCore>::share(&core_)] { core->tell(limits_due); });
}

void Supervisor::check_limits() {
  limit_timer_ = no_deadline;
  if (ending()) return;
  for (const auto& slot : core_.slots()) check_timeout(*slot);
  while (!deadlines_.empty() && deadlines_.begin()->first <= Clock::now()) {
    const auto task = Ref<TaskRecord>::share(deadlines_.begin()->second);
    deadlines_.erase(deadlines_.begin());
    expire(task);
  }
  if (!deadlines_.empty()) set_limit_timer(deadlines_.begin()->first);
  feed_workers();
}

void Supervisor::check_timeout(WorkerSlot& slot) {
  if (!slot.child || slot.doom) return;
  drain_slot(slot);  // see slot_of
  if (slot.in_flight.empty()) return;
  const InFlight& front = slot.in_flight.front();
  const TaskOptions* options = front.task->options();
  if (options == nullptr || !options->timeout) return;
  const auto time = front.has_begun() ? slot.time_of_front() : std::chrono::nanoseconds{0};
  if (time < *options->timeout) return set_limit_timer(Clock::now() + *options->timeout - time);
  const std::string why =
      task_name(front.task->words()) + " ran longer than its timeout of " + milliseconds_text(*options->timeout);
  kill_running(slot, *front.task, std::make_exception_ptr(TimeoutError(why + "; its worker was killed")), why);
}

void Supervisor::expire(const Ref<TaskRecord>& task) {
  const auto error = [&](const char* where) {
    return std::make_exception_ptr(
        TimeoutError(task_name(task->words()) + " was not done by its deadline: it " + where));
  };
  WorkerSlot* slot = slot_of(*task);
  if (task->has_ended()) return;
  if (slot == nullptr || take_out(*slot, *task)) return fail_task(*task, error("still waited for a worker"));
  kill_running(*slot, *task, error("was running; its worker was killed"),
               task_name(task->words()) + " ran past its deadline");
}

// --- Cancel ---

bool Supervisor::cancel(CancelRequest& request) {
  bool any = false;
  for (const auto& task : request.tasks) any = cancel_task(task, request.options) || any;
  feed_workers();
  stop_workers_when_done();
  return any;
}

bool Supervisor::cancel_task(const Ref<TaskRecord>& task, const CancelOptions& options) {
  WorkerSlot* slot = slot_of(*task);
  if (task->has_ended()) return false;
  if (slot == nullptr || take_out(*slot, *task)) {
    ++num_cancelled_;
    fail_task(*task, std::make_exception_ptr(Cancelled(task_name(task->words()) + " was cancelled before it began")));
    return true;
  }
  if (!options.force) return false;
  task->set_cancelled();
  slot->in_flight.front().frame->stop.store(1, std::memory_order_relaxed);
  if (options.grace.count() <= 0) {
    kill_cancelled_task(task);
  } else {
    Pump::instance().call_at(deadline_after(options.grace),
                             [core = Ref<PoolCore>::share(&core_), task] { core->tell(kill_cancelled, 0, task); });
  }
  return true;
}

void Supervisor::kill_cancelled_task(const Ref<TaskRecord>& task) {
  WorkerSlot* slot = slot_of(*task);
  if (slot == nullptr) return;
  const std::string why = task_name(task->words()) + " was cancelled while it ran";
  kill_running(*slot, *task, std::make_exception_ptr(Cancelled(why)), why);
  feed_workers();
}

// The worker that has been given `task` and has not answered; null: none. Takes out answers first: a frame whose answer
// has come may lie under other frames by now, and only those that stay may be looked at, until something is given.
WorkerSlot* Supervisor::slot_of(const TaskRecord& task) {
  const auto is_in = [&](const WorkerSlot& slot) {
    return std::ranges::any_of(slot.in_flight, [&](const InFlight& entry) { return entry.task.get() == &task; });
  };
  for (const auto& slot : core_.slots()) {
    if (!is_in(*slot)) continue;
    drain_slot(*slot);
    return is_in(*slot) ? slot.get() : nullptr;
  }
  return nullptr;
}

// Takes a task back from its worker; false if that has begun it.
bool Supervisor::take_out(WorkerSlot& slot, const TaskRecord& task) {
  const auto entry = std::ranges::find_if(slot.in_flight, [&](const InFlight& one) { return one.task.get() == &task; });
  if (!entry->revoke()) return false;
  const bool was_front = entry == slot.in_flight.begin();
  slot.in_flight.erase(entry);
  if (was_front) front_changed(slot);
  stop_if_leaving(slot);
  return true;
}

// Kills the worker of a task that it has begun. First takes back what lies behind, so that nothing else is begun there
// between our look and the signal.
void Supervisor::kill_running(WorkerSlot& slot, const TaskRecord& task, const std::exception_ptr& error,
                              const std::string& why) {
  drain_slot(slot);
  if (!slot.child || slot.in_flight.empty() || slot.in_flight.front().task.get() != &task) return;
  while (slot.in_flight.size() > 1) {
    if (!slot.in_flight.back().revoke()) return drain_results();  // begun: then ours has ended
    backlog_.push_front(std::move(slot.in_flight.back().task));
    slot.in_flight.pop_back();
  }
  slot.is_leaving = true;  // gets nothing more
  slot.is_told_to_stop = true;
  slot.doom = Doom{task.id(), error, why};
  send_signal(*slot.child, SIGKILL);
}

// --- Retry ---

bool Supervisor::wants_retry(TaskRecord& task, wire::Result::Reader failure) {
  const TaskOptions* options = task.options();
  if (options == nullptr || options->retry_on.empty() || task.attempts >= options->retries || ending()) return false;
  const auto type = failure.getFailure().getType();
  if (!std::ranges::count(options->retry_on, std::string_view(type.begin(), type.size()))) return false;
  ++task.attempts;
  retry_later(Ref<TaskRecord>::share(&task));
  return true;
}

void Supervisor::on_death(const Ref<TaskRecord>& task, const DeathRecord& death) {
  const TaskOptions* options = task->options();
  if (task->is_cancelled()) return fail_task(*task, std::make_exception_ptr(Cancelled(death.task + " was cancelled")));
  if (options == nullptr || options->retries == 0) return fail_task(*task, std::make_exception_ptr(WorkerDied(death)));
  task->deaths().push_back(death);
  if (task->deaths().size() >= core_.options().quarantine_after) {
    std::string text =
        death.task + " is quarantined: it has killed " + std::to_string(task->deaths().size()) + " workers";
    for (const DeathRecord& one : task->deaths()) text += "; " + describe(one);
    return fail_task(*task, std::make_exception_ptr(Quarantined(text)));
  }
  if (task->attempts > options->retries || ending())
    return fail_task(*task, std::make_exception_ptr(WorkerDied(death)));
  retry_later(task);
}

void Supervisor::retry_later(const Ref<TaskRecord>& task) {
  ++num_retried_;
  const auto pause = pause_before_retry(task->options()->backoff, task->attempts);
  if (pause.count() <= 0) return backlog_.push_back(task);
  resting_.push_back(task);
  Pump::instance().call_at(Clock::now() + pause,
                           [core = Ref<PoolCore>::share(&core_), task] { core->tell(retry, 0, task); });
}

void Supervisor::retry_now(TaskRecord& task) {
  const auto place = std::ranges::find(resting_, &task, &Ref<TaskRecord>::get);
  if (place == resting_.end()) return;  // the pool has ended it
  const Ref<TaskRecord> found = std::move(*place);
  resting_.erase(place);
  if (found->has_ended()) return;
  backlog_.push_back(found);
  feed_workers();
}

// --- Memory ---

void Supervisor::check_memory_soon() {
  const PoolOptions& options = core_.options();
  if (memory_timer_set_ || (!options.memory_soft_limit && !options.memory_hard_limit)) return;
  memory_timer_set_ = true;
  Pump::instance().call_at(Clock::now() + memory_interval,
                           [core = Ref<PoolCore>::share(&core_)] { core->tell(memory_due); });
}

void Supervisor::check_memory() {
  memory_timer_set_ = false;
  if (ending()) return;
  for (const auto& slot : core_.slots())
    if (slot->child && !slot->doom) check_memory_of(*slot);
  feed_workers();
  if (has_workers()) check_memory_soon();
}

void Supervisor::check_memory_of(WorkerSlot& slot) {
  const PoolOptions& options = core_.options();
  const std::uint64_t bytes = resident_bytes(slot.pid.load());
  drain_slot(slot);  // see slot_of
  const auto text = [&](std::uint64_t limit) {
    return std::to_string(bytes >> 20U) + " MiB in use, the limit is " + std::to_string(limit >> 20U) + " MiB";
  };
  if (options.memory_hard_limit && bytes > *options.memory_hard_limit && !slot.in_flight.empty() &&
      slot.in_flight.front().has_begun()) {
    const Ref<TaskRecord> task = slot.in_flight.front().task;
    DeathRecord death{.pid = slot.child->pid(),
                      .exitcode = -SIGKILL,
                      .peak_resident_bytes = bytes,
                      .task = task_name(task->words()),
                      .task_id = task->id(),
                      .arguments = task_arguments(task->words()),
                      .ran_for = slot.time_of_front(),
                      .attempts = task->attempts + 1,
                      .restarts = slot.restarts,
                      .reason = text(*options.memory_hard_limit)};
    const std::string why = death.reason;
    kill_running(slot, *task, std::make_exception_ptr(WorkerDied(std::move(death))), why);
  } else if (options.memory_soft_limit && bytes > *options.memory_soft_limit) {
    retire(slot);
  }
}

}  // namespace troupe::detail
