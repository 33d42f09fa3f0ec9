// The cases of CPython's _TestPool (flavour P) that concern what the pool does, under their names and for every start
// method. What each pins down is restated in one line. Those about callbacks are in pool_callback_conformance_test.cpp.

#include <troupe/error.hpp>
#include <troupe/event.hpp>
#include <troupe/log.hpp>
#include <troupe/pool.hpp>
#include <troupe/process.hpp>
#include <troupe/shared_array.hpp>

#include "support/pool_cases.hpp"
#include "support/pools.hpp"
#include "support/processes.hpp"
#include "support/start_methods.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <exception>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using troupe::Pool;
using troupe::PoolOptions;
using troupe::test::comes_true;
using troupe::test::patience;
using namespace troupe::test::pool_cases;
namespace pool_cases = troupe::test::pool_cases;

int sqr_when_set(const troupe::Event& event, int x) {
  event.wait();
  return sqr(x);
}

using TestPool = troupe::test::PoolOfFour;

TEST_P(TestPool, test_apply) {
  EXPECT_EQ(pool.apply(sqr, 5), 25);
  EXPECT_EQ(pool.apply(mul, 3, 4), 12);
  // What keyword arguments are elsewhere: a struct with defaults.
  EXPECT_EQ(pool.apply(sqr_with, Keywords{.x = 3}), 9);
}

TEST_P(TestPool, test_map) {
  EXPECT_EQ(pool.map(sqr, numbers(10)), squares(10));
  EXPECT_EQ(pool.map(sqr, numbers(100), 20), squares(100));
}

TEST_P(TestPool, test_starmap) {
  EXPECT_EQ(pool.starmap(mul, pairs(10)), products(10));
  EXPECT_EQ(pool.starmap(mul, pairs(100), 20), products(100));
}

TEST_P(TestPool, test_starmap_async) { EXPECT_EQ(pool.starmap_async(mul, pairs(100)).get(), products(100)); }

TEST_P(TestPool, test_map_async) { EXPECT_EQ(pool.map_async(sqr, numbers(100)).get(), squares(100)); }

// map_async over nothing is ready at once, not when some worker has looked at it.
TEST_P(TestPool, test_map_chunksize) {
  const auto result = pool.map_async(sqr, std::vector<int>{}, 1);
  EXPECT_TRUE(result.wait(100ms));
  EXPECT_TRUE(result.get().empty());
}

TEST_P(TestPool, test_map_handle_iterable_exception) { pool_cases::map_handles_iterable_exception(pool); }

TEST_P(TestPool, test_async) {
  const troupe::Event go;
  const auto result = pool.apply_async(sqr_when_set, go, 7);
  EXPECT_FALSE(result.ready());
  go.set();
  EXPECT_EQ(result.get(), 49);
}

// A timed get ends with TimeoutError while the task goes on; terminate and join do not wait for it.
TEST_P(TestPool, test_async_timeout) {
  const troupe::Event never;
  const auto result = pool.apply_async(sqr_when_set, never, 6);
  EXPECT_THROW(result.get(100ms), troupe::TimeoutError);
  const auto before = std::chrono::steady_clock::now();
  pool.terminate();
  pool.join();
  EXPECT_LT(std::chrono::steady_clock::now() - before, 20s);
}

TEST_P(TestPool, test_imap) { pool_cases::imap(pool); }

TEST_P(TestPool, test_imap_handle_iterable_exception) { pool_cases::imap_handles_iterable_exception(pool); }

TEST_P(TestPool, test_imap_unordered) { pool_cases::imap_unordered(pool); }

TEST_P(TestPool, test_imap_unordered_handle_iterable_exception) { pool_cases::imap_unordered_handles_iterable_exception(pool); }

TEST_P(TestPool, test_make_pool) {
  EXPECT_THROW(Pool(-1), troupe::ValueError);
  EXPECT_THROW(Pool(0), troupe::ValueError);
  Pool three{PoolOptions{.workers = 3, .start_method = GetParam(), .name = {}}};
  EXPECT_EQ(three.worker_pids().size(), 3U);
  three.close();
  three.join();
}

TEST_P(TestPool, test_empty_iterable) { pool_cases::empty_iterable(pool); }

// Leaving a pool's scope is terminate: join works afterwards, new work is an error that says why.
TEST_P(TestPool, test_context) {
  EXPECT_EQ(pool.map(sqr, numbers(10)), squares(10));
  std::vector<pid_t> workers;
  {
    Pool scope{troupe::PoolOptions{.workers = 2, .start_method = GetParam(), .name = {}}};
    workers = scope.worker_pids();
    EXPECT_EQ(scope.map(sqr, numbers(10)), squares(10));
  }
  for (const pid_t worker : workers) EXPECT_EQ(::kill(worker, 0), -1);
  pool.terminate();
  pool.join();
  EXPECT_THROW(pool.map_async(sqr, numbers(10)), troupe::ValueError);
  EXPECT_THROW(pool.imap(sqr, numbers(10)), troupe::ValueError);
  EXPECT_THROW(pool.apply(sqr, 1), troupe::ValueError);
}

int throw_runtime_error(int) { throw std::runtime_error("foo"); }

