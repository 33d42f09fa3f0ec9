// The threads of a ThreadPool and what is submitted to them.

#include "thread_pool_core.hpp"

#include <troupe/error.hpp>
#include <troupe/process_ref.hpp>
#include <troupe/runtime.hpp>

#include <algorithm>
#include <iterator>
#include <pthread.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace troupe::detail {

namespace {

constexpr int most_workers = 4096;

std::string next_pool_name() {
  static std::atomic<unsigned> num_pools{0};
  return "ThreadPool-" + std::to_string(++num_pools);
}

std::size_t checked_workers(int workers) {
  if (workers < 1 || workers > most_workers)
    throw ValueError("a pool needs 1 to " + std::to_string(most_workers) + " workers, not " + std::to_string(workers));
  return static_cast<std::size_t>(workers);
}

ThreadPoolOptions complete(ThreadPoolOptions options) {
  options.workers = static_cast<int>(checked_workers(options.workers.value_or(cpu_count())));
  if (options.name.empty()) options.name = next_pool_name();
  if (options.maxtasksperchild && *options.maxtasksperchild < 1)
    throw ValueError("maxtasksperchild must be at least 1, not " + std::to_string(*options.maxtasksperchild) +
                     "; leave it out for workers that stay");
  if (options.max_pending_tasks == 0)
    throw ValueError("a pool that may have no pending tasks can run none: max_pending_tasks must be at least 1");
  return options;
}

void name_this_thread(const std::string& name) noexcept {
  ::pthread_setname_np(::pthread_self(), name.substr(0, 15).c_str());  // the kernel keeps no more
}

template <class... Args>
std::thread start_thread(const std::string& name, Args&&... arguments) {
  try {
    return std::thread(std::forward<Args>(arguments)...);
  } catch (const std::system_error& error) {
    throw OSError(error.code().value(), "start a thread of " + name);
  }
}

}  // namespace

constinit thread_local const ThreadPoolCore* ThreadPoolCore::own_core = nullptr;
constinit thread_local ThreadPoolCore::Worker* ThreadPoolCore::own = nullptr;

ThreadPoolCore::ThreadPoolCore(ThreadPoolOptions options)
    : options_(complete(std::move(options))), fork_depth_(fork_depth()) {}

ThreadPoolCore::~ThreadPoolCore() = default;

bool ThreadPoolCore::is_ours() const noexcept { return fork_depth_ == fork_depth(); }

void ThreadPoolCore::require_ours() const {
  if (!is_ours()) throw AssertionError(name() + " belongs to the process that made it; make a pool of your own here");
}

void ThreadPoolCore::require_running() const {
  require_ours();
  if (state() != State::running)
    throw ValueError(name() + " is not running: it was " + (state() == State::closed ? "closed" : "terminated"));
}

// --- The threads ---

void ThreadPoolCore::start() {
  const Lock lock{mutex_};
  num_workers_ = static_cast<std::size_t>(*options_.workers);
  start_missing_workers();
}

void ThreadPoolCore::start_missing_workers() {
  for (std::size_t i = 0; i < num_workers_; ++i) {
    if (i == workers_.size()) {
      workers_.push_back(std::make_unique<Worker>());
      workers_.back()->number = i;
    }
    Worker& worker = *workers_[i];
    if (worker.state != WorkerState::absent) continue;
    if (worker.thread.joinable()) worker.thread.join();  // it has nothing left to do
    worker.thread = start_thread(name(), [self = Ref<ThreadPoolCore>::share(this), &worker] { self->work(worker); });
    worker.state = WorkerState::starting;
    ++num_living_;
    initializer_error_ = nullptr;
  }
}

void ThreadPoolCore::work(Worker& worker) {
  own_core = this;
  own = &worker;
  name_this_thread(name());
  {
    const Lock lock{mutex_};
    worker.tid = ::gettid();
  }
  const std::exception_ptr error = initialize();
  if (!error)
    while (const Ref<ThreadTask> task = next(worker, nullptr, no_deadline)) task->run();
  leave(worker, error);
}

