#pragma once

/// \file
/// A ThreadPool's tasks and what can be waited for there. Users meet it as AsyncResult, ResultIterator and ThreadPool.

#include <troupe/bell.hpp>
#include <troupe/ref.hpp>
#include <troupe/task_options.hpp>
#include <troupe/this_task.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace troupe::detail {

class ThreadPoolCore;
void acquire_ref(ThreadPoolCore* core) noexcept;
void release_ref(ThreadPoolCore* core) noexcept;

/// Becomes ready once, and stays so. Thread: any.
class ThreadCompletion : public Shared {
 public:
  explicit ThreadCompletion(Ref<ThreadPoolCore> core);

  bool ready() const noexcept { return (state_.load(std::memory_order_acquire) & ready_bit) != 0; }
  /// Waits until ready or `deadline`; returns ready(). Blocks. A worker of the pool runs tasks meanwhile.
  bool wait(Deadline deadline);
  /// Runs `next` on the pool's callback thread once this is ready; on the thread that makes it ready when the pool has
  /// ended. Errors: AssertionError when one is set already; OSError when the callback thread cannot be started.
  void then(std::function<void()> next);
  /// Runs `callback` on the pool's callback thread before this gets ready. Only before the task is submitted; once.
  /// Errors: OSError when the callback thread cannot be started.
  void set_callback(std::function<void()> callback);
  ThreadPoolCore& core() const noexcept { return *core_.get(); }

 protected:
  ~ThreadCompletion() override;
  /// Runs the callback if there is one, then makes this ready and wakes who waits. Once.
  void complete();
  /// Makes this not ready again. Only for completions that stand for "something arrived".
  void rearm() noexcept { state_.fetch_and(~(ready_bit | waited_bit | helped_bit), std::memory_order_acq_rel); }

  /// Runs, on this thread, a task that this waits for; false if none is left to be begun.
  virtual bool run_part() { return false; }
  /// When the tasks that this waits for must have ended.
  virtual Deadline due() const noexcept { return no_deadline; }
  /// Fails those of them that nobody has begun, because they are late.
  virtual void expire() {}

 private:
  friend class ThreadPoolCore;
  void sleep(Deadline deadline);
  void make_ready();
  void run_callback() noexcept;

  static constexpr std::uint32_t ready_bit = 1;
  static constexpr std::uint32_t waited_bit = 2;     // threads sleep on state_ until this is ready
  static constexpr std::uint32_t continued_bit = 4;  // next_ is set
  static constexpr std::uint32_t claimed_bit = 8;    // next_ is being set
  static constexpr std::uint32_t helped_bit = 16;    // workers wait in the core until this is ready

  std::atomic<std::uint32_t> state_{0};
  Ref<ThreadPoolCore> core_;
  std::unique_ptr<std::function<void()>> next_;
  std::unique_ptr<std::function<void()>> callback_;
};

class ThreadTask;

/// Is told when one of the tasks that it is interested in has ended. Thread: any, several at once.
class ThreadListener : public ThreadCompletion {
 public:
  using ThreadCompletion::ThreadCompletion;
  virtual void task_ended(ThreadTask& task) = 0;
};

/// A task from submission to result. Whoever moves it on from `queued` runs or fails it; what derived classes hold
/// belongs to that thread until ready, and does not change afterwards.
class ThreadTask : public ThreadCompletion {
 public:
  /// `options` may be null. The deadline of the task that this thread runs counts for this one, too.
  ThreadTask(Ref<ThreadPoolCore> core, Ref<SharedOptions> options, Ref<ThreadListener> listener);

  /// Takes the task; false if somebody else has.
  bool claim() noexcept {
    auto expected = Stage::queued;
    return stage_.compare_exchange_strong(expected, Stage::running);
  }
  /// Calls what is to be called, and ends or leaves it to the pool for a retry. Only after claim. Blocks: as the
  /// callable does.
  void run() noexcept;
  /// Ends without running. Only after claim.
  void fail(std::exception_ptr error, bool cancelled = false) noexcept;
  /// Errors: none. Returns whether the task ends by this.
  bool cancel(const CancelOptions& options);
  /// Fails with TimeoutError if nobody has begun it.
  void expire() override;