TEST_P(TestPool, test_wrapped_exception) {
  EXPECT_THROW(pool.apply(throw_runtime_error, 1), std::runtime_error);
  try {
    pool.apply(throw_runtime_error, 1);
  } catch (const std::exception& error) {
    EXPECT_NE(std::string(error.what()).find("foo"), std::string::npos) << error.what();
  }
}

void throw_much_when_set(const troupe::Event& event) {
  event.wait();
  throw troupe::ValueError(std::string(1024 * 1024, 'x'));
}

// Both tasks end before map throws, and the large errors block nothing.
TEST_P(TestPool, test_map_no_failfast) {
  const troupe::Event at_once;
  const troupe::Event late;
  at_once.set();
  const auto result = pool.map_async(throw_much_when_set, std::vector{at_once, late}, 1);
  EXPECT_TRUE(comes_true([&] { return result.num_left() == 1; }, patience));
  EXPECT_FALSE(result.ready());
  late.set();
  EXPECT_THROW(result.get(patience), troupe::ValueError);
  pool.close();
  pool.join();
}

TEST_P(TestPool, test_resource_warning) {
  testing::internal::CaptureStderr();
  troupe::log_to_stderr(30);
  { const Pool unclosed{PoolOptions{.workers = 1, .start_method = GetParam(), .name = "forgotten"}}; }
  const std::string unclosed_text = testing::internal::GetCapturedStderr();
  EXPECT_NE(unclosed_text.find("unclosed running pool forgotten"), std::string::npos) << unclosed_text;

  testing::internal::CaptureStderr();
  {
    Pool closed{PoolOptions{.workers = 1, .start_method = GetParam(), .name = "closed"}};
    closed.close();
    closed.join();
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr().find("unclosed"), std::string::npos);
}

// --- Rules of the suite ---

TEST_P(TestPool, states_are_running_closed_terminated) {
  EXPECT_THROW(pool.join(), troupe::ValueError);
  pool.close();
  pool.close();
  EXPECT_THROW(pool.apply_async(sqr, 1), troupe::ValueError);
  pool.join();
  pool.join();
  pool.terminate();
  pool.terminate();
  pool.join();
}

TEST_P(TestPool, successful_before_ready_is_a_misuse) {
  const troupe::Event never;
  const auto result = pool.apply_async(sqr_when_set, never, 2);
  EXPECT_THROW(result.successful(), troupe::ValueError);
  const auto good = pool.apply_async(sqr, 2);
  good.wait();
  EXPECT_TRUE(good.successful());
  const auto bad = pool.apply_async(throw_runtime_error, 2);
  bad.wait();
  EXPECT_FALSE(bad.successful());
}

TEST_P(TestPool, imap_goes_on_after_a_task_that_threw) { pool_cases::imap_goes_on_after_a_task_that_threw(pool); }

TEST_P(TestPool, imap_next_with_timeout) {
  const troupe::Event go;
  auto results = pool.imap(troupe::bind(sqr_when_set, go), std::vector<int>{3});
  EXPECT_THROW(results.next(1ms), troupe::TimeoutError);
  go.set();
  EXPECT_EQ(results.next(), 9);
}

bool is_daemonic(int) { return troupe::current_process().daemon(); }

TEST_P(TestPool, workers_are_daemonic) { EXPECT_TRUE(pool.apply(is_daemonic, 0)); }

TEST_P(TestPool, chunksize_zero_is_a_misuse) {
  EXPECT_THROW(pool.map(sqr, numbers(3), 0), troupe::ValueError);
  EXPECT_THROW(pool.imap(sqr, numbers(3), 0), troupe::ValueError);
  EXPECT_THROW(pool.imap_unordered(sqr, numbers(3), 0), troupe::ValueError);
}

int throw_at_zero(const troupe::SharedArray<int>& runs, int x) {
  if (x == 0) throw troupe::KeyError("zero");
  return runs[x] = 1;
}

// An item that throws takes the rest of its chunk along and nothing else; that shows how long the default chunk is.
TEST_P(TestPool, default_chunks_are_a_quarter_of_a_workers_share) {
  const troupe::SharedArray<int> runs{65};
  EXPECT_THROW(pool.map(troupe::bind(throw_at_zero, runs), numbers(65)), troupe::KeyError);
  constexpr int chunk = 5;  // 65 / (4 * 4), rounded up
  for (int i = 0; i < 65; ++i) EXPECT_EQ(runs[i], i < chunk ? 0 : 1) << i;
}

int throw_when_set(const troupe::Event& event, int x) {
  event.wait();
  throw troupe::KeyError(std::to_string(x));
}

// The error that comes first is the one of the map, whichever item it is of.
TEST_P(TestPool, map_reports_the_first_error_received) {
  const troupe::Event late;
  const troupe::Event at_once;
  at_once.set();
  const auto result =
      pool.starmap_async(throw_when_set, std::vector<std::pair<troupe::Event, int>>{{late, 0}, {at_once, 1}}, 1);
  EXPECT_TRUE(comes_true([&] { return pool.statistics().failed == 1; }, patience));
  EXPECT_FALSE(result.ready());
  late.set();
  try {
    result.get(patience);
    ADD_FAILURE() << "no error";
  } catch (const troupe::KeyError& error) {
    EXPECT_EQ(std::string(error.what()), "1");
  }
}

INSTANTIATE_TEST_SUITE_P(StartMethods, TestPool, troupe::test::every_start_method, troupe::test::name_of_method);

}  // namespace