std::exception_ptr ThreadPoolCore::initialize() const {
  try {
    if (options_.initializer) options_.initializer();
  } catch (...) {
    return std::current_exception();
  }
  return nullptr;
}

void ThreadPoolCore::leave(Worker& worker, const std::exception_ptr& error) {
  std::vector<Ref<ThreadTask>> orphans;
  for (;;) {  // as long as this is the last worker and somebody waits for tasks that it cannot run
    for (const auto& task : orphans)
      if (task->claim()) task->fail(error);
    const Lock lock{mutex_};
    if (error && num_living_ == 1) {
      initializer_error_ = error;  // what is submitted from now on fails at once
      orphans = take_all();
      if (!orphans.empty()) continue;
    }
    worker.state = WorkerState::absent;
    worker.tid = 0;
    if (--num_living_ > 0) return;
    if (state() != State::running) callbacks_.stop();
    ended_.notify_all();
    return;
  }
}

bool ThreadPoolCore::must_leave(const Worker& worker) const noexcept {
  if (state() == State::terminated || worker.number >= num_workers()) return true;
  return state() == State::closed && num_outstanding_.load() == 0;
}

ThreadPoolCore::Worker* ThreadPoolCore::own_worker() const noexcept { return own_core == this ? own : nullptr; }

bool ThreadPoolCore::is_own_thread() const { return own_core == this || callbacks_.is_current(); }

void ThreadPoolCore::resize(int workers) {
  const std::size_t wanted = checked_workers(workers);
  require_ours();
  const Lock lock{mutex_};
  require_running();
  num_workers_ = wanted;
  start_missing_workers();
  wake_all();
}

void ThreadPoolCore::start_callbacks() {
  require_ours();
  callbacks_.start(name(), Ref<ThreadPoolCore>::share(this));
}

void ThreadPoolCore::close() {
  require_ours();
  Ref<Room> room;
  {
    const Lock lock{mutex_};
    if (state() != State::running) return;
    state_ = State::closed;
    room = std::exchange(room_, nullptr);
    if (num_living_ == 0) callbacks_.stop();
    wake_all();
  }
  if (room) room->open();
}

void ThreadPoolCore::terminate() {
  require_ours();
  Ref<Room> room;
  std::vector<Ref<ThreadTask>> dropped;
  {
    const Lock lock{mutex_};
    if (state() == State::terminated) return;
    state_ = State::terminated;
    room = std::exchange(room_, nullptr);
    dropped = take_all();
    if (num_living_ == 0) callbacks_.stop();
    wake_all();
  }
  for (const auto& task : dropped)
    if (task->claim())
      task->fail(std::make_exception_ptr(Cancelled(task->title() + " had not begun when the pool was terminated")),
                 true);
  if (room) room->open();
}

bool ThreadPoolCore::join(Deadline deadline) {
  require_ours();
  if (state() == State::running) throw ValueError(name() + " is running: close() or terminate() it before join()");
  {
    Lock lock{mutex_};
    const auto all_gone = [&] { return num_living_ == 0; };
    if (deadline == no_deadline)
      ended_.wait(lock, all_gone);
    else if (!ended_.wait_until(lock, deadline, all_gone))
      return false;
  }
  if (!callbacks_.join(deadline)) return false;
  const std::lock_guard join_lock{join_mutex_};
  for (const auto& worker : workers_)
    if (worker->thread.joinable()) worker->thread.join();
  return true;
}

void ThreadPoolCore::abandon() {
  const Lock lock{mutex_};
  for (const auto& worker : workers_)
    if (worker->thread.joinable()) worker->thread.detach();
  callbacks_.abandon();
}

// --- Submitting ---

bool ThreadPoolCore::enter(Lock& lock, AtBound at_bound) {
  require_running();
  if (!options_.max_pending_tasks) return true;
  while (num_pending_ >= *options_.max_pending_tasks) {
    if (at_bound == AtBound::give_up) return false;
    if (at_bound == AtBound::as_options_say && options_.when_full == WhenFull::fail)
      throw Full(name() + " has as many pending tasks as its options allow; try again when some have ended");
    if (!room_) room_ = make_ref<Room>(Ref<ThreadPoolCore>::share(this));
    const Ref<Room> room = room_;
    lock.unlock();
    room->wait(no_deadline);
    lock.lock();
    require_running();
  }
  ++num_pending_;
  return true;
}

