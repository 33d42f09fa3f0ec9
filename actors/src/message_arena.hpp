#pragma once

/// \file
/// Where this process puts the large parts of what it puts into queues.

#include <troupe/arena.hpp>
#include <troupe/store.hpp>

namespace troupe::detail {

/// The arena of this process, and its ticket. It stays as long as the process.
struct MessageArena {
  explicit MessageArena(Ticket its_ticket) : ticket(its_ticket) {}

  Arena arena{"troupe-messages"};
  Ticket ticket;

  /// Thread: any. Errors: AssertionError without a Runtime, OSError without memory.
  static MessageArena& instance();
};

}  // namespace troupe::detail
