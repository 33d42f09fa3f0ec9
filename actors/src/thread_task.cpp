#include <troupe/thread_task.hpp>

#include <troupe/callback.hpp>
#include <troupe/error.hpp>
#include <troupe/failure.hpp>

#include "thread_pool_core.hpp"

#include <algorithm>
#include <climits>
#include <cxxabi.h>
#include <utility>

namespace troupe::detail {

namespace {

using Clock = std::chrono::steady_clock;

thread_local ThreadTask* current_task = nullptr;

/// The class of `error` as retry_on names it.
std::string class_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& thrown) {
    return exception_name_of(typeid(thrown));
  } catch (...) {
    const std::type_info* type = abi::__cxa_current_exception_type();
    return type != nullptr ? exception_name_of(*type) : std::string();
  }
}

}  // namespace

// --- ThreadCompletion ---

ThreadCompletion::ThreadCompletion(Ref<ThreadPoolCore> core) : core_(std::move(core)) {}

ThreadCompletion::~ThreadCompletion() = default;

bool ThreadCompletion::wait(Deadline deadline) {
  if (ready()) return true;
  core_->require_ours();
  if (core_->callbacks().is_current() && callback_)
    throw AssertionError("a callback may not wait for a result that has a callback itself: that one runs after it");
  const Deadline late = due();
  if (late < deadline) {
    core_->wait(*this, late);
    if (!ready()) expire();
  }
  core_->wait(*this, deadline);
  return ready();
}

void ThreadCompletion::sleep(Deadline deadline) {
  const std::uint32_t before = state_.fetch_or(waited_bit, std::memory_order_seq_cst);
  if ((before & ready_bit) == 0) futex_wait(&state_, before | waited_bit, deadline);
}

void ThreadCompletion::then(std::function<void()> next) {
  core_->require_ours();
  if ((state_.fetch_or(claimed_bit, std::memory_order_acq_rel) & claimed_bit) != 0)
    throw AssertionError("somebody waits for this result with co_await already");
  const auto self = Ref<ThreadCompletion>::share(this);  // `next` may free the last other owner
  core_->start_callbacks();
  next_ = std::make_unique<std::function<void()>>(std::move(next));
  if ((state_.fetch_or(continued_bit, std::memory_order_acq_rel) & ready_bit) == 0) return;
  const auto call = std::move(*next_);
  if (!core_->callbacks().post(call)) call();
}

void ThreadCompletion::set_callback(std::function<void()> callback) {
  core_->start_callbacks();
  callback_ = std::make_unique<std::function<void()>>(std::move(callback));
}

void ThreadCompletion::complete() {
  if (!callback_) return make_ready();
  const auto run = [self = Ref<ThreadCompletion>::share(this)] { self->run_callback(); };
  if (!core_->callbacks().post(run)) make_ready();
}

void ThreadCompletion::run_callback() noexcept {
  if (core_->state() != ThreadPoolCore::State::terminated) detail::run_callback(*callback_, core_->name());
  callback_.reset();
  make_ready();
}

void ThreadCompletion::make_ready() {
  const std::uint32_t before = state_.fetch_or(ready_bit, std::memory_order_seq_cst);
  if ((before & waited_bit) != 0) futex_wake(&state_, INT_MAX);
  if ((before & helped_bit) != 0) core_->rouse(*this);
  if ((before & continued_bit) == 0) return;
  const auto call = std::move(*next_);
  if (!core_->callbacks().post(call)) call();
}

// --- ThreadTask ---

ThreadTask::ThreadTask(Ref<ThreadPoolCore> core, Ref<SharedOptions> options, Ref<ThreadListener> listener)
    : ThreadCompletion(std::move(core)),
      options_(std::move(options)),
      deadline_(deadline_of(options_.get())),
      listener_(std::move(listener)) {}

ThreadTask* ThreadTask::current() noexcept { return current_task; }

std::string ThreadTask::title() const {
  const std::string what = options_ && !options_->options.name.empty() ? options_->options.name : "task";
  return what + " #" + std::to_string(id_) + " of " + core().name();
}

bool ThreadTask::stop_requested() const noexcept {
  const Stage stage = stage_.load(std::memory_order_relaxed);
  return stage == Stage::stopping ||
         (stage == Stage::running && core().state() == ThreadPoolCore::State::terminated);
}

void ThreadTask::run() noexcept {
  const auto self = Ref<ThreadTask>::share(this);
  const auto begin = Clock::now();
  if (begin >= deadline_)
    return fail(std::make_exception_ptr(
        TimeoutError(title() + " was not done by its deadline: it still waited for a worker")));
  core().task_begins();
  ++attempts_;
  ThreadTask* const outer = std::exchange(current_task, this);
  std::exception_ptr error;
  try {
    call(!options_ || attempts_ > options_->options.retries || options_->options.retry_on.empty());
  } catch (...) {
    error = std::current_exception();
  }
  current_task = outer;
  const auto now = Clock::now();
  if (error && wants_retry(error)) {
    auto expected = Stage::running;
    if (stage_.compare_exchange_strong(expected, Stage::queued))
      return core().retry_later(self, pause_before_retry(options_->options.backoff, attempts_), now - begin);
  }
  if (now > deadline_)
    error = std::make_exception_ptr(TimeoutError(title() + " was not done by its deadline: it ended later"));
  end(std::move(error), now - begin);
}

