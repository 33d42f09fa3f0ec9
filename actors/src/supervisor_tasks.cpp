// The way of tasks: submitted → backlog → a worker's ring → result → record. Workers and their ends are in
// supervisor_workers.cpp.

#include <troupe/error.hpp>
#include <troupe/task_call.hpp>

#include "supervisor.hpp"

#include <kj/exception.h>

#include <algorithm>
#include <csignal>
#include <utility>

namespace troupe::detail {

namespace {

/// Work that a worker may hold: enough to be busy until somebody looks, little enough to be fair.
constexpr double work_ahead_ns = 200'000;
/// What waking a sleeping worker costs; less work than this is not worth it.
constexpr double wake_ns = 25'000;
constexpr std::size_t most_ahead = 1024;
/// Every so many submissions the submitter takes results along, so that neither rings nor memory fill up.
constexpr unsigned submissions_between_drains = 16;
/// How often to look whether workers get on. One that has the same task at its front in two looks is held up.
constexpr std::chrono::milliseconds look_interval{5};
/// The same while work waits for a worker that owes nothing and does not read its ring, as one that was stopped.
constexpr std::chrono::milliseconds slow_look_interval{100};

/// Takes a task back from its worker; false if that has begun it.
bool revoke(const InFlight& entry) {
  auto expected = static_cast<std::uint32_t>(FrameState::queued);
  return entry.frame->state.compare_exchange_strong(expected, static_cast<std::uint32_t>(FrameState::revoked));
}

}  // namespace

// --- TaskQueue, TaskTime ---

TaskQueue::~TaskQueue() {
  while (!empty()) pop_front();
}

void TaskQueue::push_back(Ref<TaskRecord> task) noexcept {
  TaskRecord* added = task.release();
  added->next_in_queue = nullptr;
  (last_ == nullptr ? first_ : last_->next_in_queue) = added;
  last_ = added;
}

void TaskQueue::push_front(Ref<TaskRecord> task) noexcept {
  TaskRecord* added = task.release();
  added->next_in_queue = first_;
  first_ = added;
  if (last_ == nullptr) last_ = added;
}

Ref<TaskRecord> TaskQueue::pop_front() noexcept {
  TaskRecord* taken = first_;
  first_ = taken->next_in_queue;
  if (first_ == nullptr) last_ = nullptr;
  taken->next_in_queue = nullptr;
  return Ref<TaskRecord>::adopt(taken);
}

std::size_t TaskTime::depth() const noexcept {
  if (!known_ || mean_ns_ > 1'000'000) return 1;
  return 1 + std::min(most_ahead, static_cast<std::size_t>(work_ahead_ns / std::max(mean_ns_, 1.0)));
}

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
    case close:
      closed_ = true;
      stop_workers_when_done();
      break;
    case terminate: on_terminate(); break;
    case kill_rest: kill_workers(SIGKILL); break;
    case look:
      look_timer_set_ = false;
      look_after_workers();
      break;
    default: break;
  }
}

void Supervisor::take_task(Ref<TaskRecord> task) {
  if (broken_ || ending()) {
    const char* how = terminated_ ? " was terminated" : " was closed";
    return task->fail(broken_ ? broken_ : std::make_exception_ptr(Cancelled(core_.name() + how)));
  }
  if (!backlog_.empty() || !hand_out(task)) backlog_.push_back(std::move(task));
  if (++submitted_since_drain_ >= submissions_between_drains) {
    submitted_since_drain_ = 0;
    drain_results();
  }
  core_.waiting_room().ensure_watched();
}

WorkerSlot* Supervisor::choose_worker() const { return task_time_.is_short() ? choose_for_short() : choose_for_long(); }

