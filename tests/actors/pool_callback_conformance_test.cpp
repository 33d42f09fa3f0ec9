// The cases of CPython's _TestPool and _TestPoolWorkerErrors, and the rules of its suite, that concern the callbacks of
// a pool, under their names and for every start method. What each pins down is restated in one line.

#include <troupe/error.hpp>
#include <troupe/pool.hpp>

#include "support/pools.hpp"
#include "support/processes.hpp"
#include "support/start_methods.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <exception>
#include <semaphore>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using troupe::test::patience;
using troupe::test::square;

using TestPoolCallbacks = troupe::test::PoolOfFour;

// Success calls the callback once with the whole list, failure the error callback once; both before wait() returns.
TEST_P(TestPoolCallbacks, test_map_async_callbacks) {
  std::vector<std::vector<int>> results;
  std::vector<std::string> errors;
  const auto calls = pool.callback([&](std::vector<int> all) { results.push_back(std::move(all)); })
                         .error_callback([&](const std::exception& error) { errors.emplace_back(error.what()); });
  calls.map_async([](int) { return 1; }, std::vector{0}).wait();
  EXPECT_EQ(results, (std::vector<std::vector<int>>{{1}}));
  calls.map_async([](int x) { return throw troupe::ValueError("no " + std::to_string(x)), x; }, std::vector{0}).wait();
  EXPECT_EQ(results.size(), 1U);
  EXPECT_EQ(errors, std::vector<std::string>{"no 0"});
  calls.map_async(square, std::vector{1, 2, 3}, 1).wait();
  EXPECT_EQ(results, (std::vector<std::vector<int>>{{1}, {1, 4, 9}}));
}

// The error that get() throws has been given to the error callback.
TEST_P(TestPoolCallbacks, test_async_error_callback) {
  std::string text;
  const auto result = pool.error_callback([&](const std::exception_ptr& error) {
                            EXPECT_THROW(std::rethrow_exception(error), troupe::KeyError);
                            text = "called";
                          })
                          .apply_async([](int) -> int { throw troupe::KeyError("k"); }, 1);
  EXPECT_THROW(result.get(), troupe::KeyError);
  EXPECT_EQ(text, "called");
}

// --- Rules of the suite ---

TEST_P(TestPoolCallbacks, run_once_on_a_thread_of_the_pool) {
  std::atomic<int> calls{0};
  int got = 0;
  std::thread::id thread;
  const auto result = pool.callback([&](int y) {
                            got = y;
                            thread = std::this_thread::get_id();
                            ++calls;
                          })
                          .apply_async(square, 7);
  result.wait();
  EXPECT_EQ(got, 49);
  EXPECT_EQ(calls, 1);
  EXPECT_NE(thread, std::this_thread::get_id());
  EXPECT_EQ(result.get(), 49);
}

// A callback that blocks keeps its own result back, and no other one.
TEST_P(TestPoolCallbacks, run_before_the_result_is_ready) {
  std::binary_semaphore running{0}, may_end{0};
  const auto result = pool.callback([&](int) {
                            running.release();
                            may_end.acquire();
                          })
                          .apply_async(square, 2);
  ASSERT_TRUE(running.try_acquire_for(patience));
  EXPECT_FALSE(result.ready());
  EXPECT_FALSE(result.wait(10ms));
  EXPECT_EQ(pool.apply(square, 3), 9);
  may_end.release();
  EXPECT_EQ(result.get(), 4);
}

TEST_P(TestPoolCallbacks, are_not_called_for_an_empty_map) {
  int calls = 0;
  pool.callback([&](const std::vector<int>&) { ++calls; })
      .error_callback([&](const std::exception&) { ++calls; })
      .map_async(square, std::vector<int>{})
      .wait();
  // One at a time, in order: when that of a later result has run, an earlier one would have.
  pool.callback([](int) {}).apply_async(square, 1).wait();
  EXPECT_EQ(calls, 0);
}

INSTANTIATE_TEST_SUITE_P(StartMethods, TestPoolCallbacks, troupe::test::every_start_method,
                         troupe::test::name_of_method);

}  // namespace
