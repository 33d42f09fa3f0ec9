#include "thread_pool_core.hpp"

#include <troupe/error.hpp>
#include <troupe/failure.hpp>
#include <troupe/log.hpp>

#include <pthread.h>
#include <system_error>
#include <utility>

namespace troupe::detail {

void CallbackQueue::start(const std::string& name, Ref<ThreadPoolCore> keep) {
  const std::lock_guard lock{mutex_};
  if (has_started_ || stopping_) return;
  try {
    thread_ = std::thread([this, keep = std::move(keep)] { run(); });
  } catch (const std::system_error& error) {
    throw OSError(error.code().value(), "start the callback thread of " + name);
  }
  has_started_ = true;
}

bool CallbackQueue::post(std::function<void()> callback) {
  {
    const std::lock_guard lock{mutex_};
    if (!has_started_ || stopping_) return false;
    queue_.push_back(std::move(callback));
  }
  changed_.notify_all();
  return true;
}

void CallbackQueue::stop() {
  {
    const std::lock_guard lock{mutex_};
    stopping_ = true;
  }
  changed_.notify_all();
}

bool CallbackQueue::join(Deadline deadline) {
  std::unique_lock lock{mutex_};
  const auto has_ended = [&] { return !has_started_ || has_ended_; };
  if (deadline == no_deadline)
    changed_.wait(lock, has_ended);
  else if (!changed_.wait_until(lock, deadline, has_ended))
    return false;
  std::thread thread = std::move(thread_);
  lock.unlock();
  if (thread.joinable()) thread.join();
  return true;
}

void CallbackQueue::abandon() {
  const std::lock_guard lock{mutex_};
  if (thread_.joinable()) thread_.detach();
}

void CallbackQueue::run() {
  id_ = std::this_thread::get_id();
  ::pthread_setname_np(::pthread_self(), "callbacks");
  std::unique_lock lock{mutex_};
  for (;;) {
    changed_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) break;
    const std::function<void()> callback = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    try {
      callback();
    } catch (...) {
      get_logger().error("a callback threw {}", describe_exception(std::current_exception()));
    }
    lock.lock();
  }
  has_ended_ = true;
  changed_.notify_all();
}

}  // namespace troupe::detail
