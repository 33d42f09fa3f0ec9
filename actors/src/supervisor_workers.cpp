// The life of workers: started, ended, replaced, told to end. Tasks are in supervisor_tasks.cpp.

#include <troupe/error.hpp>

#include "supervisor.hpp"
#include "worker.hpp"

#include <algorithm>
#include <csignal>
#include <cstdio>

namespace troupe::detail {

namespace {

/// So many workers in a row that end before they are ready mean that none ever will be.
constexpr unsigned most_failed_starts = 8;
/// Pause before the next try when a worker could not be started, doubled each time up to 64 times as long.
constexpr auto first_retry_pause = std::chrono::milliseconds{20};
/// Between SIGTERM and SIGKILL: long enough for a handler that tidies up, short enough for "now".
constexpr auto terminate_grace = std::chrono::milliseconds{500};

}  // namespace

void Supervisor::adopt_worker(WorkerSlot& slot, PoolCore::Launched launched) {
  slot.arena = std::move(launched.arena);
  slot.child = std::move(launched.child);
  slot.pid.store(slot.child->pid());
  slot.exit_watch = launched.exit_watch;
}

// Launching blocks for a fraction of a millisecond, which a handler must not: the pump does it.
void Supervisor::start_worker(WorkerSlot& slot) {
  slot.starting = true;
  const unsigned pauses = std::min(failed_starts_, 6U);
  const auto pause = failed_starts_ == 0 ? first_retry_pause * 0 : first_retry_pause * (1U << pauses);
  Pump::instance().call_at(std::chrono::steady_clock::now() + pause, [core = Ref<PoolCore>::share(&core_), &slot] {
    const auto number = static_cast<std::int64_t>(slot.number);
    try {
      core->tell(worker_started, number, make_ref<WorkerStarted>(core->launch(slot)));
    } catch (...) {
      core->tell(start_failed, number, make_ref<StartFailure>(std::current_exception()));
    }
  });
}

void Supervisor::on_started(WorkerSlot& slot, PoolCore::Launched launched) {
  slot.starting = false;
  adopt_worker(slot, std::move(launched));
  if (ending()) {
    send_signal(*slot.child, SIGKILL);  // it was on its way when the others were told to end, and has got nothing
  } else {
    take_back_from_held_up();
    feed_workers();
  }
  on_exit(slot);  // if that came first, nobody was there to take it
}

void Supervisor::on_start_failed(WorkerSlot& slot, const StartFailure& failure) {
  slot.starting = false;
  if (ending()) return check_all_gone();
  if (++failed_starts_ >= most_failed_starts && !has_ready_workers()) return give_up(failure.error);
  start_worker(slot);
}

void Supervisor::on_exit(WorkerSlot& slot) {
  if (!slot.child) return;
  const auto exitcode = slot.child->poll_exitcode();
  if (!exitcode) return;  // woken for nothing; the watch goes on
  Pump::instance().cancel(slot.exit_watch);
  drain_slot(slot);  // what it had finished counts
  const pid_t pid = slot.child->pid();
  const bool was_ready = slot.has_started();
  slot.child.reset();
  slot.pid.store(0);
  settle_tasks_of_dead(slot, pid, *exitcode);
  slot.reset();
  if (ending()) return check_all_gone();
  failed_starts_ = was_ready ? 0 : failed_starts_ + 1;
  if (broken_) return stop_workers_when_done();
  if (failed_starts_ >= most_failed_starts && !has_ready_workers())
    return give_up(std::make_exception_ptr(
        RuntimeError(core_.name() + ": workers end before they are ready, the last one with " +
                     describe_exitcode(*exitcode) + "; does every path to main's Runtime work in a new process?")));
  start_worker(slot);
  feed_workers();
  stop_workers_when_done();
}

// The one task that was running fails; what was not begun goes back to the head of the queue, in order.
void Supervisor::settle_tasks_of_dead(WorkerSlot& slot, pid_t pid, int exitcode) {
  while (!slot.in_flight.empty()) {
    const InFlight entry = std::move(slot.in_flight.back());
    slot.in_flight.pop_back();
    const auto state = static_cast<FrameState>(entry.frame->state.load());
    if (state == FrameState::queued) {
      backlog_.push_front(entry.task);
      continue;
    }
    ++entry.task->attempts;
    entry.task->fail(
        std::make_exception_ptr(WorkerDied(pid, exitcode, task_name(entry.task->words()), entry.task->attempts)));
  }
}

void Supervisor::on_terminate() {
  if (terminated_) return;
  terminated_ = true;
  fail_all(std::make_exception_ptr(Cancelled(core_.name() + " was terminated before the task was done")));
  kill_workers(SIGTERM);
  if (has_workers())
    kill_timer_ = Pump::instance().call_at(std::chrono::steady_clock::now() + terminate_grace,
                                           [core = Ref<PoolCore>::share(&core_)] { core->tell(kill_rest); });
  check_all_gone();
}

bool Supervisor::has_workers() const {
  return std::ranges::any_of(core_.slots(), [](const auto& slot) { return slot->child.has_value(); });
}

bool Supervisor::has_ready_workers() const {
  return std::ranges::any_of(core_.slots(), [](const auto& slot) { return slot->child && slot->has_started(); });
}

void Supervisor::kill_workers(int signal_number) {
  for (const auto& slot : core_.slots())
    if (slot->child) send_signal(*slot->child, signal_number);
}

// A worker that has become another user may not be signalled; it ends when it next looks at its parent.
void Supervisor::send_signal(const Child& child, int number) noexcept {
  try {
    child.send_signal(number);
  } catch (const Error& error) {
    std::fprintf(stderr, "troupe: %s\n", error.what());
  }
}

void Supervisor::give_up(const std::exception_ptr& error) {
  broken_ = error;
  fail_all(error);
  if (closed_) stop_workers_when_done();
}

void Supervisor::fail_all(const std::exception_ptr& error) {
  for (const auto& slot : core_.slots()) {
    for (auto& entry : slot->in_flight) entry.task->fail(error);
    slot->in_flight.clear();
  }
  while (!backlog_.empty()) backlog_.pop_front()->fail(error);
}

void Supervisor::check_all_gone() {
  if (gone_ || !ending()) return;
  for (const auto& slot : core_.slots())
    if (slot->child || slot->starting) return;
  gone_ = true;
  if (kill_timer_ != 0) Pump::instance().cancel(kill_timer_);
  core_.all_gone();
}

}  // namespace troupe::detail
