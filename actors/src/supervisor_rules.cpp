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

/// Between two looks at the memory of workers, and at that of one whose tasks end.
constexpr auto memory_interval = std::chrono::milliseconds{50};
constexpr auto task_memory_interval = std::chrono::milliseconds{1};

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
  if (options != nullptr && options->timeout) set_limit_timer(deadline_after(*options->timeout));
}

// One timer for all: the earliest counts.
void Supervisor::set_limit_timer(Deadline when) {
  if (when >= limits_at_) return;
  Pump::instance().cancel(limit_timer_);
  limits_at_ = when;
  limit_timer_ = Pump::instance().call_at(when, [core = Ref<PoolCore>::share(&core_)] { core->tell(limits_due); });
}

void Supervisor::check_limits() {
  limits_at_ = no_deadline;
  limit_timer_ = 0;
  if (ending()) return;
  Deadline next = no_deadline;
  for (const auto& slot : core_.slots()) next = std::min(next, check_timeout(*slot));
  next = std::min({next, check_deadlines(), check_pauses(), check_graces()});
  set_limit_timer(next);
  feed_workers();
}

// Returns when to look again.
Deadline Supervisor::check_timeout(WorkerSlot& slot) {
  if (!slot.child || slot.doom) return no_deadline;
  drain_slot(slot);  // see slot_of
  if (slot.in_flight.empty()) return no_deadline;
  const InFlight& front = slot.in_flight.front();
  const TaskOptions* options = front.task->options();
  if (options == nullptr || !options->timeout) return no_deadline;
  const auto time = front.has_begun() ? slot.time_of_front() : std::chrono::nanoseconds{0};
  if (time < *options->timeout) return deadline_after(*options->timeout - time);
  const std::string why =
      task_name(front.task->words()) + " ran longer than its timeout of " + milliseconds_text(*options->timeout);
  kill_running(slot, *front.task, std::make_exception_ptr(TimeoutError(why + "; its worker was killed")), why);
  return no_deadline;
}

Deadline Supervisor::check_deadlines() {
  while (!deadlines_.empty() && deadlines_.begin()->first <= Clock::now()) {
    const auto task = Ref<TaskRecord>::share(deadlines_.begin()->second);
    deadlines_.erase(deadlines_.begin());
    expire(task);
  }
  return deadlines_.empty() ? no_deadline : deadlines_.begin()->first;
}

Deadline Supervisor::check_pauses() {
  Deadline next = no_deadline;
  for (auto& task : take_due(resting_, next)) backlog_.push_back(std::move(task));
  return next;
}

Deadline Supervisor::check_graces() {
  Deadline next = no_deadline;
  for (const auto& task : take_due(graces_, next)) kill_cancelled_task(task);
  return next;
}

// Takes those out whose time has come, and drops those that have ended; `next`: when the time of another one comes.
std::vector<Ref<TaskRecord>> Supervisor::take_due(std::vector<Due>& all, Deadline& next) {
  const auto now = Clock::now();
  std::vector<Ref<TaskRecord>> due;
  std::erase_if(all, [&](Due& one) {
    if (one.task->has_ended()) return true;
    if (one.when <= now) {
      due.push_back(std::move(one.task));
      return true;
    }
    next = std::min(next, one.when);
    return false;
  });
  return due;
}

void Supervisor::expire(const Ref<TaskRecord>& task) {
  const auto error = [&](const char* where) {
    return std::make_exception_ptr(
        TimeoutError(task_name(task->words()) + " was not done by its deadline: it " + where));
  };
  WorkerSlot* slot = slot_of(*task);
  if (task->has_ended()) return;
  if (slot == nullptr || take_out(*slot, *task)) return fail_unbegun(*task, error("still waited for a worker"));
  kill_running(*slot, *task, error("was running; its worker was killed"),
               task_name(task->words()) + " ran past its deadline");
}

// --- Cancel ---

bool Supervisor::cancel(CancelRequest& request) {
  bool any = false;
  for (const auto& task : request.tasks) any = cancel_task(task, request.options) || any;
  feed_workers();
  return any;
}

bool Supervisor::cancel_task(const Ref<TaskRecord>& task, const CancelOptions& options) {
  WorkerSlot* slot = slot_of(*task);
  if (task->has_ended()) return false;
  if (slot == nullptr || take_out(*slot, *task)) {
    ++num_cancelled_;
    const std::string text = task_name(task->words()) + " was cancelled before it began";
    fail_unbegun(*task, std::make_exception_ptr(Cancelled(text)));
    return true;
  }
  if (!options.force) return false;
  task->set_cancelled();
  find(*slot, *task)->frame->stop.store(1, std::memory_order_relaxed);
  if (options.grace.count() <= 0) {
    kill_cancelled_task(task);
  } else {
    graces_.push_back({deadline_after(options.grace), task});
    set_limit_timer(graces_.back().when);
  }
  return true;
}

void Supervisor::kill_cancelled_task(const Ref<TaskRecord>& task) {
  WorkerSlot* slot = slot_of(*task);
  if (slot == nullptr) return;
  kill_running(*slot, *task, {}, task_name(task->words()) + " was cancelled while it ran");
}

