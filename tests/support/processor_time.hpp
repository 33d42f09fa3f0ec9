#pragma once

/// \file
/// Whether a wait sleeps.

#include <gtest/gtest.h>

#include <chrono>
#include <sys/resource.h>

namespace troupe::test {

/// The processor time that the calling thread has used.
inline std::chrono::microseconds processor_time() {
  rusage usage{};
  ::getrusage(RUSAGE_THREAD, &usage);
  const auto sum = [](const timeval& time) {
    return std::chrono::seconds{time.tv_sec} + std::chrono::microseconds{time.tv_usec};
  };
  return sum(usage.ru_utime) + sum(usage.ru_stime);
}

/// Expects that `wait(timeout)`, which finds nothing, takes that time and hardly any of the processor's.
template <class Wait>
void expect_sleeps(Wait wait) {
  using namespace std::chrono_literals;
  const auto used = processor_time();
  const auto begin = std::chrono::steady_clock::now();
  wait(500ms);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 500ms);
  EXPECT_LT(processor_time() - used, 20ms);
}

}  // namespace troupe::test
