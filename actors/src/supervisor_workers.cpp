// The life of workers: started, ended, replaced, told to end. Tasks are in supervisor_tasks.cpp.

#include <troupe/error.hpp>
#include <troupe/failure.hpp>

#include "supervisor.hpp"
#include "worker.hpp"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <utility>
#include <vector>

namespace troupe::detail {

namespace {

/// So many workers in a row that end before they are ready mean that none ever will be.
constexpr unsigned most_failed_starts = 8;
/// Pause before the next try when a worker could not be started, doubled each time up to 8 times as long.
constexpr auto first_retry_pause = std::chrono::milliseconds{20};
/// Between SIGTERM and SIGKILL: long enough for a handler that tidies up, short enough for "now".
constexpr auto terminate_grace = std::chrono::milliseconds{500};

}  // namespace

void Supervisor::adopt_worker(WorkerSlot& slot, PoolCore::Launched launched) {
  slot.arena = std::move(launched.arena);
  slot.child = std::move(launched.child);
  slot.pid.store(slot.child->pid());
  slot.exit_watch = launched.exit_watch;
  if (const auto most = core_.options().maxtasksperchild) slot.tasks_left = *most;
  core_.write_initializer(slot);
}

// Launching blocks for a fraction of a millisecond, which a handler must not: the pump does it.
void Supervisor::start_worker(WorkerSlot& slot) {
  slot.starting = true;
  // One may have been killed by chance before it was ready; only a second one in a row is a sign.
  const auto pause =
      failed_starts_ < 2 ? first_retry_pause * 0 : first_retry_pause * (1U << std::min(failed_starts_, 4U) >> 1U);
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
  check_memory_soon();
  if (terminated_) {
    send_signal(*slot.child, SIGKILL);
  } else if (stopping_) {
    tell_to_stop(slot);  // it was on its way when the others were
  } else {
    if (slot.number >= core_.num_workers()) retire(slot);
    take_back_from_held_up();
    feed_workers();
  }
  on_exit(slot);  // if that came first, nobody was there to take it
}

void Supervisor::on_start_failed(WorkerSlot& slot, const StartFailure& failure) {
  slot.starting = false;
  if (ending()) return check_all_gone();
  if (++failed_starts_ >= most_failed_starts && !has_ready_workers()) return give_up(failure.error);
  if (slot.number < core_.num_workers()) start_worker(slot);
}

void Supervisor::on_exit(WorkerSlot& slot) {
  if (!slot.child) return;
  const auto end = slot.child->poll_end();
  if (!end) return;  // woken for nothing; the watch goes on
  Pump::instance().cancel(slot.exit_watch);
  drain_slot(slot);  // what it had finished counts
  const bool was_ready = slot.has_started();
  DeathRecord death{.pid = slot.child->pid(),
                    .exitcode = end->exitcode,
                    .dumped_core = end->dumped_core,
                    .peak_resident_bytes = end->peak_resident_bytes,
                    .restarts = slot.restarts};
  slot.child.reset();
  slot.pid.store(0);
  settle_tasks_of_dead(slot, std::move(death));
  replace_worker(slot, was_ready, end->exitcode);
}

void Supervisor::replace_worker(WorkerSlot& slot, bool was_ready, int exitcode) {
  slot.reset();
  ++slot.restarts;
  if (ending()) return check_all_gone();
  failed_starts_ = was_ready ? 0 : failed_starts_ + 1;
  if (broken_) return;
  if (failed_starts_ >= most_failed_starts && !has_ready_workers()) {
    const std::string why =
        initializer_error_ ? ": its initializer fails in every worker: " + describe_exception(initializer_error_)
                           : ": workers end before they are ready, the last one with " + describe_exitcode(exitcode) +
                                 "; does every path to main's Runtime work in a new process?";
    return give_up(std::make_exception_ptr(RuntimeError(core_.name() + why)));
  }
  stop_workers_when_done();  // now, because then there is nothing to replace
  if (ending()) return;
  if (slot.number < core_.num_workers()) start_worker(slot);
  feed_workers();
}

// What was begun fails or is tried again: the task that was running, and more only if the worker had ruined its ring.
// What was not begun goes back to the head of the queue, in order.
void Supervisor::settle_tasks_of_dead(WorkerSlot& slot, DeathRecord death) {
  std::vector<Ref<TaskRecord>> begun;
  while (!slot.in_flight.empty()) {
    InFlight entry = std::move(slot.in_flight.back());
    slot.in_flight.pop_back();
    if (entry.has_begun())
      begun.push_back(std::move(entry.task));
    else
      backlog_.push_front(std::move(entry.task));
  }
  if (begun.empty() && (slot.is_told_to_stop || terminated_)) return;  // it was to end
  if (slot.doom) death.reason = slot.doom->why;
  if (begun.empty()) return remember(death);
  for (const auto& task : begun) {
    ++task->attempts;
    death.task = task_name(task->words());
    death.task_id = task->id();
    death.arguments = task_arguments(task->words());
    death.ran_for = slot.time_of_front();
    death.attempts = task->attempts;
    if (task.get() == begun.front().get()) remember(death);
    if (task->is_cancelled())
      fail_cancelled(*task);
    else if (slot.doom && slot.doom->task_id == task->id())
      fail_task(*task, slot.doom->error ? slot.doom->error : std::make_exception_ptr(WorkerDied(death)));
    else
      on_death(task, death);
  }
}

// Has the worker end when it has done what it has begun; others take what it has not.
void Supervisor::retire(WorkerSlot& slot) {
  if (slot.is_retired || !slot.child) return;
  slot.is_retired = true;
  drain_slot(slot);  // see slot_of
  while (take_back_last(slot)) {
  }
  stop_if_leaving(slot);
}

void Supervisor::stop_if_leaving(WorkerSlot& slot) {
  if (slot.is_leaving() && slot.in_flight.empty() && slot.child && !ending()) tell_to_stop(slot);
}

void Supervisor::tell_to_stop(WorkerSlot& slot) {
  if (std::exchange(slot.is_told_to_stop, true)) return;
  Scratch scratch;
  MessageWriter message{scratch.words(), core_.task_arena()};
  message.initRoot<wire::Task>().setStop();
  // No room although nothing is under way: the ring is full of tasks taken back, so the worker is stopped.
  if (slot.requests.try_write({}, message.first_words()) != nullptr)
    slot.requests.ring();
  else
    send_signal(*slot.child, SIGKILL);
}

void Supervisor::on_resized() {
  if (ending()) return;
  for (const auto& slot : core_.slots()) {
    if (slot->number >= core_.num_workers())
      retire(*slot);
    else if (!slot->child && !slot->starting && !broken_)
      start_worker(*slot);
  }
  feed_workers();
}

void Supervisor::on_terminate() {
  if (terminated_) return;
  terminated_ = true;
  const std::size_t failed_before = num_failed_;
  fail_all(std::make_exception_ptr(Cancelled(core_.name() + " was terminated before the task was done")));
  num_cancelled_ += num_failed_ - failed_before;
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
}

void Supervisor::fail_all(const std::exception_ptr& error) {
  for (const auto& slot : core_.slots()) {
    for (auto& entry : slot->in_flight) fail_task(*entry.task, error);
    slot->in_flight.clear();
  }
  while (!backlog_.empty()) fail_unbegun(*backlog_.pop_front(), error);
  for (const Due& resting : std::exchange(resting_, {})) fail_task(*resting.task, error);
  graces_.clear();
}

void Supervisor::check_all_gone() {
  if (gone_ || !ending()) return;
  for (const auto& slot : core_.slots())
    if (slot->child || slot->starting) return;
  if (core_.has_callbacks()) return;
  gone_ = true;
  // Timers own the pool.
  Pump::instance().cancel(kill_timer_);
  Pump::instance().cancel(limit_timer_);
  core_.all_gone();
}

}  // namespace troupe::detail
