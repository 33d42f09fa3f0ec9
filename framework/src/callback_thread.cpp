#include <troupe/error.hpp>
#include <troupe/pump.hpp>
#include <troupe/runtime.hpp>

#include "process_thread.hpp"

#include <condition_variable>
#include <cstdio>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <sys/prctl.h>
#include <thread>

namespace troupe {

namespace {

thread_local bool is_callback_thread = false;

class Callbacks {
 public:
  Callbacks() {
    thread_ = start_service_thread("callbacks", [this] { run(); });
    thread_id_ = thread_.get_id();
  }
  ~Callbacks() { stop(); }

  void stop() {
    {
      const std::lock_guard lock{mutex_};
      stopping_ = true;
    }
    changed_.notify_one();
    if (thread_id_ != std::this_thread::get_id()) thread_.join();
  }

  void post(std::function<void()> callback) {
    {
      const std::lock_guard lock{mutex_};
      if (ended_) return;
      queue_.push_back(std::move(callback));
    }
    changed_.notify_one();
  }

 private:
  void run() {
    ::prctl(PR_SET_NAME, "troupe-callback");
    is_callback_thread = true;
    std::unique_lock lock{mutex_};
    for (;;) {
      changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      ended_ = queue_.empty();
      if (ended_) return;
      auto callback = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      run_one(callback);
      callback = nullptr;  // without the lock: what it owns may post when that ends
      lock.lock();
    }
  }

  static void run_one(const std::function<void()>& callback) noexcept {
    try {
      callback();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "troupe: a callback threw: %s\n", error.what());
    } catch (...) {
      std::fprintf(stderr, "troupe: a callback threw something that is not an exception\n");
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> queue_;
  bool stopping_ = false;
  bool ended_ = false;  // nothing is run any more
  std::thread thread_;
  std::thread::id thread_id_;
};

ProcessThread<Callbacks>& callbacks() {
  static ProcessThread<Callbacks> holder;
  return holder;
}
// Before main: the copy of a process in which another thread just makes it would wait for that thread for ever.
const bool made = (callbacks(), true);

Callbacks& instance() {
  return callbacks().get([] {
    detail::require_runtime();
    auto service = std::make_unique<Callbacks>();
    detail::at_child_start([] {
      is_callback_thread = false;
      callbacks().forget([](Callbacks&) {});
    });
    detail::at_runtime_end(&CallbackThread::stop);
    return service.release();
  });
}

}  // namespace

void CallbackThread::start() { instance(); }

void CallbackThread::post(std::function<void()> callback) { instance().post(std::move(callback)); }

bool CallbackThread::is_current() noexcept { return is_callback_thread; }

void CallbackThread::stop() {
  callbacks().end([](Callbacks& service) { service.stop(); });
}

}  // namespace troupe
