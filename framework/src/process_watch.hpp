#pragma once

/// \file
/// Processes whose end the nursery has to hear of, whoever their parent is.

#include <troupe/file_descriptor.hpp>

#include <functional>
#include <sys/types.h>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace troupe {

/// Watches processes through pidfds in an epoll that it is given. Thread: caller.
class ProcessWatch {
 public:
  /// `ended` is told of each end, once.
  ProcessWatch(int epoll, std::function<void(pid_t)> ended) : epoll_(epoll), ended_(std::move(ended)) {}

  /// From now on this process is watched, if it was not; one that has ended is told of at once.
  void watch(pid_t pid);
  /// What epoll said of this descriptor; nothing happens if it is none of these, or its process has not ended.
  void serve(int number);
  /// Whether all processes are watched. If not, there were too many files open: call look_again now and then.
  bool is_complete() const noexcept { return unwatched_.empty(); }
  void look_again();

 private:
  struct Watched {
    pid_t pid = 0;
    FileDescriptor pidfd;
  };
  void tell(pid_t pid);

  int epoll_;
  std::function<void(pid_t)> ended_;
  std::unordered_map<int, Watched> watched_;  // by number of the pidfd
  std::unordered_set<pid_t> pids_;
  std::vector<pid_t> unwatched_;
};

}  // namespace troupe
