// The way of tasks: submitted → backlog → a worker's ring → result → record. Workers and their ends are in
// supervisor_workers.cpp.

#include "supervisor.hpp"

#include <troupe/error.hpp>
#include <troupe/task_call.hpp>

#include <algorithm>
#include <csignal>
#include <kj/exception.h>

namespace troupe::detail {

namespace {

/// Work that a worker may hold: enough to be busy until somebody looks, little enough to be fair.
constexpr double work_ahead_ns = 200'000;
/// What waking a sleeping worker costs; less work than this is not worth it.
constexpr double wake_ns = 25'000;
constexpr std::size_t most_ahead = 1024;
/// Every so many submissions the submitter takes results along, so that neither rings nor memory fill up.
constexpr unsigned submissions_between_drains = 16;
/// How often to look for tasks that a worker was given and does not begin while another one is idle.
constexpr auto balance_interval = std::chrono::milliseconds{5};

bool not_begun(const InFlight& entry) {
  return entry.frame->state.load(std::memory_order_relaxed) == static_cast<std::uint32_t>(FrameState::queued);
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
    case submit:
      take_task(Ref<TaskRecord>::adopt(static_cast<TaskRecord*>(mail.object.release())));
      break;
    case submit_batch:
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
    case rebalance:
      balance_timer_set_ = false;
      balance();
      last_look_ = stamp_;
      break;
    default: break;
  }
}

void Supervisor::take_task(Ref<TaskRecord> task) {
  if (broken_ || ending())
    return task->fail(broken_ ? broken_ : std::make_exception_ptr(Cancelled(core_.name() + " was terminated")));
  WorkerSlot* slot = backlog_.empty() ? choose_worker() : nullptr;
  if (slot != nullptr && give(*slot, task))
    slot->requests.ring();
  else
    backlog_.push_back(std::move(task));
  if (++submitted_since_drain_ >= submissions_between_drains) {
    submitted_since_drain_ = 0;
    drain_results();
  }
  core_.waiting_room().ensure_watched();
}

WorkerSlot* Supervisor::choose_worker() const {
  return task_time_.is_short() ? choose_for_short() : choose_for_long();
}

// Short tasks stay with workers that are awake: as long as those have little to do, waking another one would only cost.
WorkerSlot* Supervisor::choose_for_short() const {
  WorkerSlot* awake = nullptr;
  WorkerSlot* asleep = nullptr;
  for (const auto& slot : core_.slots()) {
    if (!slot->child || !slot->has_started()) continue;
    if (slot->in_flight.empty() && slot->sleeps()) {
      if (asleep == nullptr || slot->last_given < asleep->last_given) asleep = slot.get();
    } else if (awake == nullptr || slot->in_flight.size() < awake->in_flight.size()) {
      awake = slot.get();
    }
  }
  if (awake == nullptr && asleep == nullptr) return choose_for_long();  // all are still starting
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
    if (slot->child && (best == nullptr || is_better(*slot, *best))) best = slot.get();
  return best != nullptr && best->in_flight.size() < task_time_.depth() ? best : nullptr;
}

// Does not ring: who gives several tasks rings once.
bool Supervisor::give(WorkerSlot& slot, const Ref<TaskRecord>& task) {
  FrameHeader* frame = slot.requests.try_write(task->segments(), task->words());
  if (frame == nullptr) return false;
  slot.in_flight.push_back({task, frame});
  slot.last_given = ++stamp_;
  watch_balance();
  return true;
}

void Supervisor::feed_workers() {
  while (!backlog_.empty()) {
    WorkerSlot* slot = choose_worker();
    if (slot == nullptr || !give(*slot, Ref<TaskRecord>::share(&backlog_.front()))) return;
    backlog_.pop_front();
    slot->requests.ring();
  }
}

// --- Results ---

void Supervisor::drain_results() {
  bool any = false;
  for (const auto& slot : core_.slots()) any = drain_slot(*slot) || any;
  if (!any) return;
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
      if (slot.child) slot.child->send_signal(SIGKILL);
      return any;
    }
    slot.results.pop(frame);
    any = true;
  }
}

bool Supervisor::take_result(WorkerSlot& slot, const Frame& frame) {
  try {
    MessageReader message{frame.words, frame.segments, slot.arena.get()};
    const auto result = message.root<wire::Result>();
    if (slot.in_flight.empty()) return ending();
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

// A task behind another one, or one that its worker had all the time since the last look to begin: that worker is stopped,
// or still starting.
bool Supervisor::has_movable_task(const WorkerSlot& slot) const {
  if (slot.in_flight.empty() || !not_begun(slot.in_flight.back())) return false;
  return slot.in_flight.size() > 1 || slot.last_given <= last_look_;
}

// Takes tasks that a busy (or stopped) worker has not begun back from its ring and gives them to idle workers.
void Supervisor::balance() {
  if (ending() || !backlog_.empty()) return;
  for (;;) {
    WorkerSlot* idle = nullptr;
    WorkerSlot* loaded = nullptr;
    for (const auto& slot : core_.slots()) {
      if (!slot->child) continue;
      if (slot->in_flight.empty() && slot->has_started()) idle = slot.get();
      if (has_movable_task(*slot) && (loaded == nullptr || slot->in_flight.size() > loaded->in_flight.size()))
        loaded = slot.get();
    }
    if (loaded == nullptr) return;
    if (idle == nullptr) break;
    auto expected = static_cast<std::uint32_t>(FrameState::queued);
    InFlight& last = loaded->in_flight.back();
    if (!last.frame->state.compare_exchange_strong(expected, static_cast<std::uint32_t>(FrameState::revoked))) break;
    const Ref<TaskRecord> task = std::move(last.task);
    loaded->in_flight.pop_back();
    if (!give(*idle, task)) {
      backlog_.push_front(task);
      break;
    }
    idle->requests.ring();
  }
  watch_balance();
}

void Supervisor::watch_balance() {
  if (balance_timer_set_ || ending()) return;
  balance_timer_set_ = true;
  Pump::instance().call_at(std::chrono::steady_clock::now() + balance_interval,
                           [core = Ref<PoolCore>::share(&core_)] { core->tell(rebalance); });
}

void Supervisor::stop_workers_when_done() {
  if (!closed_ || ending() || core_.num_outstanding() != 0) return;
  stopping_ = true;
  Scratch scratch;
  MessageWriter message{scratch.words(), core_.task_arena()};
  message.initRoot<wire::Task>().setStop();
  for (const auto& slot : core_.slots()) {
    // The rings are empty, so there is room.
    slot->requests.try_write({}, message.first_words());
    slot->requests.ring();
  }
  check_all_gone();
}

}  // namespace troupe::detail