// Short tasks stay with workers that are awake: as long as those have little to do, waking another one would only cost.
WorkerSlot* Supervisor::choose_for_short() const {
  WorkerSlot* awake = nullptr;
  WorkerSlot* asleep = nullptr;
  for (const auto& slot : core_.slots()) {
    if (!may_get(*slot) || !slot->has_started()) continue;
    if (slot->in_flight.empty() && slot->sleeps()) {
      if (asleep == nullptr || slot->last_given < asleep->last_given) asleep = slot.get();
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
  look_soon(look_interval);
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
  for (const auto& slot : core_.slots()) any = drain_slot(*slot) || any;
  if (!any) return;
  if (std::exchange(recovered_, false)) take_back_from_held_up();
  feed_workers();
  if (backlog_.empty() && !task_time_.is_short()) balance();
  stop_workers_when_done();
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
    recovered_ = recovered_ || slot.held_up;
    slot.held_up = false;
    any = true;
  }
}

bool Supervisor::take_result(WorkerSlot& slot, const Frame& frame) {
  try {
    MessageReader message{frame.words, frame.segments, slot.arena.get()};
    const auto result = message.root<wire::Result>();
    if (slot.in_flight.empty()) return broken_ || ending();
    InFlight& front = slot.in_flight.front();
    if (front.task->id() != result.getId()) return false;
    task_time_.learn(std::chrono::nanoseconds(result.getBusy()));
    const Ref<TaskRecord> task = std::move(front.task);
    slot.in_flight.pop_front();
    task->finish(frame.words, frame.segments, slot.arena, result.isFailure());
    return true;
  } catch (const kj::Exception&) {
    return false;
  } catch (const CodecError&) {
    return false;
  }
}

// --- Fairness ---

void Supervisor::look_after_workers() {
  if (ending()) return;
  bool look_again = false;
  bool somebody_is_frozen = false;
  for (const auto& slot : core_.slots()) {
    if (slot->in_flight.empty()) {
      somebody_is_frozen = somebody_is_frozen || slot->is_held_up();
      continue;
    }
    const std::uint64_t oldest = slot->in_flight.front().task->id();
    if (std::exchange(slot->oldest_seen, oldest) == oldest) slot->held_up = true;
    look_again = look_again || !slot->held_up;
  }
  take_back_from_held_up();
  balance();
  feed_workers();
  if (look_again) return look_soon(look_interval);
  if (somebody_is_frozen && core_.num_outstanding() > 0) look_soon(slow_look_interval);
}

// What a held-up worker has not begun goes back to the head of the queue, if there is somebody else to take it.
void Supervisor::take_back_from_held_up() {
  if (std::ranges::none_of(core_.slots(), [](const auto& slot) { return may_get(*slot); })) return;
  for (const auto& slot : core_.slots())
    while (slot->held_up && !slot->in_flight.empty() && revoke(slot->in_flight.back())) {
      backlog_.push_front(std::move(slot->in_flight.back().task));
      slot->in_flight.pop_back();
    }
}

// Has idle workers take over what lies before busy ones and was not begun.
void Supervisor::balance() {
  if (ending()) return;
  while (backlog_.empty()) {
    WorkerSlot* idle = nullptr;
    WorkerSlot* loaded = nullptr;
    for (const auto& slot : core_.slots()) {
      if (!may_get(*slot)) continue;
      if (slot->in_flight.empty() && slot->has_started()) idle = slot.get();
      if (slot->in_flight.size() > 1 && (loaded == nullptr || slot->in_flight.size() > loaded->in_flight.size()))
        loaded = slot.get();
    }
    if (idle == nullptr || loaded == nullptr || !revoke(loaded->in_flight.back())) return;
    Ref<TaskRecord> task = std::move(loaded->in_flight.back().task);
    loaded->in_flight.pop_back();
    if (!give(*idle, task)) return backlog_.push_front(std::move(task));
    idle->requests.ring();
  }
}

void Supervisor::look_soon(std::chrono::milliseconds interval) {
  if (look_timer_set_ || ending()) return;
  look_timer_set_ = true;
  Pump::instance().call_at(std::chrono::steady_clock::now() + interval,
                           [core = Ref<PoolCore>::share(&core_)] { core->tell(look); });
}

void Supervisor::stop_workers_when_done() {
  if (!closed_ || ending() || core_.num_outstanding() != 0) return;
  stopping_ = true;
  Scratch scratch;
  MessageWriter message{scratch.words(), core_.task_arena()};
  message.initRoot<wire::Task>().setStop();
  for (const auto& slot : core_.slots()) {
    if (!slot->child) continue;
    // No room although nothing is under way: the ring is full of tasks taken back, so the worker is stopped.
    if (slot->requests.try_write({}, message.first_words()) != nullptr)
      slot->requests.ring();
    else
      send_signal(*slot->child, SIGKILL);
  }
  check_all_gone();
}

}  // namespace troupe::detail