void ThreadPoolCore::add(const Ref<ThreadTask>& task) {
  task->set_id(++num_submitted_);
  num_outstanding_.fetch_add(1);
  push(task);
}

bool ThreadPoolCore::submit(const Ref<ThreadTask>& task, AtBound at_bound) {
  Worker* woken = nullptr;
  std::vector<Ref<ThreadTask>> orphans;
  std::exception_ptr error;
  require_ours();  // before the lock: in a copy of the process it may be held by a thread that is not there
  {
    Lock lock{mutex_};
    if (!enter(lock, at_bound)) return false;
    add(task);
    if ((error = initializer_error_)) orphans = take_all();
    woken = choose_sleeper();
  }
  if (woken != nullptr) futex_wake(&woken->wake, 1);
  for (const auto& orphan : orphans)
    if (orphan->claim()) orphan->fail(error);
  return true;
}

void ThreadPoolCore::submit_all(const std::vector<Ref<ThreadTask>>& tasks) {
  for (const auto& task : tasks) submit(task, AtBound::wait);
}

void ThreadPoolCore::retry_later(Ref<ThreadTask> task, std::chrono::nanoseconds pause, std::chrono::nanoseconds busy) {
  {
    const std::lock_guard lock{statistics_mutex_};
    ++num_attempts_ended_;
    ++num_retried_;
    task_time_.learn(busy);
  }
  Lock lock{mutex_};
  if (state() == State::terminated) {
    lock.unlock();
    task->cancel({});
    return;
  }
  if (pause.count() <= 0) return push(std::move(task));  // for this thread, if no other takes it
  resting_.emplace(deadline_after(pause), std::move(task));
  wake_all();  // who sleeps on must do so for this pause at most
}

void ThreadPoolCore::task_ends(const TaskEnd& end) noexcept {
  {
    const std::lock_guard lock{statistics_mutex_};
    ++(end.failed ? num_failed_ : num_done_);
    if (end.cancelled) ++num_cancelled_;
    if (end.ran) {
      ++num_attempts_ended_;
      task_time_.learn(end.busy);
      if (Worker* worker = own_worker()) {
        ++worker->tasks;
        worker->busy += end.busy;
      }
    }
  }
  if (!options_.max_pending_tasks) return;
  Ref<Room> room;
  {
    const Lock lock{mutex_};
    --num_pending_;
    room = std::exchange(room_, nullptr);
  }
  if (room) room->open();
}

void ThreadPoolCore::task_gone() noexcept {
  if (num_outstanding_.fetch_sub(1) != 1 || state() == State::running) return;
  const Lock lock{mutex_};
  wake_all();
}

// --- Statistics ---

PoolStatistics ThreadPoolCore::statistics() const {
  require_ours();
  const std::scoped_lock lock{mutex_, statistics_mutex_};
  PoolStatistics all{.done = num_done_,
                     .failed = num_failed_,
                     .cancelled = num_cancelled_,
                     .retried = num_retried_,
                     .median_time = task_time_.percentile(0.5),
                     .time_90 = task_time_.percentile(0.9),
                     .time_99 = task_time_.percentile(0.99),
                     .longest_time = task_time_.longest(),
                     .workers = {}};
  all.running = num_attempts_.load() - num_attempts_ended_;
  all.queued = num_submitted_ - num_done_ - num_failed_ - all.running;
  for (const auto& worker : workers_) {
    if (worker->number >= num_workers() && worker->state == WorkerState::absent) continue;
    all.workers.push_back(
        {.state = worker->number < num_workers() || worker->state == WorkerState::absent ? worker->state
                                                                                         : WorkerState::leaving,
         .pid = worker->tid,
         .tasks = worker->tasks,
         .busy = worker->busy});
  }
  return all;
}

}  // namespace troupe::detail