bool ThreadTask::wants_retry(const std::exception_ptr& error) const {
  if (!options_ || attempts_ > options_->options.retries) return false;
  if (core().state() == ThreadPoolCore::State::terminated) return false;
  return std::ranges::count(options_->options.retry_on, class_of(error)) > 0;
}

void ThreadTask::end(std::exception_ptr error, std::chrono::nanoseconds busy) noexcept {
  drop();
  const bool cancelled = stage_.exchange(Stage::ended) == Stage::stopping;
  error_ = cancelled ? std::make_exception_ptr(Cancelled(title() + " was cancelled while it ran")) : std::move(error);
  core().task_ends({.failed = error_ != nullptr, .cancelled = cancelled, .ran = true, .busy = busy});
  ended();
}

void ThreadTask::fail(std::exception_ptr error, bool cancelled) noexcept {
  const auto self = Ref<ThreadTask>::share(this);
  drop();
  stage_.store(Stage::ended);
  error_ = std::move(error);
  core().task_ends({.failed = true, .cancelled = cancelled, .ran = false, .busy = {}});
  ended();
}

void ThreadTask::ended() noexcept {
  const auto listener = std::move(listener_);
  complete();
  if (listener) listener->task_ended(*this);
  core().task_gone();
}

bool ThreadTask::run_part() {
  if (!claim()) return false;
  run();
  return true;
}

void ThreadTask::expire() {
  if (claim())
    fail(std::make_exception_ptr(
        TimeoutError(title() + " was not done by its deadline: it still waited for a worker")));
}

bool ThreadTask::cancel(const CancelOptions& options) {
  if (claim()) {
    fail(std::make_exception_ptr(Cancelled(title() + " was cancelled before it began")), true);
    return true;
  }
  auto expected = Stage::running;
  return options.force && stage_.compare_exchange_strong(expected, Stage::stopping);
}

// --- ThreadGroup, ThreadArrivals ---

ThreadGroup::ThreadGroup(Ref<ThreadPoolCore> core, std::size_t num_tasks)
    : ThreadListener(std::move(core)), left_(num_tasks) {}

void ThreadGroup::task_ended(ThreadTask& task) {
  ThreadTask* none = nullptr;
  if (task.has_failed()) first_failure_.compare_exchange_strong(none, &task);
  if (left_.fetch_sub(1) == 1) complete();
}

bool ThreadGroup::run_part() {
  for (std::size_t i = next_part_++; i < tasks.size(); i = next_part_++) {
    if (!tasks[i]->claim()) continue;
    tasks[i]->run();
    return true;
  }
  return false;
}

Deadline ThreadGroup::due() const noexcept { return tasks.empty() ? no_deadline : tasks.front()->due(); }

void ThreadGroup::expire() {
  for (const auto& task : tasks) task->expire();
}

void ThreadArrivals::task_ended(ThreadTask& task) {
  const std::lock_guard lock{mutex_};
  tasks_.push_back(Ref<ThreadTask>::share(&task));
  complete();
}

Ref<ThreadTask> ThreadArrivals::try_take() {
  const std::lock_guard lock{mutex_};
  Ref<ThreadTask> task;
  if (!tasks_.empty()) {
    task = std::move(tasks_.front());
    tasks_.pop_front();
  }
  if (tasks_.empty()) rearm();
  return task;
}

// --- The face to ThreadPool's templates ---

void acquire_ref(ThreadPoolCore* core) noexcept { core->add_owner(); }
void release_ref(ThreadPoolCore* core) noexcept { core->remove_owner(); }
void acquire_ref(ThreadTask* task) noexcept { task->add_owner(); }
void release_ref(ThreadTask* task) noexcept { task->remove_owner(); }

bool submit(ThreadPoolCore& core, const Ref<ThreadTask>& task, AtBound at_bound) { return core.submit(task, at_bound); }

void submit_group(ThreadPoolCore& core, ThreadGroup& group, std::vector<Ref<ThreadTask>> tasks) {
  core.require_running();
  group.tasks = tasks;  // from now on group and tasks own each other, until the tasks have ended
  if (tasks.empty()) return group.complete_empty();
  try {
    core.submit_all(tasks);
  } catch (...) {
    group.tasks.clear();  // those that were not submitted would own the group for ever
    throw;
  }
}

void require_running(const ThreadPoolCore& core) { core.require_running(); }

std::size_t num_workers(const ThreadPoolCore& core) noexcept { return core.num_workers(); }

Ref<SharedOptions> thread_task_options(TaskOptions options) {
  if (options.timeout)
    throw ValueError(
        "tasks of threads can have no timeout: a thread cannot be stopped; use a deadline, or get(timeout)");
  return make_ref<SharedOptions>(std::move(options));
}

bool cancel(ThreadTask& task, const CancelOptions& options) {
  task.core().require_ours();
  return task.cancel(options);
}

bool cancel(ThreadGroup& group, const CancelOptions& options) {
  group.core().require_ours();
  bool any = false;
  for (const auto& task : group.tasks) any = task->cancel(options) || any;
  return any;
}

}  // namespace troupe::detail
