// The cases of CPython's _TestPool, _TestPoolWorkerErrors and TestInitializers that it also runs on threads (flavour
// T), under their names. What each pins down is restated in one line.

#include <troupe/dummy.hpp>
#include <troupe/error.hpp>
#include <troupe/log.hpp>

#include "support/pool_cases.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <exception>
#include <future>
#include <semaphore>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe::dummy;
using namespace troupe::test::pool_cases;
namespace pool_cases = troupe::test::pool_cases;

constexpr auto patience = 30s;

// --- _TestPool ---

class TestPool : public testing::Test {
 protected:
  Pool pool{4};
  void TearDown() override { pool.terminate(); }
};

TEST_F(TestPool, test_apply) {
  EXPECT_EQ(pool.apply(sqr, 5), 25);
  // What keyword arguments are elsewhere: a struct with defaults.
  EXPECT_EQ(pool.apply(sqr_with, Keywords{.x = 3}), 9);
}

TEST_F(TestPool, test_map) {
  EXPECT_EQ(pool.map(sqr, numbers(10)), squares(10));
  EXPECT_EQ(pool.map(sqr, numbers(100), 20), squares(100));
}

TEST_F(TestPool, test_starmap) {
  EXPECT_EQ(pool.starmap(mul, pairs(10)), products(10));
  EXPECT_EQ(pool.starmap(mul, pairs(100), 20), products(100));
}

TEST_F(TestPool, test_starmap_async) { EXPECT_EQ(pool.starmap_async(mul, pairs(100)).get(), products(100)); }

TEST_F(TestPool, test_map_async) { EXPECT_EQ(pool.map_async(sqr, numbers(100)).get(), squares(100)); }

// One call with the whole list or with the error; it has run by the time wait returns.
TEST_F(TestPool, test_map_async_callbacks) {
  std::vector<std::vector<int>> results;
  std::vector<std::string> errors;
  const auto calls = pool.callback([&](const std::vector<int>& all) { results.push_back(all); })
                         .error_callback([&](const std::exception& error) { errors.emplace_back(error.what()); });
  calls.map_async(sqr, numbers(10)).wait();
  ASSERT_EQ(results.size(), 1U);
  EXPECT_EQ(results.front(), squares(10));
  calls.map_async([](int x) -> int { throw std::out_of_range("no " + std::to_string(x)); }, std::vector<int>{7}).wait();
  EXPECT_EQ(errors, std::vector<std::string>{"no 7"});
  EXPECT_EQ(results.size(), 1U);
}

// map_async over nothing is ready at once, not when some worker has looked at it.
TEST_F(TestPool, test_map_chunksize) {
  const auto result = pool.map_async(sqr, std::vector<int>{}, 1);
  EXPECT_TRUE(result.ready());
  EXPECT_TRUE(result.get().empty());
}

TEST_F(TestPool, test_map_handle_iterable_exception) { pool_cases::map_handles_iterable_exception(pool); }

TEST_F(TestPool, test_async) {
  std::promise<void> go;
  const auto result = pool.apply_async([&](int x) { return go.get_future().wait(), sqr(x); }, 7);
  EXPECT_FALSE(result.ready());
  go.set_value();
  EXPECT_EQ(result.get(), 49);
}

// A timed get ends with TimeoutError while the task goes on. A thread has to be told to end, or join waits for it.
TEST_F(TestPool, test_async_timeout) {
  std::promise<void> end;
  const auto result = pool.apply_async([&](int x) { return end.get_future().wait_for(patience), sqr(x); }, 6);
  EXPECT_THROW(result.get(100ms), troupe::TimeoutError);
  end.set_value();
  pool.terminate();
  EXPECT_TRUE(pool.join(patience));
  EXPECT_EQ(result.get(), 36);
}

TEST_F(TestPool, test_imap) { pool_cases::imap(pool); }

TEST_F(TestPool, test_imap_handle_iterable_exception) { pool_cases::imap_handles_iterable_exception(pool); }

TEST_F(TestPool, test_imap_unordered) { pool_cases::imap_unordered(pool); }

TEST_F(TestPool, test_imap_unordered_handle_iterable_exception) { pool_cases::imap_unordered_handles_iterable_exception(pool); }

TEST_F(TestPool, test_make_pool) {
  EXPECT_THROW(Pool(-1), troupe::ValueError);
  EXPECT_THROW(Pool(0), troupe::ValueError);
  Pool three{3};
  EXPECT_EQ(three.num_workers(), 3U);
  EXPECT_EQ(three.statistics().workers.size(), 3U);
  three.close();
  three.join();
}

TEST_F(TestPool, test_empty_iterable) { pool_cases::empty_iterable(pool); }

struct OwnError : std::runtime_error {
  using runtime_error::runtime_error;
  int number = 42;
};

