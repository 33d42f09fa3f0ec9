#pragma once

// Limits of this process that tests lower for a while.

#include <sys/resource.h>
#include <unistd.h>

namespace troupe::test {

/// While it lives, descriptors have numbers below `limit`.
class LimitedFiles {
 public:
  explicit LimitedFiles(rlim_t limit) {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    const rlimit low{limit, before_.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &low);
  }
  ~LimitedFiles() { ::setrlimit(RLIMIT_NOFILE, &before_); }
  LimitedFiles(const LimitedFiles&) = delete;
  LimitedFiles& operator=(const LimitedFiles&) = delete;

 private:
  rlimit before_{};
};

/// The number that the next descriptor gets.
inline rlim_t first_free_descriptor() {
  const int number = ::dup(STDERR_FILENO);
  ::close(number);
  return static_cast<rlim_t>(number);
}

}  // namespace troupe::test
