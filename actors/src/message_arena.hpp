#pragma once

/// \file
/// Where this process puts the large parts of what it puts into queues.

#include <troupe/arena.hpp>
#include <troupe/store.hpp>

#include <atomic>

namespace troupe::detail {

/// The arena of this process, and its ticket. It stays as long as the process.
struct MessageArena {
  explicit MessageArena(Ticket its_ticket) : ticket(its_ticket) {}

  Arena arena{"troupe-messages"};
  Ticket ticket;

  /// Thread: any. Errors: OSError without memory.
  static MessageArena& instance();
  /// Has the store keep the arena, for who gets a block of it. Thread: any. Blocks: no.
  /// Errors: AssertionError without a Runtime, OSError without a nursery.
  void share();

 private:
  std::atomic<bool> is_shared_{false};
};

}  // namespace troupe::detail
