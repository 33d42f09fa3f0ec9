#pragma once

/// \file
/// Where this process puts the large parts of what it puts into queues, and where it finds those of others.

#include <troupe/arena.hpp>
#include <troupe/store.hpp>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <new>

namespace troupe::detail {

/// The arena of this process, and its ticket. It stays as long as the process.
struct MessageArena {
  explicit MessageArena(Ticket its_ticket) : ticket(its_ticket) {}

  Arena arena{"troupe-messages"};
  Ticket ticket;

  /// Thread: any. Errors: OSError without memory.
  static MessageArena& instance();
  /// Whether that is the arena of this process. Thread: any.
  static bool is_own(Ticket ticket) noexcept;
  /// Has the store keep the arena, for who gets a block of it. Thread: any. Blocks: no.
  /// Errors: AssertionError without a Runtime, OSError without a nursery.
  void share();

 private:
  std::atomic<bool> is_shared_{false};
};

/// The arenas of others, mapped here. Those that no item lies in any more are closed but for the last few, because
/// producers come and go, and each has an arena of its own. Thread: any.
class MessageViews {
 public:
  static MessageViews& instance();
  /// Errors: OSError when the arena is gone with its process.
  std::shared_ptr<ArenaView> find(Ticket ticket);
  /// In a process that was just forked: threads that held the mutex did not come along.
  void forget_threads() { new (&mutex_) std::mutex; }

 private:
  struct Known {
    std::shared_ptr<ArenaView> view;
    std::uint64_t last_use = 0;
  };
  void close_oldest_idle() noexcept;

  std::mutex mutex_;
  // Guarded by mutex_:
  std::map<Ticket, Known> known_;
  std::uint64_t clock_ = 0;
};

}  // namespace troupe::detail
