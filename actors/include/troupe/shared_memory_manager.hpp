#pragma once

/// \file
/// Named shared memory that goes when a scope ends.
///
///     {
///       troupe::SharedMemoryManager manager;
///       manager.start();
///       auto list = manager.shareable_list({1, 2, 3});
///       pool.map(troupe::bind(double_item, list), std::views::iota(0, 3));
///     }   // the list is gone

#include <troupe/shareable_list.hpp>
#include <troupe/shared_memory.hpp>

#include <cstddef>
#include <initializer_list>
#include <mutex>
#include <span>
#include <vector>

namespace troupe {

/// Makes named shared memory and unlinks all of it at its own end; if this process is killed the nursery does. Unlike
/// multiprocessing's it needs no process. Thread: any.
class SharedMemoryManager {
 public:
  SharedMemoryManager() = default;
  /// As `shutdown`.
  ~SharedMemoryManager();
  SharedMemoryManager(const SharedMemoryManager&) = delete;
  SharedMemoryManager& operator=(const SharedMemoryManager&) = delete;

  /// From now on it can be asked for memory. Errors: ValueError if it was started before.
  void start();
  /// Unlinks everything that it has made. Others that have it open can go on with it. May be repeated.
  void shutdown() noexcept;

  /// Errors of both: ValueError unless it is started; as SharedMemory::create.
  SharedMemory shared_memory(std::ptrdiff_t bytes);
  ShareableList shareable_list(std::span<const ShareableItem> items);
  ShareableList shareable_list(std::initializer_list<ShareableItem> items) {
    return shareable_list(std::span<const ShareableItem>(items.begin(), items.size()));
  }

 private:
  enum class State { initial, started, shut_down };
  void check_started() const;

  std::mutex mutex_;
  // Guarded by mutex_:
  State state_ = State::initial;
  std::vector<SharedMemory> made_;
};

}  // namespace troupe
