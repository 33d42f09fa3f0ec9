// Callbacks: what they may do and may not, and when none comes any more. That they come once and before the result is
// ready, see pool_callback_conformance_test.cpp.

#include <troupe/error.hpp>
#include <troupe/pool.hpp>

#include "support/one_piece.hpp"
#include "support/pools.hpp"
#include "support/processes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <exception>
#include <future>
#include <semaphore>
#include <stdexcept>
#include <string>
#include <unistd.h>
#include <vector>

namespace {

using namespace std::chrono_literals;
using troupe::Pool;
using troupe::test::square;

int fail(int x) { throw std::out_of_range("no " + std::to_string(x)); }

class PoolCallback : public testing::Test {
 protected:
  void TearDown() override { pool.terminate(); }
  Pool pool{2};
};

TEST_F(PoolCallback, ErrorsGoToTheErrorCallbackAndNowhereElse) {
  std::string text;
  bool called = false;
  const auto result = pool.callback([&](int) { called = true; })
                          .error_callback([&](const std::exception& error) { text = error.what(); })
                          .apply_async(fail, 3);
  EXPECT_THROW(result.get(), std::out_of_range);
  EXPECT_EQ(text, "no 3");
  EXPECT_FALSE(called);
  std::exception_ptr pointer;
  pool.error_callback([&](const std::exception_ptr& error) { pointer = error; }).apply_async(fail, 4).wait();
  EXPECT_THROW(std::rethrow_exception(pointer), std::out_of_range);
}

// It is logged.
TEST_F(PoolCallback, OneThatThrowsHarmsNothing) {
  const troupe::test::Redirected errors{STDERR_FILENO};
  const auto result = pool.callback([](int) { throw std::runtime_error("oops"); }).apply_async(square, 5);
  EXPECT_EQ(result.get(), 25);
  EXPECT_EQ(pool.apply(square, 6), 36);
  EXPECT_THAT(errors.text(), testing::HasSubstr("a callback threw std::runtime_error: oops"));
}

TEST_F(PoolCallback, MayUseThePool) {
  int sum = 0;
  const auto result = pool.callback([&](int y) { sum = y + pool.apply(square, 10); }).apply_async(square, 1);
  result.wait();
  EXPECT_EQ(sum, 101);
}

TEST_F(PoolCallback, MayNotWaitForAResultWithACallbackOrJoin) {
  std::promise<bool> waits, joins;
  const auto other = pool.callback([](int) {}).apply_async([](int x) { return ::raise(SIGSTOP), x; }, 1);
  pool.callback([&](int) {
        try {
          other.get();
          waits.set_value(true);
        } catch (const troupe::AssertionError&) {
          waits.set_value(false);
        }
        try {
          pool.join();
          joins.set_value(true);
        } catch (const troupe::AssertionError&) {
          joins.set_value(false);
        }
      })
      .apply_async(square, 1);
  EXPECT_FALSE(waits.get_future().get());
  EXPECT_FALSE(joins.get_future().get());
}

TEST_F(PoolCallback, JoinWaitsForCallbacksAfterClose) {
  std::atomic<int> calls{0};
  std::binary_semaphore may_end{0};
  for (int i = 0; i < 10; ++i)
    pool.callback([&](int) {
          if (calls == 0) may_end.acquire();
          ++calls;
        })
        .apply_async(square, i);
  pool.close();
  EXPECT_FALSE(pool.join(100ms));
  may_end.release();
  pool.join();
  EXPECT_EQ(calls, 10);
}

// What a callback refers to may go after the pool.
TEST_F(PoolCallback, NoneBeginsAfterTerminateAndJoin) {
  std::atomic<int> calls{0};
  std::binary_semaphore running{0}, may_end{0};
  std::vector<troupe::AsyncResult<int>> results;
  for (int i = 0; i < 10; ++i)
    results.push_back(pool.callback([&](int) {
                            if (++calls > 1) return;
                            running.release();
                            may_end.acquire();
                          })
                          .apply_async(square, i));
  ASSERT_TRUE(running.try_acquire_for(20s));
  pool.terminate();
  EXPECT_FALSE(pool.join(50ms));
  may_end.release();
  pool.join();
  for (const auto& result : results) result.wait();
  EXPECT_EQ(calls, 1);
}

}  // namespace
