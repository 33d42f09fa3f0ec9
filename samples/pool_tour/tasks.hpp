#pragma once

/// \file
/// What the workers of the tour do: ordinary functions.

#include <chrono>
#include <csignal>
#include <stdexcept>
#include <sys/types.h>
#include <thread>
#include <unistd.h>

inline int square(int x) { return x * x; }

inline int power(int base, int exponent) { return exponent == 0 ? 1 : base * power(base, exponent - 1); }

inline double reciprocal(int x) {
  if (x == 0) throw std::domain_error("division by zero");
  return 1.0 / x;
}

inline pid_t pid_of_worker() { return ::getpid(); }

/// An item and the worker that was given it.
struct Taken {
  int item = 0;
  pid_t worker = 0;
};
inline Taken take(int item) { return {.item = item, .worker = ::getpid()}; }

inline int nap(std::chrono::milliseconds time) {
  std::this_thread::sleep_for(time);
  return static_cast<int>(time.count());
}

inline void die() { ::raise(SIGKILL); }
