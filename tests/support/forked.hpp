#pragma once

/// \file
/// Processes that tests fork by hand, to try what lies below troupe's own processes: rings, bells, arenas.

#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <exception>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace troupe::test {

#if defined(__has_feature)
#define TROUPE_TEST_FEATURE(name) __has_feature(name)
#else
#define TROUPE_TEST_FEATURE(name) 0
#endif
#if defined(__SANITIZE_THREAD__) || TROUPE_TEST_FEATURE(thread_sanitizer)
/// ThreadSanitizer cannot follow threads that a process starts after it was forked from one with threads.
inline constexpr bool thread_sanitized = true;
#else
inline constexpr bool thread_sanitized = false;
#endif
#if defined(__SANITIZE_ADDRESS__) || TROUPE_TEST_FEATURE(address_sanitizer)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = thread_sanitized;
#endif
#undef TROUPE_TEST_FEATURE

/// `count`, or a tenth of it where a sanitizer makes everything slow.
constexpr int rounds(int count) { return sanitized ? count / 10 : count; }

/// Keeps the processor busy for about `steps` nanoseconds, so that two processes meet in ever other places.
inline void busy_pause(unsigned long steps) {
  for (unsigned long i = 0; i < steps; ++i) std::atomic_signal_fence(std::memory_order_seq_cst);
}

/// A process forked from the test. Killed and reaped at the latest when this goes out of scope.
class Forked {
 public:
  /// Runs `body` in a new process. The exit status is 1 if an expectation failed or something was thrown over there.
  template <class Body>
  explicit Forked(Body body) : Forked(std::move(body), [] {}) {}

  Forked(const Forked&) = delete;
  Forked& operator=(const Forked&) = delete;
  ~Forked() {
    if (pid_ <= 0) return;
    kill(SIGKILL);
    static_cast<void>(wait());
  }

  pid_t pid() const { return pid_; }
  void kill(int signal_number) const { ::kill(pid_, signal_number); }
  /// Waits for the end: the exit status, or minus the signal number.
  int wait() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 protected:
  template <class Body, class Before>
  Forked(Body body, Before before) {
    std::fflush(nullptr);
    pid_ = ::fork();
    if (pid_ != 0) return;
    before();
    int status = 1;
    try {
      body();
      status = testing::Test::HasFailure() ? 1 : 0;
    } catch (const std::exception& error) {
      std::fprintf(stderr, "forked by the test: %s\n", error.what());
    }
    std::fflush(nullptr);
    ::_exit(status);
  }

  pid_t pid_ = 0;
};

/// A forked process that executes one instruction at a time, so that a test can look at what it leaves, or kill it, in
/// every state there is. Where processes may not be traced, `is_traced` is false.
class Stepped : public Forked {
 public:
  template <class Body>
  explicit Stepped(Body body) : Forked(std::move(body), [] {
    if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(cannot_trace);
    ::raise(SIGSTOP);
  }) {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    traced_ = WIFSTOPPED(status);
    if (!traced_) pid_ = 0;
  }

  bool is_traced() const { return traced_; }
  /// Called in the process: what comes after is not worth looking at.
  static void end_of_steps() { ::raise(SIGSTOP); }
  /// Executes one instruction; false when the process has called end_of_steps or is at its end.
  bool step() {
    int status = 0;
    if (::ptrace(PTRACE_SINGLESTEP, pid_, nullptr, nullptr) != 0) return false;
    ::waitpid(pid_, &status, 0);
    if (WIFSTOPPED(status)) return WSTOPSIG(status) == SIGTRAP;
    pid_ = 0;
    return false;
  }
  /// Lets it run on as any process, and sends it the signal.
  void release(int signal_number) const { ::ptrace(PTRACE_DETACH, pid_, nullptr, signal_number); }
  /// Lets it run to its end: the exit status, or minus the signal number.
  int run_on() {
    for (int status = 0;;) {
      ::ptrace(PTRACE_CONT, pid_, nullptr, nullptr);
      ::waitpid(pid_, &status, 0);
      if (WIFSTOPPED(status)) continue;
      pid_ = 0;
      return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    }
  }

 private:
  static constexpr int cannot_trace = 77;
  bool traced_ = false;
};

/// Keeps this process and those that it forks on one processor: switching between them is then quick.
class OnOneProcessor {
 public:
  OnOneProcessor() {
    ::sched_getaffinity(0, sizeof before_, &before_);
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<unsigned>(::sched_getcpu()), &one);
    ::sched_setaffinity(0, sizeof one, &one);
  }
  OnOneProcessor(const OnOneProcessor&) = delete;
  OnOneProcessor& operator=(const OnOneProcessor&) = delete;
  ~OnOneProcessor() { ::sched_setaffinity(0, sizeof before_, &before_); }

 private:
  cpu_set_t before_{};
};

}  // namespace troupe::test
