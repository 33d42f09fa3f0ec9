#pragma once

/// \file
/// A ThreadPool's queue and threads.

#include <troupe/thread_pool.hpp>
#include <troupe/thread_task.hpp>

#include "task_time.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace troupe::detail {

/// Runs a ThreadPool's callbacks, one at a time. Its thread starts with the first. Thread: any.
class CallbackQueue {
 public:
  /// Makes sure that there is a thread, unless it was stopped; it owns `keep` while it runs.
  /// Errors: OSError when it cannot be started.
  void start(const std::string& name, Ref<ThreadPoolCore> keep);
  /// Runs `callback` soon; false, and it does not, when `stop` was called or nothing was started.
  bool post(std::function<void()> callback);
  /// Has the thread end when it has run what is queued.
  void stop();
  /// Waits for the end of the thread. Blocks. After stop.
  bool join(Deadline deadline);
  bool is_current() const noexcept { return id_.load() == std::this_thread::get_id(); }
  /// Lets the thread end by itself.
  void abandon();

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_:
  std::deque<std::function<void()>> queue_;
  bool has_started_ = false;
  bool stopping_ = false;
  bool has_ended_ = false;
  std::thread thread_;
  std::atomic<std::thread::id> id_{};
};

/// Lives as long as the pool, its threads or any of its results. Thread: any.
class ThreadPoolCore final : public Shared {
 public:
  enum class State : std::uint8_t { running, closed, terminated };

  explicit ThreadPoolCore(ThreadPoolOptions options);
  /// Starts the threads. Errors: OSError; those started before have ended then.
  void start();

  const std::string& name() const noexcept { return options_.name; }
  std::size_t num_workers() const noexcept { return num_workers_.load(std::memory_order_relaxed); }
  State state() const noexcept { return state_.load(); }
  bool is_ours() const noexcept;
  /// Throws AssertionError in a copy of the process that made the pool.
  void require_ours() const;
  /// The same, and ValueError unless the pool takes tasks.
  void require_running() const;

  bool submit(const Ref<ThreadTask>& task, AtBound at_bound);
  /// All of them, at the bound one by one. Errors: ValueError when the pool is closed meanwhile.
  void submit_all(const std::vector<Ref<ThreadTask>>& tasks);
  void close();
  void terminate();
  bool join(Deadline deadline);
  void resize(int workers);
  PoolStatistics statistics() const;
  /// Whether the calling thread is one of this pool's.
  bool is_own_thread() const;
  /// Gives the threads up, for a pool that one of them destroys.
  void abandon();

  /// Waits until `completion` is ready or `deadline`, running tasks meanwhile if this is a worker. Blocks.
  void wait(ThreadCompletion& completion, Deadline deadline);
  /// Wakes workers that wait for `completion`.
  void rouse(const ThreadCompletion& completion) noexcept;

  CallbackQueue& callbacks() noexcept { return callbacks_; }
  /// Makes sure that callbacks can run. Errors: OSError.
  void start_callbacks();
  /// A task begins an attempt.
  void task_begins() noexcept { num_attempts_.fetch_add(1, std::memory_order_relaxed); }
  /// An attempt has ended and the task comes back after `pause`.
  void retry_later(Ref<ThreadTask> task, std::chrono::nanoseconds pause, std::chrono::nanoseconds busy);
  struct TaskEnd {
    bool failed, cancelled;
    bool ran;                       // an attempt has ended with it
    std::chrono::nanoseconds busy;  // that attempt's time
  };
  /// The task has ended, before it gets ready.
  void task_ends(const TaskEnd& end) noexcept;
  /// The task is ready: a closed pool may end.
  void task_gone() noexcept;

 private:
  enum class Wake : std::uint32_t { none, work, other };

  /// One thread. `number` counts from 0.
  struct Worker {
    std::size_t number = 0;
    std::atomic<std::uint32_t> wake{0};
    SpinWait spin;      // thread: its own
    unsigned depth = 0;  // thread: its own; tasks that it runs while others of its tasks wait
    // Guarded by mutex_:
    std::thread thread;
    pid_t tid = 0;
    WorkerState state = WorkerState::absent;
    const ThreadCompletion* waits_for = nullptr;  // beside work
    bool is_sleeping = false;
    // Guarded by statistics_mutex_:
    std::size_t tasks = 0;
    std::chrono::nanoseconds busy{0};
  };
  /// Ready when there may be room again.
  class Room final : public ThreadCompletion {
   public:
    using ThreadCompletion::ThreadCompletion;
    void open() { complete(); }
  };
  using Lock = std::unique_lock<std::mutex>;
  using Queue = std::deque<Ref<ThreadTask>>;

  ~ThreadPoolCore() override;

  // The threads
  void start_missing_workers();
  void work(Worker& worker);
  std::exception_ptr initialize() const;
  void leave(Worker& worker, const std::exception_ptr& error);
  bool must_leave(const Worker& worker) const noexcept;
  Worker* own_worker() const noexcept;

  // Looking for work
  Ref<ThreadTask> next(Worker& worker, ThreadCompletion* completion, Deadline deadline);
  void spin(Lock& lock, Worker& worker, const ThreadCompletion* completion);
  void sleep(Lock& lock, Worker& worker, ThreadCompletion* completion, Deadline deadline);
  void help(Worker& worker, ThreadCompletion& completion, Deadline deadline);

  // With the lock held
  bool enter(Lock& lock, AtBound at_bound);
  void add(const Ref<ThreadTask>& task);
  void push(Ref<ThreadTask> task);
  Ref<ThreadTask> pop();
  void queue_due();
  std::vector<Ref<ThreadTask>> take_all();
  Worker* choose_sleeper() noexcept;
  void wake_all() noexcept;

  // What the calling thread works for and as; another pool's, or null.
  static thread_local const ThreadPoolCore* own_core;
  static thread_local Worker* own;

  const ThreadPoolOptions options_;
  const unsigned fork_depth_;
  CallbackQueue callbacks_;

  mutable std::mutex mutex_;
  // Guarded by mutex_, those that are atomic written under it only:
  Queue usual_;                                  // priority 0
  std::map<int, Queue, std::greater<>> others_;  // none of them empty
  std::multimap<Deadline, Ref<ThreadTask>> resting_;  // until their next attempt
  std::atomic<std::size_t> num_queued_{0};
  std::size_t num_searching_ = 0;    // awake and looking for work, or woken to do so
  bool has_spinner_ = false;         // one of them spins, and no other does
  std::vector<Worker*> sleepers_;    // the last to sleep is the first to be woken
  std::vector<std::unique_ptr<Worker>> workers_;
  std::size_t num_living_ = 0;
  std::exception_ptr initializer_error_;  // of the last worker, when none is left
  std::size_t num_pending_ = 0;           // against max_pending_tasks
  Ref<Room> room_;                        // while somebody waits for room
  std::uint64_t num_submitted_ = 0;
  std::condition_variable ended_;  // num_living_ is 0
  std::atomic<std::size_t> num_workers_{0};
  std::atomic<State> state_{State::running};

  std::mutex join_mutex_;
  std::atomic<std::int64_t> num_outstanding_{0};
  std::atomic<std::uint64_t> num_attempts_{0};

  mutable std::mutex statistics_mutex_;
  // Guarded by statistics_mutex_:
  std::uint64_t num_attempts_ended_ = 0;
  std::size_t num_done_ = 0, num_failed_ = 0, num_cancelled_ = 0, num_retried_ = 0;
  TaskTime task_time_;
};

}  // namespace troupe::detail
