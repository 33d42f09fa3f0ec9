#include "message_arena.hpp"

#include <troupe/error.hpp>
#include <troupe/runtime.hpp>

#include <atomic>
#include <cstddef>
#include <utility>

namespace troupe::detail {

namespace {

/// Views that stay although no item lies in them: the next one of the same producer will.
constexpr std::size_t max_idle_views = 16;

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

bool MessageArena::is_own(Ticket ticket) noexcept {
  const MessageArena* arena = made().arena.load();
  return arena != nullptr && arena->ticket == ticket;
}

MessageViews& MessageViews::instance() {
  static auto* all = [] {
    at_child_start([] { instance().forget_threads(); });
    return new MessageViews;  // never destroyed: queues may be static objects
  }();
  return *all;
}

std::shared_ptr<ArenaView> MessageViews::find(Ticket ticket) {
  const std::lock_guard lock{mutex_};
  auto known = known_.find(ticket);
  if (known == known_.end()) {
    close_oldest_idle();
    auto view = std::make_shared<ArenaView>(store::take_hold(ticket).at(0).get(), true);
    known = known_.emplace(ticket, Known{.view = std::move(view)}).first;
  }
  known->second.last_use = ++clock_;
  return known->second.view;
}

void MessageViews::close_oldest_idle() noexcept {
  std::size_t num_idle = 0;
  auto oldest = known_.end();
  for (auto entry = known_.begin(); entry != known_.end(); ++entry) {
    if (entry->second.view.use_count() > 1) continue;
    ++num_idle;
    if (oldest == known_.end() || entry->second.last_use < oldest->second.last_use) oldest = entry;
  }
  if (num_idle < max_idle_views) return;
  const Ticket ticket = oldest->first;
  known_.erase(oldest);
  if (MessageArena::is_own(ticket)) return;  // held as long as this process lives
  try {
    store::let_go(ticket);
  } catch (const Error&) {
    // Without a nursery nobody keeps the memory.
  }
}

}  // namespace troupe::detail
