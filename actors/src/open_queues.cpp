#include "open_queues.hpp"

#include <troupe/runtime.hpp>

#include <new>

namespace troupe::detail {

OpenQueues& OpenQueues::of_this_process() {
  static auto* open = [] {
    at_child_start(forget_threads_of_parent);
    return new OpenQueues;  // never destroyed: queues may be static objects
  }();
  return *open;
}

// A forked process must not wait for locks that threads of its parent had.
void OpenQueues::forget_threads_of_parent() {
  OpenQueues& open = of_this_process();
  new (&open.mutex_) std::mutex;
  for (const auto& [ticket, weak] : open.all_)
    if (const auto queue = weak.lock()) queue->forget_threads();
}

void OpenQueues::forget(Ticket ticket) {
  const std::lock_guard lock{mutex_};
  if (const auto place = all_.find(ticket); place != all_.end() && place->second.expired()) all_.erase(place);
}

}  // namespace troupe::detail