// What a task throws arrives as it was thrown, without any wrapper.
TEST_F(TestPool, test_wrapped_exception) {
  EXPECT_THROW(pool.apply([] { throw std::runtime_error("foo"); }), std::runtime_error);
  try {
    pool.apply([] { throw OwnError("foo"); });
    FAIL();
  } catch (const OwnError& error) {
    EXPECT_STREQ(error.what(), "foo");
    EXPECT_EQ(error.number, 42);
  }
  EXPECT_THROW(pool.apply([] { throw 7; }), int);
}

// Both tasks end before map throws.
TEST_F(TestPool, test_map_no_failfast) {
  std::atomic<int> ended{0};
  std::binary_semaphore first_has_thrown{0};
  EXPECT_THROW(pool.map(
                   [&](int number) {
                     if (number == 1) first_has_thrown.acquire();
                     if (++ended == 1) first_has_thrown.release();
                     throw troupe::ValueError(std::string(1024 * 1024, 'x'));
                   },
                   numbers(2), 1),
               troupe::ValueError);
  EXPECT_EQ(ended, 2);
  pool.close();
  pool.join();
}

TEST_F(TestPool, test_resource_warning) {
  testing::internal::CaptureStderr();
  troupe::log_to_stderr(30);
  { const Pool unclosed{PoolOptions{.workers = 1, .name = "forgotten"}}; }
  const std::string unclosed_text = testing::internal::GetCapturedStderr();
  EXPECT_NE(unclosed_text.find("unclosed running pool forgotten"), std::string::npos) << unclosed_text;

  testing::internal::CaptureStderr();
  {
    Pool closed{PoolOptions{.workers = 1, .name = "closed"}};
    closed.close();
    closed.join();
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr().find("unclosed"), std::string::npos);
}

// --- Rules of the suite ---

TEST_F(TestPool, states_are_running_closed_terminated) {
  EXPECT_THROW(pool.join(), troupe::ValueError);
  pool.close();
  pool.close();
  EXPECT_THROW(pool.apply_async(sqr, 1), troupe::ValueError);
  EXPECT_THROW(pool.map_async(sqr, numbers(10)), troupe::ValueError);
  EXPECT_THROW(pool.imap(sqr, numbers(10)), troupe::ValueError);
  pool.join();
  pool.join();
  pool.terminate();
  pool.terminate();
  pool.join();
}

TEST_F(TestPool, successful_before_ready_is_a_misuse) {
  std::promise<void> end;
  const auto result = pool.apply_async([&] { end.get_future().wait(); });
  EXPECT_THROW(result.successful(), troupe::ValueError);
  end.set_value();
  result.wait();
  EXPECT_TRUE(result.successful());
  const auto bad = pool.apply_async([] { throw OwnError("foo"); });
  bad.wait();
  EXPECT_FALSE(bad.successful());
}

TEST_F(TestPool, imap_goes_on_after_a_task_that_threw) { pool_cases::imap_goes_on_after_a_task_that_threw(pool); }

TEST_F(TestPool, imap_next_with_timeout) {
  std::promise<void> go;
  auto results = pool.imap([&](int x) { return go.get_future().wait(), sqr(x); }, std::vector<int>{3});
  EXPECT_THROW(results.next(1ms), troupe::TimeoutError);
  go.set_value();
  EXPECT_EQ(results.next(), 9);
}

TEST_F(TestPool, chunksize_zero_is_a_misuse) {
  EXPECT_THROW(pool.map(sqr, numbers(3), 0), troupe::ValueError);
  EXPECT_THROW(pool.imap(sqr, numbers(3), 0), troupe::ValueError);
  EXPECT_THROW(pool.imap_unordered(sqr, numbers(3), 0), troupe::ValueError);
}

// --- _TestPoolWorkerErrors, TestInitializers ---

// get throws what the task threw, and the error callback has received it.
TEST(TestPoolWorkerErrors, test_async_error_callback) {
  Pool pool{2};
  std::exception_ptr received;
  const auto result = pool.error_callback([&](const std::exception_ptr& error) { received = error; })
                          .apply_async([] { throw troupe::KeyError("gone"); });
  EXPECT_THROW(result.get(), troupe::KeyError);
  ASSERT_TRUE(received);
  EXPECT_THROW(std::rethrow_exception(received), troupe::KeyError);
  pool.close();
  pool.join();
}

// A pool of one runs its initializer exactly once, even if no task is ever given.
TEST(TestInitializers, test_pool_initializer) {
  std::atomic<int> count{0};
  Pool pool{PoolOptions{.workers = 1, .initializer = {[&](int step) { count += step; }, 1}}};
  pool.close();
  pool.join();
  EXPECT_EQ(count, 1);
}

}  // namespace
