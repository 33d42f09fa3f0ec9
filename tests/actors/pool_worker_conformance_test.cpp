// The cases of CPython's _TestPoolWorkerLifetime and TestInitializers that concern pools, under their names and for
// every start method. What each pins down is restated in one line.

#include <troupe/error.hpp>
#include <troupe/pool.hpp>

#include "support/pools.hpp"
#include "support/start_methods.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <unistd.h>
#include <vector>

namespace {

using troupe::Pool;
using troupe::PoolOptions;
using troupe::StartMethod;
using troupe::test::comes_true;
using troupe::test::square;

class TestPoolWorkers : public testing::TestWithParam<StartMethod> {
 protected:
  PoolOptions options(int workers) const { return {.workers = workers, .start_method = GetParam()}; }
};

// Three workers of at most 10 tasks each: 100 right results, then three live workers, none of them among the first.
TEST_P(TestPoolWorkers, test_pool_worker_lifetime) {
  PoolOptions some = options(3);
  some.maxtasksperchild = 10;
  Pool pool{some};
  const auto first = pool.worker_pids();
  EXPECT_EQ(first.size(), 3U);
  std::vector<troupe::AsyncResult<int>> results;
  for (int i = 0; i < 100; ++i) results.push_back(pool.apply_async(square, i));
  for (int i = 0; i < 100; ++i) EXPECT_EQ(results[static_cast<std::size_t>(i)].get(), i * i);
  EXPECT_TRUE(comes_true([&] { return pool.worker_pids().size() == 3; }));
  const auto last = pool.worker_pids();
  EXPECT_NE(std::set(first.begin(), first.end()), std::set(last.begin(), last.end()));
  pool.close();
  pool.join();
}

// 0 and -1 are refused; 0.5 and "12" do not compile.
TEST_P(TestPoolWorkers, test_pool_maxtasksperchild_invalid) {
  for (const int bad : {0, -1}) {
    PoolOptions some = options(3);
    some.maxtasksperchild = bad;
    EXPECT_THROW(Pool{some}, troupe::ValueError);
  }
}

// A pool of one runs its initializer once, even if no task is ever given.
TEST_P(TestPoolWorkers, test_pool_initializer) {
  char path[] = "/tmp/troupe-initializer-XXXXXX";
  const int file = ::mkstemp(path);
  ASSERT_GE(file, 0);
  PoolOptions some = options(1);
  some.initializer = {[](const std::string& name) { std::ofstream{name, std::ios::app} << 'x'; }, std::string(path)};
  Pool pool{some};
  pool.close();
  pool.join();
  std::ifstream in{path};
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>{in}, {}), "x");
  ::close(file);
  std::filesystem::remove(path);
}

INSTANTIATE_TEST_SUITE_P(StartMethods, TestPoolWorkers, troupe::test::every_start_method, troupe::test::name_of_method);

}  // namespace
