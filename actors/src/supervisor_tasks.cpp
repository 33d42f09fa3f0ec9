// The way of tasks: submitted → backlog → a worker's ring → result → record. Workers and their ends are in
// supervisor_workers.cpp.

#include <troupe/error.hpp>
#include <troupe/task_call.hpp>

#include "supervisor.hpp"
#include "worker.hpp"

#include <kj/exception.h>

#include <algorithm>
#include <csignal>
#include <utility>

namespace troupe::detail {

namespace {

/// What waking a sleeping worker costs; less work than this is not worth it.
constexpr double wake_ns = 25'000;
/// So much work in tiny tasks goes to one worker before another one gets any.
constexpr double tiny_ahead_ns = 100'000;
/// Every so many submissions the submitter takes results along, so that neither rings nor memory fill up.
constexpr unsigned submissions_between_drains = 16;

/// Lets the worker have the memory of an answer back that nobody wants.
void give_back(const WorkerSlot& slot, const Frame& frame) {
  for (const SegmentRef& segment : frame.segments) slot.arena->release(segment.ticket);
}

}  // namespace

// --- Submission ---

void Supervisor::receive(Mail& mail) {
  const auto slot = [&]() -> WorkerSlot& { return *core_.slots()[static_cast<std::size_t>(mail.number)]; };
  switch (mail.topic) {
    case submitted: take_task(Ref<TaskRecord>::adopt(static_cast<TaskRecord*>(mail.object.release()))); break;
    case batch_submitted:
      for (auto& task : static_cast<Batch&>(*mail.object).tasks) take_task(std::move(task));
      break;
    case drain:
      core_.drain_begins();
      drain_results();
      break;
    case worker_started: on_started(slot(), static_cast<WorkerStarted&>(*mail.object).take()); break;
    case start_failed: on_start_failed(slot(), static_cast<StartFailure&>(*mail.object)); break;
    case worker_exited: on_exit(slot()); break;
    case close: closed_ = true; break;
    case terminate: on_terminate(); break;
    case kill_rest: kill_workers(SIGKILL); break;
    case look:
      look_timer_set_ = false;
      look_after_workers();
      break;
    case resized: on_resized(); break;
    case callback_ended: check_all_gone(); break;
    case limits_due: check_limits(); break;
    case memory_due: check_memory(); break;
    case asked: answer(static_cast<PoolRequest&>(*mail.object)); break;
    default: break;
  }
  stop_workers_when_done();  // whatever it was that ended the last task
}

void Supervisor::take_task(Ref<TaskRecord> task) {
  if (broken_ || ending()) {
    const char* how = terminated_ ? " was terminated" : " was closed";
    return fail_unbegun(*task, broken_ ? broken_ : std::make_exception_ptr(Cancelled(core_.name() + how)));
  }
  if (task->deadline() != no_deadline) note_deadline(*task);
  if (!backlog_.empty() || !hand_out(task)) backlog_.push_back(std::move(task));
  if (++submitted_since_drain_ >= submissions_between_drains) {
    submitted_since_drain_ = 0;
    drain_results();
    core_.waiting_room().pass_by();
  }
  core_.waiting_room().ensure_watched();
}

WorkerSlot* Supervisor::choose_worker() const { return task_time_.is_short() ? choose_for_short() : choose_for_long(); }

// Short tasks stay with workers that are awake: as long as those have little to do, waking another one would only cost.
// Tiny ones stay with one of them: it runs them faster than they can be given out, and a second one would only want the
// submitter's processor.
WorkerSlot* Supervisor::choose_for_short() const {
  const bool is_tiny = task_time_.is_tiny();
  WorkerSlot* awake = nullptr;
  WorkerSlot* asleep = nullptr;
  for (const auto& slot : core_.slots()) {
    if (!may_get(*slot) || !slot->has_started()) continue;
    if (slot->in_flight.empty() && slot->sleeps()) {
      if (asleep == nullptr || slot->last_given < asleep->last_given) asleep = slot.get();
    } else if (is_tiny && task_time_.backlog_ns(slot->in_flight.size()) < tiny_ahead_ns) {
      return slot.get();
    } else if (awake == nullptr || slot->in_flight.size() < awake->in_flight.size()) {
      awake = slot.get();
    }
  }
  if (awake == nullptr && asleep == nullptr) return choose_for_long();  // all others are still starting
  if (awake != nullptr && (task_time_.backlog_ns(awake->in_flight.size()) < wake_ns || awake->in_flight.empty()))
    return awake;
  if (asleep != nullptr) return asleep;
  if (awake != nullptr && awake->in_flight.size() < task_time_.depth()) return awake;
  return nullptr;
}

// Long tasks go round: to the idle worker that has waited longest, else to the one with the least before it.
WorkerSlot* Supervisor::choose_for_long() const {
  WorkerSlot* best = nullptr;
  const auto is_better = [](const WorkerSlot& a, const WorkerSlot& b) {
    if (a.in_flight.size() != b.in_flight.size()) return a.in_flight.size() < b.in_flight.size();
    if (a.has_started() != b.has_started()) return a.has_started();
    return a.last_given < b.last_given;
  };
  for (const auto& slot : core_.slots())
    if (may_get(*slot) && (best == nullptr || is_better(*slot, *best))) best = slot.get();
  return best != nullptr && best->in_flight.size() < task_time_.depth() ? best : nullptr;
}

// Takes `task` if it returns true. Does not ring: who gives several tasks rings once.
bool Supervisor::give(WorkerSlot& slot, Ref<TaskRecord>& task) {
  FrameHeader* frame = slot.requests.try_write(task->segments(), task->words());
  if (frame == nullptr) return false;
  slot.in_flight.push_back({std::move(task), frame});
  slot.last_given = ++stamp_;
  if (slot.in_flight.size() == 1) front_changed(slot);
  look_soon();
  --slot.tasks_left;
  return true;
}

// Takes `task` if it returns true; false: nobody can run it now.
bool Supervisor::hand_out(Ref<TaskRecord>& task) {
  while (WorkerSlot* slot = choose_worker()) {
    if (give(*slot, task)) {
      slot->requests.ring();
      return true;
    }
    slot->held_up = true;  // its ring is full
  }
  // One that owes nothing will not answer: somebody has to see when it reads its ring again.
  if (std::ranges::any_of(core_.slots(), [](const auto& slot) { return slot->held_up && slot->in_flight.empty(); }))
    look_soon(slow_look_interval);
  return false;
}

void Supervisor::feed_workers() {
  while (!backlog_.empty()) {
    Ref<TaskRecord> task = backlog_.pop_front();
    if (hand_out(task)) continue;
    return backlog_.push_front(std::move(task));
  }
}

// --- Results ---

void Supervisor::drain_results() {
  bool any = false;
  for (const auto& slot : core_.slots()) {
    if (!drain_slot(*slot)) continue;
    any = true;
    if (has_memory_limits()) check_memory_after_task(*slot);
  }
  if (!any) return;
  if (std::exchange(recovered_, false)) {
    take_back_from_held_up();
    look_soon();  // nobody looks at what is held up
  }
  feed_workers();
  if (backlog_.empty() && !task_time_.is_short()) balance();
}

bool Supervisor::drain_slot(WorkerSlot& slot) {
  bool any = false;
  Frame frame;
  for (;;) {
    const auto status = slot.results.peek(frame);
    if (status == RingReader::Status::empty) return any;
    if (status == RingReader::Status::corrupt || !take_result(slot, frame)) {
      // A worker that writes nonsense has lost its mind: end it, its tasks are settled when it is gone.
      if (slot.child) send_signal(*slot.child, SIGKILL);
      return any;
    }
    slot.results.pop(frame);
    if (slot.is_leaving()) stop_if_leaving(slot);
    recovered_ = recovered_ || slot.held_up;
    slot.held_up = false;
    any = true;
  }
}

bool Supervisor::take_result(WorkerSlot& slot, const Frame& frame) {
  try {
    const FrameNote note = frame.header->note;
    if (note.task == 0) {  // the initializer's
      MessageReader message{frame.words, frame.segments, slot.arena.get()};
      initializer_error_ = note.failed != 0 ? decode_exception(message.root<wire::Result>().getFailure()) : nullptr;
      return true;
    }
    if (slot.in_flight.empty()) {
      give_back(slot, frame);
      return broken_ || ending();
    }
    if (slot.in_flight.front().task->id() != note.task) return false;
    const bool failed = note.failed != 0;
    // Whatever is wrong with a message that has to be opened shows before the task is taken off.
    const bool retry = failed && wants_retry(*slot.in_flight.front().task, slot, frame);
    const std::chrono::nanoseconds busy{note.busy};
    task_time_.learn(busy);
    slot.busy += busy;
    ++slot.tasks;
    slot.has_answered = true;
    const Ref<TaskRecord> task = std::move(slot.in_flight.front().task);
    slot.in_flight.pop_front();
    front_changed(slot);
    end_task(slot, task, frame, failed, retry);
    return true;
  } catch (const kj::Exception&) {
    return false;
  } catch (const CodecError&) {
    return false;
  }
}

void Supervisor::end_task(WorkerSlot& slot, const Ref<TaskRecord>& task, const Frame& frame, bool failed, bool retry) {
  if (task->has_rules()) {
    if (task->is_cancelled() || retry) give_back(slot, frame);
    if (task->is_cancelled()) return fail_cancelled(*task);
    if (retry) {
      ++task->attempts;
      return retry_later(task);
    }
    forget_deadline(*task);
  }
  ++(failed ? num_failed_ : num_done_);
  task->finish(frame.words, frame.segments, slot.arena, failed);
}

void Supervisor::fail_task(TaskRecord& task, const std::exception_ptr& error) {
  if (task.has_ended()) return;
  ++num_failed_;
  forget_deadline(task);
  task.fail(error);
}

// Of a task that no worker has.
void Supervisor::fail_unbegun(TaskRecord& task, const std::exception_ptr& error) {
  task.take_back_handles();
  fail_task(task, error);
}

// Of a task that was cancelled while it ran, whatever has ended it.
void Supervisor::fail_cancelled(TaskRecord& task) {
  ++num_cancelled_;
  fail_task(task, std::make_exception_ptr(Cancelled(task_name(task.words()) + " was cancelled while it ran")));
}

void Supervisor::stop_workers_when_done() {
  if (!closed_ || ending() || core_.num_outstanding() != 0) return;
  stopping_ = true;
  for (const auto& slot : core_.slots())
    if (slot->child) tell_to_stop(*slot);
  check_all_gone();
}

}  // namespace troupe::detail
