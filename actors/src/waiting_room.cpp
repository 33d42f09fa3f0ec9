#include "waiting_room.hpp"

#include "pool_core.hpp"

#include <algorithm>
#include <climits>
#include <utility>

namespace troupe::detail {

namespace {

/// How long the pump leaves results alone while they keep coming: the second while others come for them.
constexpr auto shortest_linger_time = std::chrono::microseconds{100};
constexpr auto longest_linger_time = std::chrono::microseconds{800};

}  // namespace

WaitingRoom::WaitingRoom(PoolCore& core, Bell bell, Bell::Word* word)
    : core_(core), bell_(bell), word_(word), linger_time_(shortest_linger_time) {}

void WaitingRoom::enter() noexcept {
  num_inside_.fetch_add(1);
  pass_by();
}

void WaitingRoom::pass_by() noexcept {
  // A count that gets lost does not matter: that somebody was here shows all the same.
  num_visits_.store(num_visits_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

// Leaving and the pump's lingering decide by Dekker's rule who watches next: each side first gives up its own mark,
// then looks at the other's, in one total order; so at least one of them sees that it is up to it.

void WaitingRoom::leave() {
  if (num_inside_.fetch_sub(1) > 1) {
    const std::lock_guard lock{mutex_};
    if (leader_ == nullptr && !followers_.empty()) rouse(*followers_.front());
    return;
  }
  // Often the same thread comes back at once; arming the bell each time would cost every result a system call.
  if (core_.num_outstanding() > 0 && !pump_lingers_.exchange(true)) linger();
}

void WaitingRoom::wait(Completion& completion, Deadline deadline) {
  thread_local SpinWait spin;
  const auto progress = [&] {
    if (completion.ready()) return true;
    return core_.has_results() && core_.drain();
  };
  for (;;) {
    const bool in_time = !is_over(deadline);
    const bool found = in_time ? spin(progress) : progress();
    if (completion.ready() || (!in_time && !found)) return;
    if (found) continue;
    sleep(completion, deadline);
    spin.found_later();
  }
}

void WaitingRoom::sleep(Completion& completion, Deadline deadline) {
  std::unique_lock lock{mutex_};
  if ((completion.state_.fetch_or(Completion::waited_bit) & Completion::ready_bit) != 0) return;
  if (leader_ == nullptr) return sleep_as_leader(lock, completion, deadline);
  Sleeper self{&completion};
  const auto place = followers_.insert(followers_.end(), &self);
  lock.unlock();
  while (self.woken.load() == 0 && std::chrono::steady_clock::now() < deadline) futex_wait(&self.woken, 0, deadline);
  lock.lock();
  followers_.erase(place);
}

void WaitingRoom::sleep_as_leader(std::unique_lock<std::mutex>& lock, const Completion& completion,
                                  Deadline deadline) {
  leader_ = &completion;
  bell_.arm(Bell::Sleeper::thread);
  lock.unlock();
  if (!core_.has_results() && !completion.ready()) bell_.sleep(deadline);
  lock.lock();
  leader_ = nullptr;
  bell_.disarm();
}

void WaitingRoom::wake(Completion& completion) noexcept {
  const std::lock_guard lock{mutex_};
  for (Sleeper* sleeper : followers_)
    if (sleeper->completion == &completion) rouse(*sleeper);
  if (leader_ == &completion) {
    bell_.disarm();
    futex_wake(word_, INT_MAX);
  }
}

// With the lock held, so that the sleeper, which needs it to leave, still exists.
void WaitingRoom::rouse(Sleeper& sleeper) noexcept {
  sleeper.woken.store(1);
  futex_wake(&sleeper.woken, 1);
}

bool WaitingRoom::arm_pump() {
  const std::lock_guard lock{mutex_};
  if (leader_ != nullptr || num_inside_.load() > 0) return false;
  bell_.arm(Bell::Sleeper::event_loop);
  return true;
}

void WaitingRoom::ensure_watched() {
  if (num_inside_.load() > 0 || pump_lingers_.load() || !bell_.is_disarmed()) return;
  if (arm_pump() && core_.has_results()) core_.drain();
}

void WaitingRoom::linger() {
  Pump::instance().call_at(std::chrono::steady_clock::now() + linger_time_,
                           [core = Ref<PoolCore>::share(&core_)] { core->waiting_room().end_linger(); });
}

// While others come and go it is enough to see now and then that they still do: each look takes a processor from them.
void WaitingRoom::end_linger() {
  const std::uint32_t num_visits = num_visits_.load(std::memory_order_relaxed);
  if (std::exchange(num_visits_seen_, num_visits) != num_visits) {
    linger_time_ = std::min(2 * linger_time_, std::chrono::nanoseconds{longest_linger_time});
    if (num_inside_.load() == 0 && core_.has_results()) core_.drain();
    return linger();
  }
  linger_time_ = shortest_linger_time;
  pump_lingers_.store(false);
  serve_from_pump();
}

void WaitingRoom::serve_from_pump() {
  if (pump_lingers_.load() || num_inside_.load() > 0) return;
  if (core_.has_results()) {
    core_.drain();
    if (core_.num_outstanding() == 0) return;
  } else if (core_.num_outstanding() == 0 || !arm_pump() || !core_.has_results()) {
    return;
  }
  if (!pump_lingers_.exchange(true)) linger();
}

}  // namespace troupe::detail
