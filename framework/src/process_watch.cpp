#include "process_watch.hpp"

#include <troupe/error.hpp>

#include "descriptors.hpp"

#include <cerrno>
#include <poll.h>
#include <sys/epoll.h>
#include <utility>

namespace troupe {

void ProcessWatch::watch(pid_t pid) {
  if (!pids_.insert(pid).second) return;
  FileDescriptor pidfd{open_pidfd(pid)};
  if (!pidfd && errno == ESRCH) return tell(pid);
  if (!pidfd) {
    unwatched_.push_back(pid);
    return;
  }
  const int number = pidfd.get();
  epoll_event event{.events = EPOLLIN, .data = {.fd = number}};
  if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, number, &event) != 0) throw OSError(errno, "watching a process");
  watched_.emplace(number, Watched{.pid = pid, .pidfd = std::move(pidfd)});
}

void ProcessWatch::serve(int number) {
  const auto found = watched_.find(number);
  if (found == watched_.end()) return;
  // What was closed and had this number before may be what the event is of.
  pollfd end{.fd = number, .events = POLLIN, .revents = 0};
  if (::poll(&end, 1, 0) <= 0) return;
  ::epoll_ctl(epoll_, EPOLL_CTL_DEL, number, nullptr);
  const Watched ended = std::move(watched_.extract(found).mapped());
  tell(ended.pid);
}

void ProcessWatch::look_again() {
  for (const pid_t pid : std::exchange(unwatched_, {})) {
    pids_.erase(pid);
    watch(pid);
  }
}

void ProcessWatch::tell(pid_t pid) {
  pids_.erase(pid);
  ended_(pid);
}

}  // namespace troupe
