#include "waiting_room.hpp"

#include <climits>

namespace troupe::detail {

// Leaving and the pump's lingering decide by Dekker's rule who watches next: each side first gives up its own mark, then
// looks at the other's, in one total order; so at least one of them sees that it is up to it.

void WaitingRoom::leave() {
  if (num_inside_.fetch_sub(1) > 1) {
    const std::lock_guard lock{mutex_};
    if (leader_ == nullptr && !followers_.empty()) rouse(*followers_.front());
    return;
  }
  // Often the same thread comes back at once; arming the bell each time would cost every result a system call.
  if (hooks_.has_outstanding() && !pump_lingers_.exchange(true)) hooks_.linger();
}

void WaitingRoom::wait(Completion& completion, Deadline deadline) {
  thread_local SpinWait spin;
  const auto progress = [&] {
    if (completion.ready()) return true;
    if (!hooks_.has_results()) return false;
    hooks_.drain();
    return true;
  };
  for (;;) {
    const bool in_time = std::chrono::steady_clock::now() < deadline;
    const bool found = in_time ? spin(progress) : progress();
    if (completion.ready() || (!in_time && !found)) return;
    if (!found) sleep(completion, deadline);
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
  if (!hooks_.has_results() && !completion.ready()) bell_.sleep(deadline);
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
  if (arm_pump() && hooks_.has_results()) hooks_.drain();
}

void WaitingRoom::serve_from_pump() {
  pump_lingers_.store(false);
  if (num_inside_.load() > 0) return;
  if (hooks_.has_results()) {
    hooks_.drain();
    if (!hooks_.has_outstanding()) return;
    pump_lingers_.store(true);
    return hooks_.linger();
  }
  if (hooks_.has_outstanding() && arm_pump() && hooks_.has_results()) {
    pump_lingers_.store(true);
    hooks_.linger();
  }
}

}  // namespace troupe::detail
