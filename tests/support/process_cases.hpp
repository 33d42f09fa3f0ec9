#pragma once

// What cases of CPython's _TestProcess have in common for processes (flavour P) and for threads (flavour T).

#include <gtest/gtest.h>

#include <tuple>

namespace troupe::test {

/// `target` gets what equals `value`, given as it is or from a tuple, and ends well.
template <class Process, class Target, class Value>
void expect_takes(Target target, const Value& value) {
  Process process{target, value};
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
  std::apply(
      [&](const auto& argument) {
        Process another{target, argument};
        another.start();
        another.join();
        EXPECT_EQ(another.exitcode(), 0);
      },
      std::tuple{value});
}

}  // namespace troupe::test
