// The options of a ThreadPool and of its tasks.

#include <troupe/error.hpp>
#include <troupe/process_ref.hpp>
#include <troupe/this_task.hpp>
#include <troupe/thread_pool.hpp>

#include "support/thread_pools.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <ranges>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using troupe::ThreadPool;
using troupe::test::Gate;
using troupe::test::occupy;
using troupe::test::ScopedPool;
using troupe::test::square;

TEST(ThreadPoolOptions, TakesTasksInOrderOfPriorityAndSubmission) {
  ScopedPool pool{1};
  Gate gate;
  occupy(pool, gate);
  std::string order;
  std::vector<troupe::ThreadResult<void>> all;
  const auto note = [&order](char what) { order += what; };
  all.push_back(pool.apply_async(note, 'c'));
  all.push_back(pool.with({.priority = -1}).apply_async(note, 'e'));
  all.push_back(pool.with({.priority = 2}).apply_async(note, 'a'));
  all.push_back(pool.apply_async(note, 'd'));
  all.push_back(pool.with({.priority = 1}).apply_async(note, 'b'));
  gate.open();
  for (const auto& result : all) result.wait();
  EXPECT_EQ(order, "abcde");
}

TEST(ThreadPoolOptions, ADeadlineFailsWhatIsLate) {
  ScopedPool pool{1};
  Gate gate;
  occupy(pool, gate);
  bool ran = false;
  const auto queued = pool.with({.deadline = 5ms, .name = "slow"}).apply_async([&] { ran = true; });
  try {
    queued.get();  // ends at the deadline, though the only worker is busy
    FAIL();
  } catch (const troupe::TimeoutError& error) {
    EXPECT_NE(std::string(error.what()).find("slow #"), std::string::npos) << error.what();
  }
  EXPECT_THROW(pool.with({.deadline = 5ms}).map([&](int) { ran = true; }, std::vector{1, 2, 3}), troupe::TimeoutError);
  gate.open();
  EXPECT_EQ(pool.apply(square, 2), 4);
  EXPECT_FALSE(ran);
  const auto [mine, inner] = pool.with({.deadline = 1h}).apply([&] {
    return std::pair{troupe::this_task::deadline(), pool.apply([] { return troupe::this_task::deadline(); })};
  });
  EXPECT_NE(mine, troupe::no_deadline);
  EXPECT_EQ(inner, mine) << "tasks of tasks have no more time";
}

