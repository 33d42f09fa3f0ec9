#pragma once

/// \file
/// The queues that this process has open: handles to one queue share one QueueMemory.

#include "queue_memory.hpp"

#include <map>
#include <memory>
#include <mutex>

namespace troupe::detail {

/// Thread: any.
class OpenQueues {
 public:
  static OpenQueues& of_this_process();

  /// The queue whose memory has that ticket; what `open()` returns if it is not open yet. Blocks: while that runs.
  template <class Open>
  std::shared_ptr<QueueMemory> find(Ticket ticket, Open open) {
    const std::lock_guard lock{mutex_};
    std::weak_ptr<QueueMemory>& place = all_[ticket];
    auto queue = place.lock();
    if (!queue) place = queue = open();
    return queue;
  }
  /// Its last handle has gone; it may be open again already.
  void forget(Ticket ticket);

 private:
  static void forget_threads_of_parent();

  std::mutex mutex_;
  std::map<Ticket, std::weak_ptr<QueueMemory>> all_;  // guarded by mutex_
};

}  // namespace troupe::detail
