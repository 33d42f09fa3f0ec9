#pragma once

/// \file
/// Threads that serve the whole process: one of each kind, made on first use, gone in forked children.

#include <troupe/error.hpp>

#include <csignal>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

namespace troupe {

/// Starts a thread that no signal handler of the user ever runs on. Errors: OSError naming `purpose`.
template <class Run>
std::thread start_service_thread(const char* purpose, Run run) {
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    std::thread thread{std::move(run)};
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return thread;
  } catch (const std::system_error& error) {
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw OSError(error.code().value(), std::string("starting the thread of ") + purpose);
  }
}

/// Holds the one `Service` (which owns a thread) of this process. Thread: any.
template <class Service>
class ProcessThread {
 public:
  template <class Make>
  Service& get(Make make) {
    const std::lock_guard lock{*mutex_};
    if (service_ == nullptr) service_ = make();
    return *service_;
  }
  /// Ends and deletes the service if there is one; a later `get` makes a new one.
  template <class Delete>
  void end(Delete end) {
    Service* service = nullptr;
    {
      const std::lock_guard lock{*mutex_};
      service = std::exchange(service_, nullptr);
    }
    if (service != nullptr) end(service);
  }
  /// For children that were forked: the thread did not come along, and a lock may have been held by one that did not.
  /// What the service held is given up, not destroyed.
  void forget() {
    mutex_ = new std::mutex;
    service_ = nullptr;
  }

 private:
  std::mutex* mutex_ = new std::mutex;  // never destroyed: threads may outlive static objects
  Service* service_ = nullptr;
};

}  // namespace troupe
