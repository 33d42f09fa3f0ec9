#include <troupe/error.hpp>
#include <troupe/file_descriptor.hpp>
#include <troupe/pump.hpp>
#include <troupe/runtime.hpp>

#include "process_thread.hpp"

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
  const auto left = std::max(when - std::chrono::steady_clock::now(), std::chrono::steady_clock::duration::zero());
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
  return {.tv_sec = seconds.count(), .tv_nsec = std::chrono::nanoseconds(left - seconds).count()};
}

}  // namespace

struct Pump::Loop {
  struct Watch {
    int descriptor;
    Callback callback;
  };

  FileDescriptor epoll{::epoll_create1(EPOLL_CLOEXEC)};
  FileDescriptor wakeup{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};

  std::mutex mutex;
  std::condition_variable callback_done;
  // Guarded by mutex:
  std::unordered_map<Id, std::shared_ptr<Watch>> watches;
  std::multimap<Deadline, std::pair<Id, Callback>> timers;
  std::deque<Callback> work;
  Id next_id = 1;
  Id running = 0;
  bool stopping = false;

  std::thread thread;

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
      const int count =
          ::epoll_pwait2(epoll.get(), events.data(), events.size(), next ? &timeout : nullptr, nullptr);
      for (int i = 0; i < count; ++i) run_watch(events[static_cast<std::size_t>(i)].data.u64);
      run_timers();
      run_work();
    }
  }

  // Runs `callback` without the lock, marked as running, so that cancel can wait for its end.
  void run_marked(std::unique_lock<std::mutex>& lock, Id id, const Callback& callback) {
    running = id;
    lock.unlock();
    callback();
    lock.lock();
    running = 0;
    callback_done.notify_all();
  }

  void run_watch(Id id) {
    if (id == 0) {
      std::uint64_t count = 0;
      [[maybe_unused]] const auto size = ::read(wakeup.get(), &count, sizeof count);
      return;
    }
    std::unique_lock lock{mutex};
    const auto found = watches.find(id);
    if (found == watches.end()) return;
    const std::shared_ptr<Watch> watch = found->second;
    run_marked(lock, id, watch->callback);
  }

  void run_timers() {
    std::unique_lock lock{mutex};
    while (!stopping && !timers.empty() && timers.begin()->first <= std::chrono::steady_clock::now()) {
      auto [id, callback] = std::move(timers.begin()->second);
      timers.erase(timers.begin());
      run_marked(lock, id, callback);
    }
  }

  void run_work() {
    std::unique_lock lock{mutex};
    for (std::size_t left = work.size(); left > 0 && !stopping; --left) {
      const Callback callback = std::move(work.front());
      work.pop_front();
      run_marked(lock, 0, callback);
    }
  }

  void stop() {
    {
      const std::lock_guard lock{mutex};
      stopping = true;
    }
    wake();
    if (thread.joinable()) thread.join();
  }
};

Pump::Pump() : loop_(new Loop) {
  if (!loop_->epoll || !loop_->wakeup) throw OSError(errno, "making the event loop of this process");
  loop_->add_to_epoll(loop_->wakeup.get(), 0);
  loop_->thread = start_service_thread("the event loop", [loop = loop_] { loop->run(); });
}

Pump::~Pump() {
  loop_->stop();
  delete loop_;
}

namespace {

ProcessThread<Pump>& pump_holder() {
  static ProcessThread<Pump> holder;
  return holder;
}

}  // namespace

Pump& Pump::instance() {
  return pump_holder().get([] {
    detail::at_child_start([] { pump_holder().forget(); });
    detail::at_runtime_end(&Pump::stop);
    return new Pump;
  });
}

void Pump::stop() {
  pump_holder().end([](Pump* pump) { delete pump; });
}

bool Pump::is_pump_thread() const noexcept { return loop_->thread.get_id() == std::this_thread::get_id(); }

Pump::Id Pump::watch(int descriptor, Callback callback) {
  const std::lock_guard lock{loop_->mutex};
  const Id id = loop_->next_id++;
  loop_->add_to_epoll(descriptor, id);
  loop_->watches.emplace(id, std::make_shared<Loop::Watch>(Loop::Watch{descriptor, std::move(callback)}));
  return id;
}

Pump::Id Pump::call_at(Deadline when, Callback callback) {
  const std::lock_guard lock{loop_->mutex};
  const Id id = loop_->next_id++;
  const auto place = loop_->timers.emplace(when, std::pair{id, std::move(callback)});
  if (place == loop_->timers.begin() && !is_pump_thread()) loop_->wake();
  return id;
}

void Pump::run_soon(Callback callback) {
  const std::lock_guard lock{loop_->mutex};
  loop_->work.push_back(std::move(callback));
  if (!is_pump_thread()) loop_->wake();
}

void Pump::cancel(Id id) {
  std::unique_lock lock{loop_->mutex};
  if (const auto watch = loop_->watches.find(id); watch != loop_->watches.end()) {
    ::epoll_ctl(loop_->epoll.get(), EPOLL_CTL_DEL, watch->second->descriptor, nullptr);
    loop_->watches.erase(watch);
  }
  std::erase_if(loop_->timers, [id](const auto& timer) { return timer.second.first == id; });
  if (!is_pump_thread()) loop_->callback_done.wait(lock, [&] { return loop_->running != id; });
}

}  // namespace troupe
