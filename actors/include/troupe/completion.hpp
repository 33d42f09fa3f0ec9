#pragma once

/// \file
/// What can be waited for: the end of a task, of all tasks of a map, of a pool. The base of AsyncResult's state; users
/// meet it as AsyncResult, ResultIterator and Pool::join.

#include <troupe/arena.hpp>
#include <troupe/bell.hpp>
#include <troupe/ref.hpp>
#include <troupe/store.hpp>
#include <troupe/task_options.hpp>
#include <troupe/wire_message.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

namespace troupe::detail {

class PoolCore;
void acquire_ref(PoolCore* core) noexcept;
void release_ref(PoolCore* core) noexcept;

/// Becomes ready once, and stays so. Thread: any.
class Completion : public Shared {
 public:
  explicit Completion(Ref<PoolCore> core);

  bool ready() const noexcept { return (state_.load(std::memory_order_acquire) & ready_bit) != 0; }
  /// Waits until ready or `deadline`; returns ready(). Blocks. The waiting thread serves the pool meanwhile.
  bool wait(Deadline deadline);
  /// Runs `next` on the callback thread once this is ready. Errors: AssertionError when one is set already; OSError
  /// when the callback thread cannot be started.
  void then(std::function<void()> next);
  /// Runs `callback` on the callback thread before this gets ready. Only before the task is submitted; once.
  /// Errors: OSError when the callback thread cannot be started.
  void set_callback(std::function<void()> callback);
  PoolCore& core() const noexcept { return *core_.get(); }

 protected:
  ~Completion() override;
  /// Runs the callback if there is one, then makes this ready and wakes who waits. Called by the supervisor, once.
  void complete();
  /// The same without callback.
  void make_ready();
  /// Makes this not ready again. Only for completions that stand for "something arrived".
  void rearm() noexcept { state_.fetch_and(~(ready_bit | waited_bit), std::memory_order_acq_rel); }

 private:
  friend class WaitingRoom;
  void run_callback() noexcept;

  static constexpr std::uint32_t ready_bit = 1;
  static constexpr std::uint32_t waited_bit = 2;     // somebody sleeps until this is ready
  static constexpr std::uint32_t continued_bit = 4;  // next_ is set
  static constexpr std::uint32_t claimed_bit = 8;    // next_ is being set
  static constexpr std::uint32_t callback_bit = 16;  // callback_ was set

  std::atomic<std::uint32_t> state_{0};
  Ref<PoolCore> core_;
  std::unique_ptr<std::function<void()>> next_;
  std::unique_ptr<std::function<void()>> callback_;
};

class TaskRecord;

/// Is told when one of the tasks that it is interested in has ended. Thread: actor (the supervisor).
class TaskListener : public Completion {
 public:
  using Completion::Completion;
  virtual void task_ended(TaskRecord& task) = 0;
};

/// A task from submission to result: first its encoded message, then, in the same memory if it fits, its encoded
/// result. One allocation, because a million of them may wait in a queue.
/// Thread: the supervisor's until ready, any and unchanging afterwards.
class TaskRecord final : public Completion {
 public:
  /// `words` and `segments` are the encoded Task; the blocks of `segments` belong to the record from now on.
  static Ref<TaskRecord> create(Ref<PoolCore> core, std::uint64_t id, std::span<const std::uint64_t> words,
                                std::vector<SegmentRef> segments, Ref<TaskListener> listener);
  /// Says how the task is to be run. Before it is submitted.
  void set_options(Ref<SharedOptions> options, Deadline deadline);
  /// What takes back the handles in the task's message. Before it is submitted.
  void set_take_back(std::vector<WrittenHandles::TakeBack> take_back) { extras().take_back = std::move(take_back); }
  /// Null: none, all defaults.
  const TaskOptions* options() const noexcept {
    return extras_ && extras_->options ? &extras_->options->options : nullptr;
  }
  /// No worker has begun it, and none will: takes back the handles in its message. May ask the nursery.
  void take_back_handles() noexcept;
  /// When it must have ended.
  Deadline deadline() const noexcept { return extras_ ? extras_->deadline : no_deadline; }
  /// Whether there is anything about it that most tasks have not: options, a deadline, a cancel.
  bool has_rules() const noexcept {
    return extras_ && (extras_->options || extras_->deadline != no_deadline || extras_->cancelled);
  }
  /// Whether the result or an error is there; ready() may come later, after a callback. Thread: actor.
  bool has_ended() const noexcept { return ended_; }
  int priority() const noexcept { return options() != nullptr ? options()->priority : 0; }

