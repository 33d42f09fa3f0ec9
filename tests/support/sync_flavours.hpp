#pragma once

// The two flavours that the cases about locks and the like are run in: processes, and threads under the same names.

#include <troupe/dummy.hpp>
#include <troupe/error.hpp>
#include <troupe/process.hpp>
#include <troupe/queue.hpp>

#include "one_piece.hpp"
#include "processes.hpp"
#include "start_methods.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace troupe::test {

struct Processes {
  using Lock = troupe::Lock;
  using RLock = troupe::RLock;
  using Semaphore = troupe::Semaphore;
  using BoundedSemaphore = troupe::BoundedSemaphore;
  using Event = troupe::Event;
  using Condition = troupe::Condition;
  using Barrier = troupe::Barrier;
  template <class T>
  using Queue = troupe::Queue<T>;
  template <class T>
  using JoinableQueue = troupe::JoinableQueue<T>;
  using Process = troupe::Process;
  using TooManyReleases = ValueError;
  using NotHeld = AssertionError;
  using BadValue = OSError;
};

struct Threads {
  using Lock = dummy::Lock;
  using RLock = dummy::RLock;
  using Semaphore = dummy::Semaphore;
  using BoundedSemaphore = dummy::BoundedSemaphore;
  using Event = dummy::Event;
  using Condition = dummy::Condition;
  using Barrier = dummy::Barrier;
  template <class T>
  using Queue = dummy::Queue<T>;
  template <class T>
  using JoinableQueue = dummy::JoinableQueue<T>;
  using Process = dummy::Process;
  using TooManyReleases = RuntimeError;
  using NotHeld = RuntimeError;
  using BadValue = ValueError;
};

/// A started process of the flavour that runs `target(arguments...)`.
template <class F, class... A>
typename F::Process start(A&&... arguments) {
  typename F::Process process{ProcessOptions{.daemon = true}, std::forward<A>(arguments)...};
  process.start();
  return process;
}

/// Whether all have ended well, each within `patience`.
template <class Process>
void expect_all_end(const std::vector<Process>& processes) {
  for (const Process& process : processes) {
    ASSERT_TRUE(process.join(patience));
    EXPECT_EQ(process.exitcode(), 0);
  }
}

/// The numbers of started processes.
template <class Process>
std::vector<pid_t> pids_of(const std::vector<Process>& processes) {
  std::vector<pid_t> pids;
  for (const Process& process : processes) pids.push_back(*process.pid());
  return pids;
}

/// Waits until the semaphore has the value, at most `patience`.
template <class Semaphore>
bool reaches(const Semaphore& semaphore, int value) {
  return comes_true([&] { return semaphore.get_value() == value; }, patience);
}

/// Waits until `count` parties wait at the barrier, at most `patience`.
template <class Barrier>
bool comes_to_wait(const Barrier& barrier, int count) {
  return comes_true([&] { return barrier.n_waiting() == count; }, patience);
}

/// The short time of the original cases, for timeouts that are to end.
inline constexpr std::chrono::milliseconds a_while{100};

}  // namespace troupe::test

/// Defines case NAME of suite SUITE in both flavours: NAME<Processes>() for every start method, NAME<Threads>().
#define TROUPE_TEST_BOTH_FLAVOURS(SUITE, NAME)            \
  TEST_P(SUITE, NAME) { NAME<troupe::test::Processes>(); } \
  TEST(SUITE##OfThreads, NAME) { NAME<troupe::test::Threads>(); }

#define TROUPE_TEST_EVERY_METHOD(SUITE) \
  INSTANTIATE_TEST_SUITE_P(P, SUITE, troupe::test::every_start_method, troupe::test::name_of_method)
