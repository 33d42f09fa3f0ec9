// Limits of what workers may use, where only real memory shows them.

#include <troupe/error.hpp>
#include <troupe/pool.hpp>

#include "support/pools.hpp"
#include "support/processes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <cstring>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe::test;
using testing::HasSubstr;
using troupe::Pool;
using troupe::PoolOptions;

constexpr std::size_t mib = std::size_t{1} << 20U;

pid_t pid_of_worker(int) { return ::getpid(); }

std::size_t keep_memory(std::size_t bytes) {
  static std::vector<char> kept;
  kept.resize(bytes);
  std::memset(kept.data(), 1, kept.size());
  return kept.size();
}

void keep_memory_and_stay(std::size_t bytes) {
  keep_memory(bytes);
  for (;;) std::this_thread::sleep_for(1h);
}

// The end of a task is looked at as well, not only the clock.
TEST(PoolMemory, TheTaskAfterOneThatHasTakenTooMuchHasAnotherWorker) {
  Pool pool{PoolOptions{.workers = 1, .memory_soft_limit = 100 * mib}};
  for (int i = 0; i < 5; ++i) {
    const pid_t before = pool.apply(pid_of_worker, 0);
    EXPECT_EQ(pool.apply(keep_memory, 150 * mib), 150 * mib);
    EXPECT_NE(pool.apply(pid_of_worker, 0), before);
  }
  EXPECT_EQ(pool.statistics().deaths, 0U);
  pool.terminate();
}

// An initializer that takes more than is allowed is one that fails.
TEST(PoolMemory, AnInitializerCannotTakeMoreThanTheHardLimit) {
  Pool pool{PoolOptions{
      .workers = 1, .initializer = {keep_memory_and_stay, 200 * mib}, .memory_hard_limit = 100 * mib}};
  try {
    pool.apply_async(square, 1).get(60s);
    FAIL() << "an initializer beyond the limit was left alone";
  } catch (const troupe::RuntimeError& error) {
    EXPECT_THAT(error.what(), HasSubstr("its initializer fails in every worker"));
    EXPECT_THAT(error.what(), HasSubstr("the limit is 100 MiB"));
  }
  ASSERT_FALSE(pool.deaths().empty());
  EXPECT_THAT(pool.deaths().back().reason, HasSubstr("the limit is 100 MiB"));
  pool.terminate();
}

}  // namespace
