#pragma once

/// \file
/// What a pool's threads share: where tasks are encoded, who waits, the slots, the supervisor's address.

#include <troupe/actor.hpp>
#include <troupe/arena.hpp>
#include <troupe/completion.hpp>
#include <troupe/pool.hpp>

#include "gate.hpp"
#include "pool_requests.hpp"
#include "waiting_room.hpp"
#include "worker_slot.hpp"

#include <atomic>
#include <csignal>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

namespace troupe::detail {

/// Ready when all workers of a pool have ended.
class AllGone final : public Completion {
 public:
  using Completion::Completion;
  void complete_now() { complete(); }
};

/// Several tasks that are submitted by one message.
class Batch final : public Shared {
 public:
  std::vector<Ref<TaskRecord>> tasks;
};

/// Lives as long as the pool or any of its results. Thread: any.
class PoolCore final : public Shared {
 public:
  enum class State : std::uint8_t { running, closed, terminated };

  /// Makes rings and starts the workers. Errors: OSError naming the worker that could not be started; those started
  /// before are ended.
  static Ref<PoolCore> create(PoolOptions options);

  const PoolOptions& options() const noexcept { return options_; }
  const std::string& name() const noexcept { return options_.name; }
  Arena& task_arena() noexcept { return task_arena_; }
  WaitingRoom& waiting_room() noexcept { return *waiting_room_; }
  std::uint64_t next_task_id() noexcept { return next_task_id_.fetch_add(1, std::memory_order_relaxed); }
  /// All places for workers, also those beyond num_workers() that are not used any more. Grows; none goes.
  std::span<const std::unique_ptr<WorkerSlot>> slots() const noexcept {
    return {slots_.data(), num_slots_.load(std::memory_order_acquire)};
  }
  /// How many workers are wanted.
  std::size_t num_workers() const noexcept { return num_workers_.load(std::memory_order_relaxed); }
  State state() const noexcept { return state_.load(); }
  std::vector<pid_t> worker_pids() const;

  /// Hands a task to the supervisor. Errors: ValueError when the pool is not running; Full.
  void submit(Ref<TaskRecord> task);
  /// The same, waiting for room whatever the options say.
  void submit_when_room(Ref<TaskRecord> task);
  /// The same; false where submit would wait or throw Full.
  bool try_submit(Ref<TaskRecord> task);
  /// Hands over all tasks of a map. Only after require_running.
  void submit_all(std::vector<Ref<TaskRecord>> tasks);
  /// Errors: as Pool::resize.
  void resize(int workers);
  /// Has the supervisor answer. Blocks: for as long as that takes.
  void ask(const Ref<PoolRequest>& request);
  /// Stops intake; workers end when all is done. Never blocks; may be repeated.
  void close();
  /// Ends all workers now; what is not done fails with Cancelled. Never blocks; may be repeated.
  void terminate();
  /// Waits until all workers have ended. Blocks. Errors: ValueError while running.
  bool join(Deadline deadline);
  bool has_bounds() const noexcept { return gate_ != nullptr; }
  /// Whether this process made the pool, and is not a copy of the one that did.
  bool is_ours() const noexcept;
  /// Throws AssertionError naming the pool in a copy of the process that made it.
  void require_ours() const;
  /// The same, and ValueError unless the pool takes tasks.
  void require_running() const;

  /// Starts a worker process for `slot`, with a fresh arena, and returns it. The supervisor is told of its end, maybe
  /// before it has taken the worker over. Errors: OSError.
  /// Thread: the pump's, or the creator's. The slot's rings must be clear.
  struct Launched {
    Child child;
    std::shared_ptr<ArenaView> arena;
    Pump::Id exit_watch;
  };
  Launched launch(const WorkerSlot& slot);
  /// Writes the initializer, if there is one, into the ring of a new worker. Thread: actor.
  void write_initializer(WorkerSlot& slot);

  /// Tells the supervisor something. Thread: any.
  void tell(std::uint32_t topic, std::int64_t number = 0, Ref<Shared> object = {}) {
    supervisor_.post({.topic = topic, .number = number, .object = std::move(object)});
  }
  /// Has the supervisor take results out of the rings. Returns false if it has been told already, by somebody else.
  bool drain();
  /// The supervisor begins to drain: later results need a new call.
  void drain_begins() noexcept { drain_told_.store(false, std::memory_order_seq_cst); }

  void task_submitted(std::int64_t count) noexcept { num_outstanding_.fetch_add(count); }
  void task_ended(std::size_t counted_bytes) noexcept {
    num_outstanding_.fetch_sub(1);
    if (gate_) gate_->leave(counted_bytes);
  }
  std::int64_t num_outstanding() const noexcept { return num_outstanding_.load(); }
  void callback_begins() noexcept { num_callbacks_.fetch_add(1); }
  void callback_ended();
  bool has_callbacks() const noexcept { return num_callbacks_.load() > 0 && !forgets_callbacks_.load(); }
  /// The end of the pool does not wait for callbacks any more.
  void forget_callbacks();
  /// Whether some ring holds results. Thread: any.
  bool has_results() const noexcept;

  /// Called by the supervisor when the last worker has ended: nothing needs the pump any more.
  void all_gone();

 private:
  explicit PoolCore(PoolOptions options);
  ~PoolCore() override;
  void hand_over(Ref<TaskRecord> task);
  void encode_initializer();
  void add_slots(std::size_t count);
  void start();

  const PoolOptions options_;  // complete: name and start method are those that count
  Arena task_arena_;
  FileDescriptor page_file_;  // one page shared with all workers: the bell
  Mapping page_;
  FileDescriptor eventfd_;  // rings the pump
  std::mutex resize_mutex_;
  std::vector<std::unique_ptr<WorkerSlot>> slots_;  // has room for all that will be, so that its memory never moves
  std::atomic<std::size_t> num_slots_{0};
  std::atomic<std::size_t> num_workers_{0};
  std::vector<std::uint64_t> initializer_;  // an encoded Task; empty: none
  std::vector<SegmentRef> initializer_segments_;
  std::unique_ptr<Gate> gate_;  // null: no bounds
  std::unique_ptr<WaitingRoom> waiting_room_;
  ActorRef supervisor_;
  Pump::Id bell_watch_ = 0;
  const sigset_t signal_mask_;  // of the thread that made this
  const unsigned fork_depth_;   // of the process that made this
  std::mutex gone_mutex_;
  Ref<AllGone> gone_;  // guarded by gone_mutex_; refers back to this object until all workers have ended
  std::atomic<std::uint64_t> next_task_id_{1};
  std::atomic<std::int64_t> num_outstanding_{0};
  std::atomic<int> num_callbacks_{0};
  std::atomic<bool> forgets_callbacks_{false};
  std::atomic<bool> drain_told_{false};
  std::atomic<State> state_{State::running};
};

}  // namespace troupe::detail
