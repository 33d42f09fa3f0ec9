#pragma once

// What cases share that are run for every start method.

#include <troupe/context.hpp>
#include <troupe/pool.hpp>
#include <troupe/start_method.hpp>

#include <gtest/gtest.h>

#include <optional>
#include <string>

namespace troupe::test {

inline const auto every_start_method = testing::Values(StartMethod::fork, StartMethod::forkserver, StartMethod::spawn);

inline std::string name_of_method(const testing::TestParamInfo<StartMethod>& method) {
  return std::string(to_string(method.param));
}

/// Has every case start its processes by the method that is its parameter.
class EveryMethod : public testing::TestWithParam<StartMethod> {
 protected:
  void SetUp() override { set_start_method(GetParam(), true); }
  void TearDown() override { set_start_method(std::nullopt, true); }
};

/// A pool of four workers, as CPython's _TestPool has.
class PoolOfFour : public testing::TestWithParam<StartMethod> {
 protected:
  Pool pool{PoolOptions{.workers = 4, .start_method = GetParam(), .name = {}}};

  void TearDown() override { pool.terminate(); }
};

}  // namespace troupe::test
