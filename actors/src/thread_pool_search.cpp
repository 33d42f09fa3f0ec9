// How workers find tasks, and what they do while one of their tasks waits.
//
//   submit ─► queue ─► the worker that spins, else the one that fell asleep last ─► run ─► ready ─► who waits
//                ▲                                                                 │
//                └── a worker whose task waits for a result looks here as well ◄───┘
//
// At most one worker spins, so that idle workers do not take processors from busy ones. A worker is woken when more
// tasks are queued than workers look for one; whoever takes a task wakes the next if that is so.

#include "thread_pool_core.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace troupe::detail {

namespace {

using Clock = std::chrono::steady_clock;

/// How many tasks a worker runs inside each other because they wait for something that runs elsewhere: bounds its
/// stack.
constexpr unsigned deepest = 64;


}  // namespace

void ThreadPoolCore::push(Ref<ThreadTask> task) {
  const int priority = task->priority();
  (priority == 0 ? usual_ : others_[priority]).push_back(std::move(task));
  num_queued_.fetch_add(1, std::memory_order_relaxed);
}

// Tasks that somebody else has taken or ended meanwhile are left out.
Ref<ThreadTask> ThreadPoolCore::pop() {
  while (num_queued_.load(std::memory_order_relaxed) > 0) {
    const auto highest = others_.begin();
    const bool special = highest != others_.end() && (highest->first > 0 || usual_.empty());
    Queue& queue = special ? highest->second : usual_;
    Ref<ThreadTask> task = std::move(queue.front());
    queue.pop_front();
    num_queued_.fetch_sub(1, std::memory_order_relaxed);
    if (special && queue.empty()) others_.erase(highest);
    if (task->claim()) return task;
  }
  return {};
}

void ThreadPoolCore::queue_due() {
  while (!resting_.empty() && resting_.begin()->first <= Clock::now()) {
    push(std::move(resting_.begin()->second));
    resting_.erase(resting_.begin());
  }
}

std::vector<Ref<ThreadTask>> ThreadPoolCore::take_all() {
  std::vector<Ref<ThreadTask>> all;
  for (auto& [priority, queue] : others_) std::ranges::move(queue, std::back_inserter(all));
  std::ranges::move(usual_, std::back_inserter(all));
  for (auto& [when, task] : resting_) all.push_back(std::move(task));
  others_.clear();
  usual_.clear();
  resting_.clear();
  num_queued_ = 0;
  return all;
}

// The worker to be woken for what is queued, null if enough look for work. The caller rings after the lock is gone.
ThreadPoolCore::Worker* ThreadPoolCore::choose_sleeper() noexcept {
  if (sleepers_.empty() || num_queued_.load(std::memory_order_relaxed) <= num_searching_) return nullptr;
  Worker* worker = sleepers_.back();
  sleepers_.pop_back();
  worker->is_sleeping = false;
  worker->wake = static_cast<std::uint32_t>(Wake::work);
  ++num_searching_;
  return worker;
}

void ThreadPoolCore::wake_all() noexcept {
  for (Worker* worker : sleepers_) {
    worker->is_sleeping = false;
    worker->wake = static_cast<std::uint32_t>(Wake::other);
    futex_wake(&worker->wake, 1);
  }
  sleepers_.clear();
}

void ThreadPoolCore::rouse(const ThreadCompletion& completion) noexcept {
  const Lock lock{mutex_};
  std::erase_if(sleepers_, [&](Worker* worker) {
    if (worker->waits_for != &completion) return false;
    worker->is_sleeping = false;
    worker->wake = static_cast<std::uint32_t>(Wake::other);
    futex_wake(&worker->wake, 1);
    return true;
  });
}

// The next task for `worker`; null when it is to leave or, with a completion, when that is ready or the time is over.
Ref<ThreadTask> ThreadPoolCore::next(Worker& worker, ThreadCompletion* completion, Deadline deadline) {
  Lock lock{mutex_};
  Ref<ThreadTask> task;
  for (bool has_spun = false;;) {
    queue_due();
    if (completion != nullptr && (completion->ready() || is_over(deadline))) break;
    if (completion == nullptr && must_leave(worker)) break;
    if ((task = pop())) break;
    if (completion == nullptr) worker.state = WorkerState::idle;
    if (!has_spun && !has_spinner_) {
      spin(lock, worker, completion);
      has_spun = true;
      continue;
    }
    sleep(lock, worker, completion, deadline);
    if (std::exchange(has_spun, false)) worker.spin.found_later();
  }
  if (task) worker.state = WorkerState::busy;
  Worker* other = choose_sleeper();
  lock.unlock();
  if (other != nullptr) futex_wake(&other->wake, 1);
  return task;
}

void ThreadPoolCore::spin(Lock& lock, Worker& worker, const ThreadCompletion* completion) {
  has_spinner_ = true;
  ++num_searching_;
  lock.unlock();
  worker.spin([&] {
    return num_queued_.load(std::memory_order_relaxed) > 0 || (completion != nullptr && completion->ready());
  });
  lock.lock();
  --num_searching_;
  has_spinner_ = false;
}

void ThreadPoolCore::sleep(Lock& lock, Worker& worker, ThreadCompletion* completion, Deadline deadline) {
  if (completion != nullptr) {
    const auto before = completion->state_.fetch_or(ThreadCompletion::helped_bit, std::memory_order_seq_cst);
    if ((before & ThreadCompletion::ready_bit) != 0) return;
  }
  worker.waits_for = completion;
  worker.wake = static_cast<std::uint32_t>(Wake::none);
  worker.is_sleeping = true;
  sleepers_.push_back(&worker);
  const Deadline until = resting_.empty() ? deadline : std::min(deadline, resting_.begin()->first);
  lock.unlock();
  while (worker.wake.load() == static_cast<std::uint32_t>(Wake::none) && !is_over(until))
    futex_wait(&worker.wake, static_cast<std::uint32_t>(Wake::none), until);
  lock.lock();
  worker.waits_for = nullptr;
  if (std::exchange(worker.is_sleeping, false))
    std::erase(sleepers_, &worker);
  else if (worker.wake.load() == static_cast<std::uint32_t>(Wake::work))
    --num_searching_;
}

// --- Waiting ---

void ThreadPoolCore::wait(ThreadCompletion& completion, Deadline deadline) {
  if (Worker* worker = own_worker()) return help(*worker, completion, deadline);
  thread_local SpinWait spin;
  while (!completion.ready() && !is_over(deadline)) {
    if (spin([&] { return completion.ready(); })) return;
    completion.sleep(deadline);
    spin.found_later();
  }
}

void ThreadPoolCore::help(Worker& worker, ThreadCompletion& completion, Deadline deadline) {
  while (!completion.ready() && !is_over(deadline)) {
    if (completion.run_part()) continue;
    if (worker.depth >= deepest) {
      completion.sleep(deadline);
    } else if (const Ref<ThreadTask> task = next(worker, &completion, deadline)) {
      ++worker.depth;
      task->run();
      --worker.depth;
    }
  }
}

}  // namespace troupe::detail