  bool has_failed() const noexcept { return error_ != nullptr; }
  const std::exception_ptr& error() const noexcept { return error_; }
  int priority() const noexcept { return options_ ? options_->options.priority : 0; }
  std::uint64_t id() const noexcept { return id_; }
  void set_id(std::uint64_t id) noexcept { id_ = id; }
  Deadline due() const noexcept override { return deadline_; }
  /// Whether it should end soon: it was cancelled, or its pool terminated. Thread: any.
  bool stop_requested() const noexcept;
  /// "fetch #3 of ThreadPool-1".
  std::string title() const;

  /// The task that this thread runs, null if none.
  static ThreadTask* current() noexcept;

 protected:
  /// Calls and keeps the value. `last`: it will not be called again, so arguments may be moved away.
  /// Errors: what the callable throws.
  virtual void call(bool last) = 0;
  /// Frees callable and arguments.
  virtual void drop() noexcept = 0;
  bool run_part() override;

 private:
  enum class Stage : std::uint8_t { queued, running, stopping, ended };

  bool wants_retry(const std::exception_ptr& error) const;
  void end(std::exception_ptr error, std::chrono::nanoseconds busy) noexcept;
  void ended() noexcept;

  std::atomic<Stage> stage_{Stage::queued};
  std::uint32_t attempts_ = 0;
  std::uint64_t id_ = 0;
  Ref<SharedOptions> options_;
  Deadline deadline_;
  Ref<ThreadListener> listener_;
  std::exception_ptr error_;
};

/// All tasks of one map: ready when the last of them has ended.
class ThreadGroup final : public ThreadListener {
 public:
  ThreadGroup(Ref<ThreadPoolCore> core, std::size_t num_tasks);

  /// The tasks in the order of the input; set when they are submitted.
  std::vector<Ref<ThreadTask>> tasks;

  void task_ended(ThreadTask& task) override;
  /// How many tasks have not ended. Thread: any.
  std::size_t num_left() const noexcept { return left_.load(std::memory_order_relaxed); }
  /// The task that failed first, null if none did. Only when ready.
  ThreadTask* first_failure() const noexcept { return first_failure_.load(); }
  /// Makes a group of no tasks ready.
  void complete_empty() { complete(); }

 protected:
  bool run_part() override;
  Deadline due() const noexcept override;
  void expire() override;

 private:
  std::atomic<std::size_t> left_;
  std::atomic<std::size_t> next_part_{0};
  std::atomic<ThreadTask*> first_failure_{nullptr};
};

/// The ended tasks of one imap_unordered, in the order in which they ended: ready while there is one to take.
class ThreadArrivals final : public ThreadListener {
 public:
  using ThreadListener::ThreadListener;

  void task_ended(ThreadTask& task) override;
  /// The oldest that was not taken yet, null if there is none now. Thread: one.
  Ref<ThreadTask> try_take();

 private:
  std::mutex mutex_;
  std::deque<Ref<ThreadTask>> tasks_;  // guarded by mutex_
};

/// What a submit does at the bound of ThreadPoolOptions::max_pending_tasks.
enum class AtBound : std::uint8_t { as_options_say, wait, give_up };

/// Hands a task to the workers. Thread: any. Blocks: for room, if the bound says so. False: given up.
/// Errors: ValueError when the pool is not running; Full.
bool submit(ThreadPoolCore& core, const Ref<ThreadTask>& task, AtBound at_bound = AtBound::as_options_say);
/// All tasks of a group; a group without tasks is ready at once. Errors: ValueError.
void submit_group(ThreadPoolCore& core, ThreadGroup& group, std::vector<Ref<ThreadTask>> tasks);
/// Throws ValueError unless the pool takes tasks.
void require_running(const ThreadPoolCore& core);
/// How many workers the pool keeps.
std::size_t num_workers(const ThreadPoolCore& core) noexcept;

/// Options for tasks of threads. Errors: ValueError naming what makes no sense there.
Ref<SharedOptions> thread_task_options(TaskOptions options);

/// As AsyncResult::cancel.
bool cancel(ThreadTask& task, const CancelOptions& options);
bool cancel(ThreadGroup& group, const CancelOptions& options);

}  // namespace troupe::detail
