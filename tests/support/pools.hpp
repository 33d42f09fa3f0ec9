#pragma once

// What the tests of pools share.

#include <troupe/pool.hpp>

#include "processes.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <ranges>
#include <vector>

namespace troupe::test {

inline int square(int x) { return x * x; }

/// A pool that has all its workers and runs 100 fresh tasks.
inline void expect_works(Pool& pool, std::size_t workers) {
  std::vector<int> expected(100);
  for (std::size_t i = 0; i < 100; ++i) expected[i] = static_cast<int>(i * i);
  EXPECT_EQ(pool.map(square, std::views::iota(0, 100), 1), expected);
  EXPECT_TRUE(comes_true([&] { return pool.worker_pids().size() == workers; }));
}

/// Teaches the pool that its tasks are short, so that it feeds workers ahead.
inline void run_short_tasks(Pool& pool) {
  for (int i = 0; i < 1000; ++i) pool.apply(square, 1);
}

}  // namespace troupe::test
