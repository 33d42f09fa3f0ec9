#include "message_arena.hpp"

#include <troupe/runtime.hpp>

#include <atomic>
#include <memory>
#include <mutex>
#include <new>

namespace troupe::detail {

namespace {

struct Made {
  std::mutex mutex;
  std::atomic<MessageArena*> arena{nullptr};  // made with mutex
};

Made& made();

// A forked process must not give out what its parent gives out, nor wait for a lock that a thread of its parent had.
void forget_parent() {
  new (&made().mutex) std::mutex;
  made().arena = nullptr;
}

Made& made() {
  static auto* one = [] {
    at_child_start(forget_parent);
    return new Made;  // never destroyed: queues may be static objects
  }();
  return *one;
}

}  // namespace

MessageArena& MessageArena::instance() {
  if (auto* arena = made().arena.load()) return *arena;
  const std::lock_guard lock{made().mutex};
  if (made().arena.load() == nullptr) made().arena = std::make_unique<MessageArena>(new_ticket()).release();
  return *made().arena.load();
}

void MessageArena::share() {
  if (is_shared_) return;
  const int file = arena.file();
  store::hold(ticket, {&file, 1});
  is_shared_ = true;
}

}  // namespace troupe::detail
