#pragma once

/// \file
/// How Pool's templates, which know types, meet its core, which does not.

#include <troupe/completion.hpp>
#include <troupe/store.hpp>
#include <troupe/wire_message.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace troupe::detail {

/// One task being encoded by the submitting thread. Thread: caller. Destroying it without `finish` leaves nothing.
class TaskBuilder {
 public:
  /// Errors: ValueError when the pool is not running.
  explicit TaskBuilder(PoolCore& core, SharedOptions* options = nullptr);

  MessageWriter& message() noexcept { return message_; }
  std::uint64_t id() const noexcept { return id_; }
  /// The record of what was written to `message`.
  Ref<TaskRecord> finish(Ref<TaskListener> listener = {});

 private:
  PoolCore& core_;
  SharedOptions* options_;
  WrittenHandles handles_;
  Scratch scratch_;
  MessageWriter message_;
  std::uint64_t id_ = 0;
};

/// Tells the pool that this thread is going to submit and wait, so that nobody else is woken for its results.
class PoolVisit {
 public:
  explicit PoolVisit(PoolCore& core);
  ~PoolVisit();
  PoolVisit(const PoolVisit&) = delete;
  PoolVisit& operator=(const PoolVisit&) = delete;

  /// Waits until a task of the visited pool has ended. Blocks.
  void wait(TaskRecord& task);

 private:
  PoolCore& core_;
};

/// Hands tasks to the supervisor; they run in this order as far as workers are free.
/// Thread: any. Blocks: while the pool has as much to do as its options allow, unless those say otherwise.
/// Errors: ValueError when the pool is not running; Full.
void submit(PoolCore& core, Ref<TaskRecord> task);
/// The same, waiting for room whatever the options say: for tasks of a sequence. Errors: ValueError.
void submit_when_room(PoolCore& core, Ref<TaskRecord> task);
/// The same, but gives the task up and returns false where submit would wait or throw Full.
bool try_submit(PoolCore& core, Ref<TaskRecord> task);
/// Hands over all tasks of a group; a group without tasks is ready at once. Errors: ValueError, and nothing is done
/// then.
void submit_group(PoolCore& core, TaskGroup& group, std::vector<Ref<TaskRecord>> tasks);
/// Throws ValueError unless the pool takes tasks.
void require_running(const PoolCore& core);

/// Errors: ValueError for 0, and for what was negative. Returns it.
std::size_t checked_chunksize(std::size_t chunksize);
/// How many chunks `size` items make; no chunksize is too large for that.
constexpr std::size_t num_chunks(std::size_t size, std::size_t chunksize) noexcept {
  return size / chunksize + (size % chunksize == 0 ? 0 : 1);
}
/// The chunksize, 1 or more, with which they make at most so many chunks.
constexpr std::size_t default_chunksize(std::size_t size, std::size_t most_chunks) noexcept {
  return std::max<std::size_t>(1, num_chunks(size, most_chunks));
}

/// Ends tasks that were not begun, with `force` also others. Returns whether any is ended by this.
bool cancel(TaskRecord& task, const CancelOptions& options);
bool cancel(TaskGroup& group, const CancelOptions& options);

/// How many workers the pool keeps.
std::size_t num_workers(const PoolCore& core) noexcept;

}  // namespace troupe::detail
