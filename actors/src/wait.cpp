#include <troupe/error.hpp>
#include <troupe/wait.hpp>

#include "sockets.hpp"

#include <algorithm>
#include <cerrno>
#include <poll.h>

namespace troupe {

/// The objects of one wait.
class WaitSet {
 public:
  explicit WaitSet(std::span<const Waitable> objects) : objects_(objects), events_(objects.size()) {
    for (std::size_t i = 0; i < objects.size(); ++i) {
      if (objects[i].hooks_ == nullptr && objects[i].descriptor_ < 0)
        throw OSError(EBADF, "waiting for an empty descriptor");
      events_[i] = {.fd = objects[i].descriptor_, .events = POLLIN, .revents = 0};
    }
  }
  ~WaitSet() { end(); }
  WaitSet(const WaitSet&) = delete;
  WaitSet& operator=(const WaitSet&) = delete;

  bool has_hooks() const {
    return std::ranges::any_of(objects_, [](const Waitable& object) { return object.hooks_ != nullptr; });
  }
  /// Whether one is ready as far as they can tell at once.
  bool look() const {
    return std::ranges::any_of(objects_, [](const Waitable& object) {
      return object.hooks_ != nullptr && object.hooks_->has_data(object.source());
    });
  }
  /// Has descriptors become readable when something comes. False: something is there already.
  [[nodiscard]] bool begin() {
    bool is_nothing_there = true;
    for (; num_begun_ < objects_.size(); ++num_begun_) {
      const Waitable& object = objects_[num_begun_];
      if (object.hooks_ == nullptr) continue;
      events_[num_begun_].fd = object.hooks_->begin_wait(object.source());
      is_nothing_there = is_nothing_there && events_[num_begun_].fd >= 0;
    }
    return is_nothing_there && !look();
  }
  void end() noexcept {
    for (; num_begun_ > 0; --num_begun_) {
      const Waitable& object = objects_[num_begun_ - 1];
      if (object.hooks_ != nullptr) object.hooks_->end_wait(object.source(), events_[num_begun_ - 1].fd);
    }
  }
  /// Sleeps until there is an event, or `deadline`. Returns whether there was.
  bool sleep(Deadline deadline) {
    const int count = poll_until(events_, deadline);
    if (count < 0 && errno != EINTR) throw OSError(errno, "waiting for several objects");
    if (count < 0)
      for (pollfd& event : events_) event.revents = 0;
    return count > 0;
  }
  /// Those that are ready, after sleep.
  std::vector<std::size_t> ready() const {
    std::vector<std::size_t> places;
    for (std::size_t i = 0; i < objects_.size(); ++i) {
      const Waitable& object = objects_[i];
      if ((events_[i].revents & POLLNVAL) != 0) throw OSError(EBADF, "waiting for a descriptor that is not open");
      const bool is_ready = object.hooks_ == nullptr
                                ? events_[i].revents != 0
                                : object.hooks_->has_data(object.source()) ||
                                      (events_[i].revents != 0 && object.hooks_->poll(object.source()));
      if (is_ready) places.push_back(i);
    }
    return places;
  }

 private:
  std::span<const Waitable> objects_;
  std::vector<pollfd> events_;
  std::size_t num_begun_ = 0;
};

std::vector<std::size_t> wait_until(std::span<const Waitable> objects, Deadline deadline) {
  if (objects.empty()) {
    // Nothing can become ready; without a deadline that would be a wait without end and without sense.
    if (deadline != no_deadline) poll_until({}, deadline);
    return {};
  }
  thread_local SpinWait spin;
  WaitSet set{objects};
  const bool may_sleep = deadline > std::chrono::steady_clock::now();
  const bool seen = may_sleep && set.has_hooks() && spin([&] { return set.look(); });
  // Who is woken and finds nothing sleeps shortly for a while; lane.cpp says why.
  constexpr std::chrono::milliseconds longest_nap{512};
  std::chrono::milliseconds nap = longest_nap;
  for (;;) {
    const bool is_nothing_there = set.begin();
    const Deadline until = nap < longest_nap ? std::min(deadline, std::chrono::steady_clock::now() + nap) : deadline;
    const bool woken = set.sleep(is_nothing_there ? until : Deadline::min());
    set.end();
    auto ready = set.ready();
    if (!ready.empty()) {
      if (may_sleep && !seen && set.has_hooks()) spin.found_later();
      return ready;
    }
    if (is_over(deadline)) return {};
    nap = woken ? std::chrono::milliseconds{1} : std::min(2 * nap, longest_nap);
  }
}

std::vector<Waitable> wait(std::span<const Waitable> objects) {
  std::vector<Waitable> ready;
  for (const std::size_t place : wait_until(objects, no_deadline)) ready.push_back(objects[place]);
  return ready;
}

}  // namespace troupe
