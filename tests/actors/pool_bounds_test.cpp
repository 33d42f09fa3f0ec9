// Bounds of what is pending: a submit waits, fails or gives up, as chosen.

#include <troupe/error.hpp>
#include <troupe/pool.hpp>

#include "support/one_piece.hpp"
#include "support/pools.hpp"
#include "support/processes.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <optional>
#include <ranges>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe::test;
using troupe::Pool;
using troupe::PoolOptions;
using troupe::WhenFull;

int stop(int x) { return ::raise(SIGSTOP), x; }

TEST(PoolBounds, ASubmitFailsWithFullIfSoChosen) {
  Pool pool{PoolOptions{.workers = 1, .max_pending_tasks = 3, .when_full = WhenFull::fail}};
  const pid_t worker = pool.worker_pids().at(0);
  std::vector<troupe::AsyncResult<int>> results{pool.apply_async(stop, 0), pool.apply_async(square, 1),
                                                pool.apply_async(square, 2)};
  EXPECT_THROW(pool.apply_async(square, 3), troupe::Full);
  EXPECT_FALSE(pool.try_apply_async(square, 3).has_value());
  ASSERT_TRUE(wait_for_state(worker, 'T'));
  ::kill(worker, SIGCONT);
  EXPECT_EQ(results[2].get(20s), 4);
  EXPECT_EQ(pool.apply(square, 5), 25);  // there is room again
  const auto tried = pool.try_apply_async(square, 6);
  ASSERT_TRUE(tried.has_value());
  EXPECT_EQ(tried->get(20s), 36);
  pool.terminate();
}

TEST(PoolBounds, ASubmitWaitsForRoom) {
  Pool pool{PoolOptions{.workers = 1, .max_pending_tasks = 2}};
  const pid_t worker = pool.worker_pids().at(0);
  const auto first = pool.apply_async(stop, 0);
  const auto second = pool.apply_async(square, 1);
  std::atomic<bool> submitted{false};
  std::jthread submitter{[&] {
    const auto third = pool.apply_async(square, 3);
    submitted = true;
    EXPECT_EQ(third.get(20s), 9);
  }};
  ASSERT_TRUE(wait_for_state(worker, 'T'));
  EXPECT_FALSE(submitted);
  EXPECT_EQ(pool.statistics().queued, 1U);
  ::kill(worker, SIGCONT);
  submitter.join();
  pool.terminate();
}

TEST(PoolBounds, ThousandsPassANarrowGate) {
  Pool pool{PoolOptions{.workers = 2, .max_pending_tasks = 5}};
  std::vector<std::jthread> submitters;
  std::atomic<int> sum{0};
  for (int t = 0; t < 3; ++t)
    submitters.emplace_back([&] {
      std::vector<troupe::AsyncResult<int>> results;
      for (int i = 0; i < 1000; ++i) results.push_back(pool.apply_async(square, 1));
      for (const auto& result : results) sum += result.get(20s);
    });
  submitters.clear();
  EXPECT_EQ(sum, 3000);
  EXPECT_EQ(pool.map(square, std::views::iota(0, 100), 1).size(), 100U);  // maps wait for room as well
  int items = 0;
  for (const int y : pool.imap(square, std::views::iota(0, 500))) {
    EXPECT_EQ(y, items * items);
    ++items;
  }
  EXPECT_EQ(items, 500);
  pool.terminate();
}

TEST(PoolBounds, BytesCountToo) {
  Pool pool{PoolOptions{.workers = 1, .max_pending_bytes = 100'000, .when_full = WhenFull::fail}};
  const auto size = [](const std::string& text) { return text.size(); };
  EXPECT_EQ(pool.apply(size, std::string(1'000'000, 'x')), 1'000'000U);  // alone, whatever its size
  const pid_t worker = pool.worker_pids().at(0);
  const auto first = pool.apply_async(stop, 0);
  const auto second = pool.apply_async(size, std::string(80'000, 'x'));
  EXPECT_THROW(pool.apply_async(size, std::string(80'000, 'x')), troupe::Full);
  ASSERT_TRUE(wait_for_state(worker, 'T'));
  ::kill(worker, SIGCONT);
  EXPECT_EQ(second.get(20s), 80'000U);
  EXPECT_EQ(pool.apply(size, std::string(80'000, 'x')), 80'000U);
  pool.terminate();
}

TEST(PoolBounds, ASubmitWaitsForRoomForItsBytes) {
  Pool pool{PoolOptions{.workers = 1, .max_pending_bytes = 100'000}};
  const auto size = [](const std::string& text) { return text.size(); };
  const std::string text(60'000, 'x');
  const pid_t worker = pool.worker_pids().at(0);
  const auto first = pool.apply_async(stop, 0);
  ASSERT_TRUE(wait_for_state(worker, 'T'));
  const auto second = pool.try_apply_async(size, text);
  ASSERT_TRUE(second.has_value());
  EXPECT_FALSE(pool.try_apply_async(size, text).has_value());
  EXPECT_TRUE(pool.try_apply_async(square, 1).has_value());  // small enough
  std::atomic<bool> submitted{false};
  std::jthread submitter{[&] {
    const auto third = pool.apply_async(size, text);
    submitted = true;
    EXPECT_EQ(third.get(20s), text.size());
  }};
  EXPECT_EQ(pool.statistics().queued, 2U);
  EXPECT_FALSE(submitted);
  ::kill(worker, SIGCONT);
  submitter.join();
  EXPECT_TRUE(submitted);
  EXPECT_EQ(second->get(20s), text.size());
  EXPECT_EQ(pool.map(size, std::vector<std::string>(5, text), 1), std::vector<std::size_t>(5, text.size()));
  pool.terminate();
}

TEST(PoolBounds, WhoWaitsForRoomHearsOfTheEnd) {
  Pool pool{PoolOptions{.workers = 1, .max_pending_tasks = 1}};
  const auto first = pool.apply_async(stop, 0);
  std::jthread submitter{[&] { EXPECT_THROW(pool.apply_async(square, 1), troupe::ValueError); }};
  ASSERT_TRUE(wait_for_state(pool.worker_pids().at(0), 'T'));
  pool.terminate();
  submitter.join();
  EXPECT_THROW(first.get(20s), troupe::Cancelled);
}

}  // namespace
