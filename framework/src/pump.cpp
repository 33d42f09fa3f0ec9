#include <troupe/error.hpp>
#include <troupe/file_descriptor.hpp>
#include <troupe/pump.hpp>
#include <troupe/runtime.hpp>

#include "descriptors.hpp"
#include "process_thread.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <thread>
#include <unistd.h>
#include <unordered_map>

namespace troupe {

namespace {

timespec until(Deadline when) {
  const auto now = std::chrono::steady_clock::now();
  const auto left = std::max(when, now) - now;
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
  return {.tv_sec = seconds.count(), .tv_nsec = std::chrono::nanoseconds(left - seconds).count()};
}

}  // namespace

struct Pump::Loop {
  struct Watch {
    int descriptor;
    Callback callback;
  };

  FileDescriptor epoll = above_standard(FileDescriptor{::epoll_create1(EPOLL_CLOEXEC)});
  FileDescriptor wakeup = above_standard(FileDescriptor{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)});

  std::mutex mutex;
  std::condition_variable callback_done;
  // Guarded by mutex. A callback is destroyed without it, because what it owns may call us when that ends:
  std::unordered_map<Id, std::shared_ptr<Watch>> watches;
  std::multimap<Deadline, std::pair<Id, Callback>> timers;
  std::deque<Callback> work;
  Id next_id = 1;
  Id running = 0;
  bool stopping = false;

  std::thread thread;
  std::thread::id thread_id;

  void wake() const noexcept {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(wakeup.get(), &one, sizeof one);
  }

  void add_to_epoll(int descriptor, Id id) const {
    epoll_event event{.events = EPOLLIN, .data = {.u64 = id}};
    if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, descriptor, &event) != 0)
      throw OSError(errno, "watching descriptor " + std::to_string(descriptor));
  }

  void run() {
    ::prctl(PR_SET_NAME, "troupe-pump");
    ::prctl(PR_SET_TIMERSLACK, 1000UL);  // timers here are short; the default slack of 50 us would double them
    std::array<epoll_event, 64> events{};
    for (;;) {
      std::optional<Deadline> next;
      {
        const std::lock_guard lock{mutex};
        if (stopping) return;
        if (!timers.empty()) next = timers.begin()->first;
        if (!work.empty()) next = Deadline{};  // at once
      }
      const timespec timeout = next ? until(*next) : timespec{};
      const int count = ::epoll_pwait2(epoll.get(), events.data(), events.size(), next ? &timeout : nullptr, nullptr);
      for (int i = 0; i < count; ++i) run_watch(events[static_cast<std::size_t>(i)].data.u64);
      run_timers();
      run_work();
    }
  }

  // Runs `callback` and lets go of it without the lock, marked as running, so that cancel can wait for its end.
  template <class Held>
  void run_marked(std::unique_lock<std::mutex>& lock, Id id, Held held) {
    running = id;
    lock.unlock();
    run(held);
    held = nullptr;
    lock.lock();
    running = 0;
    callback_done.notify_all();
  }
  static void run(const Callback& callback) { callback(); }
  static void run(const std::shared_ptr<Watch>& watch) { watch->callback(); }

  void run_watch(Id id) {
    if (id == 0) {
      std::uint64_t count = 0;
      [[maybe_unused]] const auto size = ::read(wakeup.get(), &count, sizeof count);
      return;
    }
    std::unique_lock lock{mutex};
    const auto found = watches.find(id);
    if (found == watches.end()) return;
    run_marked(lock, id, found->second);
  }

  void run_timers() {
    std::unique_lock lock{mutex};
    while (!stopping && !timers.empty() && timers.begin()->first <= std::chrono::steady_clock::now()) {
      auto [id, callback] = std::move(timers.begin()->second);
      timers.erase(timers.begin());
      run_marked(lock, id, std::move(callback));
    }
  }

  void run_work() {
    std::unique_lock lock{mutex};
    for (std::size_t left = work.size(); left > 0 && !stopping; --left) {
      Callback callback = std::move(work.front());
      work.pop_front();
      run_marked(lock, 0, std::move(callback));
    }
  }

  // Ends the thread. Nothing runs any more, neither what is waiting nor what comes later.
  void stop() {
    decltype(watches) given_up_watches;
    decltype(timers) given_up_timers;
    decltype(work) given_up_work;
    {
      const std::lock_guard lock{mutex};
      stopping = true;
    }
    wake();
    if (thread.joinable()) thread.join();
    const std::lock_guard lock{mutex};
    given_up_watches.swap(watches);
    given_up_timers.swap(timers);
    given_up_work.swap(work);
    epoll.reset();
    wakeup.reset();
  }
};

