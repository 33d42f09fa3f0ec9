#pragma once

// Who was killed, and who was reported dead.

#include <troupe/error.hpp>

#include "verdict.hpp"

#include <atomic>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <sys/types.h>
#include <vector>

namespace troupe::test {

/// Checks that every worker that died was killed here, and has cost one task at most. Thread: any.
class Deaths {
 public:
  bool kill(pid_t pid) {
    {
      const std::lock_guard lock{mutex_};
      ++killed_.at(static_cast<std::size_t>(pid));  // first: the report may be faster than this thread
    }
    if (::kill(pid, SIGKILL) == 0) {
      ++num_kills_;
      return true;
    }
    const std::lock_guard lock{mutex_};
    --killed_.at(static_cast<std::size_t>(pid));
    return false;
  }

  void report(const WorkerDied& error) {
    require(error.exitcode() == -SIGKILL && error.attempts() == 1, std::string("a strange end: ") + error.what());
    const auto pid = static_cast<std::size_t>(error.pid());
    const std::lock_guard lock{mutex_};
    require(killed_.at(pid) > 0, std::string("nobody killed this worker: ") + error.what());
    require(++reported_.at(pid) <= killed_.at(pid), std::string("one death cost two tasks: ") + error.what());
    ++num_reported_;
  }

  std::uint64_t num_kills() const { return num_kills_; }
  std::uint64_t num_reported() const { return num_reported_; }

 private:
  static constexpr std::size_t most_pids = std::size_t{1} << 22U;  // the kernel's PID_MAX_LIMIT
  std::mutex mutex_;
  std::vector<std::uint16_t> killed_ = std::vector<std::uint16_t>(most_pids);
  std::vector<std::uint16_t> reported_ = std::vector<std::uint16_t>(most_pids);
  std::atomic<std::uint64_t> num_kills_{0};
  std::atomic<std::uint64_t> num_reported_{0};
};

}  // namespace troupe::test
