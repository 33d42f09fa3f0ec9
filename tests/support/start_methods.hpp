#pragma once

// What cases share that are run with workers of every start method.

#include <troupe/pool.hpp>
#include <troupe/start_method.hpp>

#include <gtest/gtest.h>

#include <string>

namespace troupe::test {

inline const auto every_start_method = testing::Values(StartMethod::fork, StartMethod::forkserver, StartMethod::spawn);

inline std::string name_of_method(const testing::TestParamInfo<StartMethod>& method) {
  return std::string(to_string(method.param));
}

/// A pool of four workers, as CPython's _TestPool has.
class PoolOfFour : public testing::TestWithParam<StartMethod> {
 protected:
  Pool pool{PoolOptions{.workers = 4, .start_method = GetParam(), .name = {}}};

  void TearDown() override { pool.terminate(); }
};

}  // namespace troupe::test
