// AsyncResult::cancel: exact for what is queued, by force for what runs; siblings are not affected.

#include <troupe/error.hpp>
#include <troupe/pool.hpp>
#include <troupe/this_task.hpp>

#include "support/one_piece.hpp"
#include "support/pools.hpp"
#include "support/processes.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <numeric>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe::test;
using troupe::AsyncResult;
using troupe::Pool;

int stop(int x) { return ::raise(SIGSTOP), x; }

void work_while_wanted(troupe::StopToken token) {
  while (!token.stop_requested()) std::this_thread::yield();
}

int until_asked(int x) {
  work_while_wanted(troupe::this_task::stop_token());
  return x;
}

/// Waits until some worker of `pool` has stopped itself; returns its process id.
pid_t stopped_worker(const Pool& pool) {
  pid_t found = 0;
  EXPECT_TRUE(comes_true([&] {
    for (const pid_t pid : pool.worker_pids())
      if (process_state(pid) == 'T') found = pid;
    return found != 0;
  }));
  return found;
}

TEST(PoolCancel, AQueuedTaskIsTakenOutExactly) {
  Pool pool{1};
  run_short_tasks(pool);  // so that tasks are given ahead, into the ring
  const auto running = pool.apply_async(stop, 1);
  std::vector<AsyncResult<int>> queued;
  for (int i = 0; i < 3000; ++i) queued.push_back(pool.apply_async(square, i));  // more than a worker is given ahead
  const pid_t worker = stopped_worker(pool);
  EXPECT_TRUE(queued[1].cancel());     // in the ring
  EXPECT_TRUE(queued[2990].cancel());  // in the queue
  EXPECT_FALSE(queued[1].cancel());    // it has ended by that
  EXPECT_THROW(queued[1].get(0s), troupe::Cancelled);
  EXPECT_THROW(queued[2990].get(0s), troupe::Cancelled);
  EXPECT_FALSE(running.cancel());  // it runs
  ::kill(worker, SIGCONT);
  EXPECT_EQ(running.get(20s), 1);
  for (int i = 0; i < 3000; ++i) {
    if (i == 1 || i == 2990) continue;
    ASSERT_EQ(queued[static_cast<std::size_t>(i)].get(20s), i * i);
  }
  EXPECT_EQ(pool.worker_pids(), std::vector{worker});
  EXPECT_EQ(pool.statistics().cancelled, 2U);
  pool.terminate();
}

TEST(PoolCancel, ByForceARunningTaskIsEndedWithItsWorker) {
  Pool pool{2};
  run_short_tasks(pool);
  const auto running = pool.apply_async(stop, 1);
  const pid_t worker = stopped_worker(pool);
  std::vector<AsyncResult<int>> others;
  for (int i = 0; i < 100; ++i) others.push_back(pool.apply_async(square, i));
  EXPECT_TRUE(running.cancel({.force = true}));
  EXPECT_THROW(running.get(20s), troupe::Cancelled);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(others[static_cast<std::size_t>(i)].get(20s), i * i);
  expect_works(pool, 2);
  const auto pids = pool.worker_pids();
  EXPECT_EQ(std::ranges::count(pids, worker), 0);
  pool.terminate();
}

// Each task appends a line: what waits behind the cancelled one runs once, whoever it was given to, in order if nobody
// else takes it.
class PoolCancelWorkers : public testing::TestWithParam<int> {};

TEST_P(PoolCancelWorkers, SiblingsBehindARunningTaskRunOnce) {
  std::string dir = "/tmp/troupe-cancel-XXXXXX";
  ASSERT_NE(::mkdtemp(dir.data()), nullptr);
  const std::string file = dir + "/lines";
  Pool pool{GetParam()};
  run_short_tasks(pool);
  const auto running = pool.apply_async(stop, 1);
  std::vector<AsyncResult<void>> siblings;
  for (int i = 0; i < 20; ++i)
    siblings.push_back(pool.apply_async(
        [](const std::string& path, int what) {
          std::ofstream{path, std::ios::app} << what << '\n';
        },
        file, i));
  stopped_worker(pool);
  EXPECT_TRUE(running.cancel({.force = true}));
  for (const auto& sibling : siblings) sibling.get(20s);
  std::ifstream in{file};
  std::vector<int> lines{std::istream_iterator<int>{in}, {}};
  if (GetParam() > 1) std::ranges::sort(lines);
  std::vector<int> expected(20);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(lines, expected);
  EXPECT_THROW(running.get(20s), troupe::Cancelled);
  pool.terminate();
  std::filesystem::remove_all(dir);
}

INSTANTIATE_TEST_SUITE_P(Workers, PoolCancelWorkers, testing::Values(1, 3), testing::PrintToStringParamName());

TEST(PoolCancel, ATaskThatLooksCanEndByItself) {
  Pool pool{1};
  const pid_t worker = pool.apply([](int) { return ::getpid(); }, 0);
  const auto running = pool.apply_async(until_asked, 1);
  ASSERT_TRUE(comes_true([&] { return pool.statistics().running == 1; }));
  EXPECT_TRUE(running.cancel({.force = true, .grace = 60s}));
  EXPECT_THROW(running.get(20s), troupe::Cancelled);
  EXPECT_EQ(pool.apply([](int) { return ::getpid(); }, 0), worker);  // nobody was killed
  EXPECT_FALSE(pool.apply([](int) { return troupe::this_task::stop_requested(); }, 0));
  pool.terminate();
}

TEST(PoolCancel, AfterTheGraceItIsKilled) {
  Pool pool{1};
  const auto running = pool.apply_async(stop, 1);
  stopped_worker(pool);
  EXPECT_TRUE(running.cancel({.force = true, .grace = 20ms}));
  EXPECT_THROW(running.get(20s), troupe::Cancelled);
  expect_works(pool, 1);
  pool.terminate();
}

TEST(PoolCancel, WhatHasEndedIsLeftAlone) {
  Pool pool{1};
  const auto done = pool.apply_async(square, 3);
  done.wait();
  EXPECT_FALSE(done.cancel());
  EXPECT_FALSE(done.cancel({.force = true}));
  EXPECT_EQ(done.get(), 9);
  pool.terminate();
}

TEST(PoolCancel, OfAMapEndsAllItsChunks) {
  Pool pool{2};
  const auto all = pool.map_async(stop, std::vector<int>(50, 1), 1);
  stopped_worker(pool);
  EXPECT_TRUE(all.cancel({.force = true}));
  EXPECT_THROW(all.get(20s), troupe::Cancelled);
  expect_works(pool, 2);
  pool.terminate();
}

TEST(PoolCancel, AClosedPoolEndsWhenWhatIsLeftIsCancelled) {
  Pool pool{1};
  const auto running = pool.apply_async(stop, 1);
  const auto queued = pool.apply_async(square, 1);
  stopped_worker(pool);
  pool.close();
  EXPECT_TRUE(queued.cancel());
  EXPECT_TRUE(running.cancel({.force = true}));
  EXPECT_TRUE(pool.join(20s));
}

TEST(PoolCancel, CallbacksHearOfIt) {
  Pool pool{1};
  const auto running = pool.apply_async(stop, 1);
  std::string text;
  const auto queued =
      pool.error_callback([&](const std::exception& error) { text = error.what(); }).apply_async(square, 1);
  stopped_worker(pool);
  EXPECT_TRUE(queued.cancel());
  EXPECT_THROW(queued.get(20s), troupe::Cancelled);
  EXPECT_NE(text.find("cancelled before it began"), std::string::npos) << text;
  pool.terminate();
}

}  // namespace
