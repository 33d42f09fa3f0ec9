#pragma once

/// \file
/// Threads that serve the whole process: one of each kind, made on first use, gone in forked children.

#include <troupe/error.hpp>

#include "self.hpp"

#include <csignal>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

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

/// Holds the one `Service` (which owns a thread) of this process. What has ended stays in memory: other threads may
/// still hold on to it, and after the end of the Runtime it is what `get` returns. Thread: any.
template <class Service>
class ProcessThread {
 public:
  template <class Make>
  Service& get(Make make) {
    const std::lock_guard lock{*mutex_};
    if (service_ != nullptr) return *service_;
    if (find_self() == nullptr && !ended_->empty()) return *ended_->back();
    service_ = make();
    return *service_;
  }
  /// Has `stop` end the service if there is one; a later `get` makes a new one.
  template <class Stop>
  void end(Stop stop) {
    Service* service = nullptr;
    {
      const std::lock_guard lock{*mutex_};
      service = std::exchange(service_, nullptr);
      if (service != nullptr) ended_->push_back(service);
    }
    if (service != nullptr) stop(*service);
  }
  /// For children that were forked: the thread did not come along, and a lock may have been held by one that did not.
  /// The service itself is left alone; `give_up` closes what the child has no use for.
  template <class GiveUp>
  void forget(GiveUp give_up) {
    mutex_ = new std::mutex;
    if (Service* service = std::exchange(service_, nullptr)) give_up(*service);
  }

 private:
  // Never destroyed: threads may outlive static objects.
  std::mutex* mutex_ = new std::mutex;
  Service* service_ = nullptr;
  std::vector<Service*>* ended_ = new std::vector<Service*>;
};

}  // namespace troupe
