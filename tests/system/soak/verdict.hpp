#pragma once

// How the soaks say that something is wrong.

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace troupe::test {

/// Ends the program at once: threads are in the midst of it, and all its processes end with it.
[[noreturn]] inline void fail(const std::string& what) {
  std::fprintf(stderr, "%s: FAILED: %s\n", program_invocation_short_name, what.c_str());
  std::fflush(nullptr);
  std::_Exit(1);
}

inline void require(bool right, const std::string& what) {
  if (!right) fail(what);
}

}  // namespace troupe::test