Pump::Pump() : loop_(std::make_unique<Loop>()) {
  if (!loop_->epoll || !loop_->wakeup) throw OSError(errno, "making the event loop of this process");
  loop_->add_to_epoll(loop_->wakeup.get(), 0);
  loop_->thread = start_service_thread("the event loop", [loop = loop_.get()] { loop->run(); });
  loop_->thread_id = loop_->thread.get_id();
}

Pump::~Pump() { loop_->stop(); }

namespace {

ProcessThread<Pump>& pump_holder() {
  static ProcessThread<Pump> holder;
  return holder;
}
// Before main: the copy of a process in which another thread just makes it would wait for that thread for ever.
const bool made = (pump_holder(), true);

}  // namespace

Pump& Pump::instance() {
  return pump_holder().get([] {
    detail::require_runtime();
    std::unique_ptr<Pump> pump{new Pump};
    detail::at_child_start(&Pump::forget);
    detail::at_runtime_end(&Pump::stop);
    return pump.release();
  });
}

void Pump::stop() {
  pump_holder().end([](Pump& pump) { pump.loop_->stop(); });
}

void Pump::forget() {
  pump_holder().forget([](Pump& pump) {
    pump.loop_->epoll.reset();
    pump.loop_->wakeup.reset();
  });
}

bool Pump::is_pump_thread() const noexcept { return loop_->thread_id == std::this_thread::get_id(); }

Pump::Id Pump::watch(int descriptor, Callback callback) {
  const std::lock_guard lock{loop_->mutex};
  const Id id = loop_->next_id++;
  if (loop_->stopping) return id;
  loop_->add_to_epoll(descriptor, id);
  loop_->watches.emplace(id, std::make_shared<Loop::Watch>(Loop::Watch{descriptor, std::move(callback)}));
  return id;
}

Pump::Id Pump::call_at(Deadline when, Callback callback) {
  const std::lock_guard lock{loop_->mutex};
  const Id id = loop_->next_id++;
  if (loop_->stopping) return id;
  const auto place = loop_->timers.emplace(when, std::pair{id, std::move(callback)});
  if (place == loop_->timers.begin() && !is_pump_thread()) loop_->wake();
  return id;
}

void Pump::run_soon(Callback callback) {
  const std::lock_guard lock{loop_->mutex};
  if (loop_->stopping) return;
  loop_->work.push_back(std::move(callback));
  if (!is_pump_thread()) loop_->wake();
}

void Pump::cancel(Id id) {
  if (id == 0) return;
  std::shared_ptr<Loop::Watch> given_up_watch;
  Callback given_up_timer;
  std::unique_lock lock{loop_->mutex};
  if (const auto watch = loop_->watches.find(id); watch != loop_->watches.end()) {
    ::epoll_ctl(loop_->epoll.get(), EPOLL_CTL_DEL, watch->second->descriptor, nullptr);
    given_up_watch = std::move(watch->second);
    loop_->watches.erase(watch);
  }
  const auto id_of = [](const auto& entry) { return entry.second.first; };
  if (const auto timer = std::ranges::find(loop_->timers, id, id_of); timer != loop_->timers.end()) {
    given_up_timer = std::move(timer->second.second);
    loop_->timers.erase(timer);
  }
  if (!is_pump_thread()) loop_->callback_done.wait(lock, [&] { return loop_->running != id; });
}

}  // namespace troupe