  std::uint64_t id() const noexcept { return id_; }
  /// The message: the task until ready, the result afterwards.
  std::span<const std::uint64_t> words() const noexcept { return {data_, num_words_}; }
  std::span<const SegmentRef> segments() const noexcept;

  /// How often a worker was given the task and began it.
  std::uint32_t attempts = 0;
  /// How its workers died. Thread: actor (the supervisor).
  std::vector<DeathRecord>& deaths() { return extras().deaths; }
  /// Whether somebody has cancelled it although it was running. Thread: actor.
  bool is_cancelled() const noexcept { return extras_ && extras_->cancelled; }
  void set_cancelled() { extras().cancelled = true; }
  /// What it counts against PoolOptions::max_pending_bytes.
  std::size_t message_bytes() const noexcept;
  void set_counted(std::size_t bytes) { extras().counted_bytes = bytes; }
  /// Link of the queue that the record is in.
  TaskRecord* next_in_queue = nullptr;

  /// Takes a copy of the result and becomes ready. `arena` holds `result_segments`; they are given back when the
  /// record goes. `is_failure`: the result says that the task threw.
  void finish(std::span<const std::uint64_t> result, std::span<const SegmentRef> result_segments,
              std::shared_ptr<ArenaView> arena, bool is_failure);
  /// Becomes ready with an error instead of a result.
  void fail(std::exception_ptr error);

  /// Whether the task threw or `fail` was called. Only when ready.
  bool has_failed() const noexcept { return failed_; }
  /// The error given to `fail`, null if there was none.
  std::exception_ptr error() const;
  /// Opens the result. Only when ready and without error().
  MessageReader open() const;

 private:
  struct Extras {  // what few tasks have
    std::vector<SegmentRef> segments;
    std::vector<WrittenHandles::TakeBack> take_back;
    std::shared_ptr<ArenaView> arena;  // of a result's segments; null while they are the task's
    std::exception_ptr error;
    Ref<SharedOptions> options;
    Deadline deadline = no_deadline;
    std::vector<DeathRecord> deaths;
    bool cancelled = false;
    std::size_t counted_bytes = 0;  // against PoolOptions::max_pending_bytes
  };

  TaskRecord(Ref<PoolCore> core, std::uint64_t id, Ref<TaskListener> listener, std::size_t capacity);
  ~TaskRecord() override;
  void destroy() const noexcept override;
  Extras& extras();
  void release_segments() noexcept;
  void ended();

  std::uint64_t id_;
  Ref<TaskListener> listener_;
  std::unique_ptr<Extras> extras_;
  std::unique_ptr<std::uint64_t[]> large_;  // the result, when it does not fit here
  std::uint64_t* data_;                     // the words behind this object, or large_
  std::uint32_t num_words_ = 0;
  std::uint32_t capacity_;  // words behind this object
  bool failed_ = false;
  bool ended_ = false;
};

/// All tasks of one map: ready when the last of them has ended.
class TaskGroup final : public TaskListener {
 public:
  TaskGroup(Ref<PoolCore> core, std::size_t num_tasks);

  /// The tasks in the order of the input; set when they are submitted.
  std::vector<Ref<TaskRecord>> tasks;

  void task_ended(TaskRecord& task) override;
  /// How many tasks have not ended. Thread: any.
  std::size_t num_left() const noexcept { return left_.load(std::memory_order_relaxed); }
  /// The task that failed first, null if none did. Only when ready.
  TaskRecord* first_failure() const noexcept { return first_failure_; }
  /// Makes a group of no tasks ready; there is nothing to call back about.
  void complete_empty() { make_ready(); }

 private:
  std::atomic<std::size_t> left_;  // written by the supervisor only
  TaskRecord* first_failure_ = nullptr;
};

/// The ended tasks of one imap_unordered, in the order in which they ended: ready while there is one to take.
class Arrivals final : public TaskListener {
 public:
  using TaskListener::TaskListener;

  void task_ended(TaskRecord& task) override;
  /// The oldest that was not taken yet, null if there is none now. Thread: any.
  Ref<TaskRecord> try_take();

 private:
  std::mutex mutex_;
  std::deque<Ref<TaskRecord>> tasks_;  // guarded by mutex_
};

}  // namespace troupe::detail
