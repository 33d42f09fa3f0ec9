#pragma once

/// \file
/// Keeps a pool's pending tasks within the bounds of its options.

#include <troupe/completion.hpp>
#include <troupe/pool_options.hpp>

#include <cstddef>
#include <mutex>

namespace troupe::detail {

/// Thread: any.
class Gate {
 public:
  explicit Gate(PoolCore& core);

  /// Counts `task` in. Blocks: until there is room, if the options say so. Errors: Full; ValueError when the pool ends.
  void enter(TaskRecord& task);
  /// The same; waits whatever the options say.
  void wait_and_enter(TaskRecord& task);
  /// The same; false if there is no room now.
  bool try_enter(TaskRecord& task);
  /// Counts a task out that has ended.
  void leave(std::size_t bytes) noexcept;

 private:
  /// Ready when there may be room again.
  class Room final : public Completion {
   public:
    using Completion::Completion;
    void open() { complete(); }
  };

  PoolCore& core_;
  const PoolOptions& options_;

  std::mutex mutex_;
  // Guarded by mutex_:
  std::size_t tasks_ = 0;
  std::size_t bytes_ = 0;
  Ref<Room> room_;  // while somebody waits for room
};

}  // namespace troupe::detail