TEST(ThreadPoolOptions, RetriesAfterTheErrorsThatItIsToldOf) {
  ScopedPool pool{2};
  const auto retrying =
      pool.with({.retries = 3, .retry_on = troupe::exceptions<troupe::KeyError>(), .backoff = {.initial = 1ms}});
  std::atomic<int> attempts{0};
  const auto third = [&](std::string text) {
    if (++attempts < 3) throw troupe::KeyError("not yet");
    return text;
  };
  EXPECT_EQ(retrying.apply_async(third, "argument").get(), "argument");
  EXPECT_EQ(attempts, 3);
  attempts = -10;
  EXPECT_THROW(retrying.apply(third, "argument"), troupe::KeyError);
  EXPECT_EQ(attempts, -6);
  attempts = 0;
  EXPECT_THROW(retrying.apply([&] { ++attempts, throw troupe::ValueError("other"); }), troupe::ValueError);
  EXPECT_EQ(attempts, 1);
  attempts = 0;
  EXPECT_EQ(retrying.map(third, std::vector<std::string>{"a", "b"}, 2), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(pool.statistics().retried, 2U + 3U + 2U);
  EXPECT_THROW(retrying.apply([](std::unique_ptr<int>) {}, std::make_unique<int>()), troupe::ValueError);
}

TEST(ThreadPoolOptions, RefusesATimeoutOfItsTasks) {
  ScopedPool pool{1};
  EXPECT_THROW(pool.with({.timeout = 1s}), troupe::ValueError);
  EXPECT_THROW(pool.with({.deadline = 0s}), troupe::ValueError);
}

TEST(ThreadPoolOptions, KeepsPendingTasksWithinItsBound) {
  ScopedPool pool{{.workers = 1, .max_pending_tasks = 2, .when_full = troupe::WhenFull::fail}};
  Gate gate;
  occupy(pool, gate);
  const auto second = pool.apply_async(square, 2);
  EXPECT_THROW(pool.apply_async(square, 3), troupe::Full);
  EXPECT_FALSE(pool.try_apply_async(square, 3));
  std::atomic<bool> waited{false};
  std::thread waiter{[&] {
    EXPECT_EQ(pool.map(square, std::vector{1, 2, 3, 4, 5}, 1), (std::vector{1, 4, 9, 16, 25}));
    waited = true;
  }};
  EXPECT_FALSE(waited);
  gate.open();
  waiter.join();
  EXPECT_EQ(second.get(), 4);
  EXPECT_TRUE(pool.try_apply_async(square, 3));
}

TEST(ThreadPoolOptions, AnIteratorWaitsForRoomWhereASubmitWouldFail) {
  ScopedPool pool{{.workers = 2, .max_pending_tasks = 4, .when_full = troupe::WhenFull::fail}};
  std::vector<int> expected;
  for (int i = 0; i < 100; ++i) expected.push_back(i * i);
  for (const bool ordered : {true, false}) {
    std::vector<int> all;
    for (const int y :
         ordered ? pool.imap(square, std::views::iota(0, 100)) : pool.imap_unordered(square, std::views::iota(0, 100)))
      all.push_back(y);
    if (!ordered) std::ranges::sort(all);
    EXPECT_EQ(all, expected);
  }
}

TEST(ThreadPoolOptions, ATaskMaySubmitMoreThanTheBound) {
  ScopedPool pool{{.workers = 1, .max_pending_tasks = 2}};
  EXPECT_EQ(pool.apply([&] { return pool.map(square, std::vector{1, 2, 3, 4, 5}, 1).size(); }), 5U);
}

TEST(ThreadPoolOptions, CloseEndsAWaitForRoom) {
  ScopedPool pool{{.workers = 1, .max_pending_tasks = 1}};
  Gate gate;
  occupy(pool, gate);
  std::thread waiter{[&] { EXPECT_THROW(pool.apply_async(square, 1), troupe::ValueError); }};
  pool.close();
  waiter.join();  // although the one task goes on
  gate.open();
}

TEST(ThreadPoolOptions, EveryThreadIsInitializedBeforeItsFirstTask) {
  static thread_local int prepared = 0;
  ScopedPool pool{{.workers = 3, .initializer = {[](int value) { prepared = value; }, 7}}};
  for (int value : pool.map([](int) { return prepared; }, std::views::iota(0, 50), 1)) EXPECT_EQ(value, 7);
}

TEST(ThreadPoolOptions, FailsItsTasksWhenNoThreadCanBeInitialized) {
  for (int round = 0; round < 20; ++round) {
    ScopedPool pool{{.workers = 2, .initializer = [] { throw troupe::KeyError("no database"); }}};
    const auto early = pool.apply_async(square, 1);
    EXPECT_THROW(early.get(), troupe::KeyError);
    EXPECT_THROW(pool.apply(square, 2), troupe::KeyError);
    EXPECT_THROW(pool.map(square, std::vector{1, 2, 3}), troupe::KeyError);
    pool.close();
    pool.join();
  }
}

// However much it is asked to do, each thread tries once.
TEST(ThreadPoolOptions, AnInitializerThatFailsIsTriedOncePerThread) {
  std::atomic<int> tries{0};
  ScopedPool pool{{.workers = 3, .initializer = [&] {
                     ++tries;
                     throw troupe::KeyError("no database");
                   }}};
  for (int i = 0; i < 100; ++i) EXPECT_THROW(pool.apply(square, i), troupe::KeyError);
  pool.close();
  pool.join();
  EXPECT_EQ(tries, 3);
}

TEST(ThreadPoolOptions, RefusesOptionsThatMakeNoSense) {
  EXPECT_THROW(ThreadPool(0), troupe::ValueError);
  EXPECT_THROW(ThreadPool({.workers = 5000}), troupe::ValueError);
  EXPECT_THROW(ThreadPool({.maxtasksperchild = 0}), troupe::ValueError);
  EXPECT_THROW(ThreadPool({.max_pending_tasks = 0}), troupe::ValueError);
  ScopedPool pool;
  EXPECT_EQ(pool.num_workers(), static_cast<std::size_t>(troupe::cpu_count()));
  EXPECT_TRUE(pool.name().starts_with("ThreadPool-")) << pool.name();
}

}  // namespace
