// What the rules of tasks, timers and bounds must not do to a pool: keep it from ending, from working, or from going.

#include <troupe/error.hpp>
#include <troupe/pool.hpp>
#include <troupe/process.hpp>
#include <troupe/runtime.hpp>

#include "support/nursery.hpp"
#include "support/pools.hpp"
#include "support/processes.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <ranges>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe::test;
using troupe::Pool;
using troupe::PoolOptions;

int stop(int x) { return ::raise(SIGSTOP), x; }
int die(int x) { return ::raise(SIGKILL), x; }

// A timer of an hour must not hold the pool's memory and descriptors for an hour.
TEST(PoolRules, TimersGoWithThePool) {
  const auto use = [] {
    Pool pool{2};
    EXPECT_EQ(pool.with({.timeout = 1h, .deadline = 2h}).apply(square, 3), 9);
    pool.close();
    pool.join();
  };
  use();
  EXPECT_TRUE(comes_true([] { return troupe::active_children().empty(); }));
  const auto before = num_descriptors();
  for (int i = 0; i < 5; ++i) use();
  EXPECT_TRUE(comes_true([&] { return num_descriptors() <= before; })) << num_descriptors() - before;
}

TEST(PoolRules, AClosedPoolEndsWhenATaskExpiresBetweenTwoAttempts) {
  Pool pool{2};
  const auto result =
      pool.with({.deadline = 150ms, .retries = 2, .backoff = {.initial = 1h, .jitter = 0}}).apply_async(die, 1);
  pool.close();
  EXPECT_THROW(result.get(20s), troupe::TimeoutError);
  EXPECT_TRUE(pool.join(20s));
}

// What a worker was given and lost again is never answered: somebody else has to see that the worker goes on.
TEST(PoolRules, NothingWaitsForAWorkerWhoseTasksWereTakenOut) {
  Pool pool{1};
  const pid_t worker = pool.apply([](int) { return ::getpid(); }, 0);
  ::kill(worker, SIGSTOP);
  ASSERT_TRUE(wait_for_state(worker, 'T'));
  const auto first = pool.apply_async(square, 1);
  const auto second = pool.apply_async(square, 2);
  EXPECT_TRUE(comes_true([&] { return pool.statistics().workers.at(0).state == troupe::WorkerState::held_up; }));
  EXPECT_TRUE(first.cancel());
  const auto third = pool.apply_async(square, 3);
  ::kill(worker, SIGCONT);
  EXPECT_EQ(second.get(20s), 4);
  EXPECT_EQ(third.get(20s), 9);
  pool.terminate();
}

TEST(PoolRules, AForcedCancelIsACancelWhateverEndsTheTask) {
  Pool pool{1};
  const auto result = pool.with({.timeout = 100ms}).apply_async(stop, 1);
  ASSERT_TRUE(wait_for_state(pool.worker_pids().at(0), 'T'));
  EXPECT_TRUE(result.cancel({.force = true, .grace = 1h}));
  EXPECT_THROW(result.get(20s), troupe::Cancelled);
  EXPECT_EQ(pool.statistics().cancelled, 1U);
  pool.terminate();
}

TEST(PoolRules, AnIteratorWaitsForRoomWhereASubmitWouldFail) {
  Pool pool{PoolOptions{.workers = 2, .max_pending_tasks = 4, .when_full = troupe::WhenFull::fail}};
  int expected = 0;
  for (const int y : pool.imap(square, std::views::iota(0, 100))) {
    EXPECT_EQ(y, expected * expected);
    ++expected;
  }
  EXPECT_EQ(expected, 100);
  pool.terminate();
}

TEST(PoolRules, SubmittersAtTheGateAllHearOfClose) {
  for (int round = 0; round < 50; ++round) {
    Pool pool{PoolOptions{.workers = 1, .max_pending_tasks = 1}};
    std::vector<std::jthread> submitters;
    std::atomic<int> refused{0};
    for (int i = 0; i < 4; ++i)
      submitters.emplace_back([&] {
        try {
          for (;;) pool.apply_async(square, 1);
        } catch (const troupe::ValueError&) {
          ++refused;
        }
      });
    pool.apply_async(square, 1);
    pool.close();
    submitters.clear();
    EXPECT_EQ(refused, 4);
    EXPECT_TRUE(pool.join(20s));
  }
}

TEST(PoolRules, TheLongestTimeoutIsNone) {
  Pool pool{1};
  EXPECT_EQ(pool.with({.timeout = std::chrono::nanoseconds::max()}).apply(square, 3), 9);
  EXPECT_EQ(pool.with({.deadline = std::chrono::nanoseconds::max()}).apply(square, 4), 16);
  pool.terminate();
}

// A worker that gets nothing because it is held up has not used up its tasks.
TEST(PoolRules, TasksTakenBackDoNotCountAgainstMaxtasksperchild) {
  Pool pool{PoolOptions{.workers = 2, .maxtasksperchild = 2}};
  const auto pids = pool.worker_pids();
  for (const pid_t pid : pids) ::kill(pid, SIGSTOP);
  std::vector<troupe::AsyncResult<int>> results;
  for (int i = 0; i < 10; ++i) results.push_back(pool.apply_async(square, i));
  ::kill(pids[0], SIGCONT);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(results[static_cast<std::size_t>(i)].get(20s), i * i);
  ::kill(pids[1], SIGCONT);
  expect_works(pool, 2);
  pool.close();
  EXPECT_TRUE(pool.join(20s));
}

const bool exits = add_role("exit in a callback", [](int argc, char** argv, const std::string&) {
  const troupe::Runtime runtime{argc, argv};
  Pool pool{1};
  pool.callback([](int) { std::exit(7); }).apply_async(square, 1).wait();
  return 1;
});

TEST(PoolRules, ACallbackMayEndTheProgram) {
  Program program{"exit in a callback"};
  EXPECT_EQ(program.wait(), 7);
}

}  // namespace