// The worker that has been given `task` and has not answered; null: none. Takes out answers first: a frame whose answer
// has come may lie under other frames by now, and only those that stay may be looked at, until something is given.
WorkerSlot* Supervisor::slot_of(const TaskRecord& task) {
  const auto is_in = [&](WorkerSlot& slot) { return find(slot, task) != slot.in_flight.end(); };
  for (const auto& slot : core_.slots()) {
    if (!is_in(*slot)) continue;
    drain_slot(*slot);
    return is_in(*slot) ? slot.get() : nullptr;
  }
  return nullptr;
}

std::deque<InFlight>::iterator Supervisor::find(WorkerSlot& slot, const TaskRecord& task) {
  return std::ranges::find_if(slot.in_flight, [&](const InFlight& one) { return one.task.get() == &task; });
}

// Takes a task back from its worker; false if that has begun it.
bool Supervisor::take_out(WorkerSlot& slot, const TaskRecord& task) {
  const auto entry = find(slot, task);
  if (!entry->revoke()) return false;
  const bool was_front = entry == slot.in_flight.begin();
  slot.in_flight.erase(entry);
  ++slot.tasks_left;
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
  while (slot.in_flight.size() > 1)
    if (!take_back_last(slot)) return drain_results();  // begun: then ours has ended
  slot.is_retired = true;
  slot.is_told_to_stop = true;
  slot.doom = Doom{task.id(), error, why};
  send_signal(*slot.child, SIGKILL);
}

// --- Retry ---

// Whether `result`, a failure, is one after which the task is to be begun again.
bool Supervisor::wants_retry(const TaskRecord& task, const WorkerSlot& slot, const Frame& result) const {
  const TaskOptions* options = task.options();
  if (options == nullptr || options->retry_on.empty() || task.attempts >= options->retries || ending()) return false;
  if (task.deadline() <= Clock::now()) return false;
  MessageReader message{result.words, result.segments, slot.arena.get()};
  const auto type = message.root<wire::Result>().getFailure().getType();
  return std::ranges::count(options->retry_on, std::string_view(type.begin(), type.size())) > 0;
}

void Supervisor::on_death(const Ref<TaskRecord>& task, const DeathRecord& death) {
  const TaskOptions* options = task->options();
  if (options == nullptr || options->retries == 0) return fail_task(*task, std::make_exception_ptr(WorkerDied(death)));
  task->deaths().push_back(death);
  if (task->deaths().size() >= core_.options().quarantine_after) {
    std::string text = death.task + " is quarantined: it has killed " + std::to_string(task->deaths().size()) +
                       (task->deaths().size() == 1 ? " worker" : " workers");
    for (const DeathRecord& one : task->deaths()) text += "; " + describe(one);
    return fail_task(*task, std::make_exception_ptr(Quarantined(text)));
  }
  if (task->attempts > options->retries || ending() || task->deadline() <= Clock::now())
    return fail_task(*task, std::make_exception_ptr(WorkerDied(death)));
  retry_later(task);
}

void Supervisor::retry_later(const Ref<TaskRecord>& task) {
  ++num_retried_;
  resting_.push_back({deadline_after(pause_before_retry(task->options()->backoff, task->attempts)), task});
  set_limit_timer(resting_.back().when);
}

// --- Memory ---

bool Supervisor::has_memory_limits() const noexcept {
  return core_.options().memory_soft_limit || core_.options().memory_hard_limit;
}

void Supervisor::check_memory_soon() {
  if (memory_timer_set_ || !has_memory_limits()) return;
  memory_timer_set_ = true;
  Pump::instance().call_at(Clock::now() + memory_interval,
                           [core = Ref<PoolCore>::share(&core_)] { core->tell(memory_due); });
}

void Supervisor::check_memory() {
  memory_timer_set_ = false;
  if (terminated_) return;  // else workers may still be in their initializers, also when they have been told to end
  for (const auto& slot : core_.slots()) check_memory_of(*slot);
  feed_workers();
  if (has_workers()) check_memory_soon();
}

// Before the worker gets its next task, though not after each of many small ones: looking costs as much as those.
void Supervisor::check_memory_after_task(WorkerSlot& slot) {
  if (!ending() && Clock::now() - slot.memory_seen >= task_memory_interval) check_memory_of(slot);
}

void Supervisor::check_memory_of(WorkerSlot& slot) {
  if (!slot.child || slot.doom) return;
  const PoolOptions& options = core_.options();
  slot.memory_seen = Clock::now();
  const std::uint64_t bytes = resident_bytes(slot.pid.load());
  drain_slot(slot);  // see slot_of
  const bool above_hard = options.memory_hard_limit && bytes > *options.memory_hard_limit;
  const bool above_soft = options.memory_soft_limit && bytes > *options.memory_soft_limit;
  const bool is_busy = !slot.in_flight.empty() && slot.in_flight.front().has_begun();
  if (above_hard && (is_busy || !slot.has_started())) {
    const std::string why = std::to_string(bytes >> 20U) + " MiB in use, the limit is " +
                            std::to_string(*options.memory_hard_limit >> 20U) + " MiB";
    if (is_busy) return kill_running(slot, *slot.in_flight.front().task, {}, why);
    initializer_error_ = std::make_exception_ptr(RuntimeError(why));
    slot.doom = Doom{.task_id = 0, .error = {}, .why = why};
    send_signal(*slot.child, SIGKILL);
  } else if ((above_hard || above_soft) && slot.has_answered) {
    retire(slot);  // not before its first task: one that needs so much to get ready would never run any
  }
}

}  // namespace troupe::detail
