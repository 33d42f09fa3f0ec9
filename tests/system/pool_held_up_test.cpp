// Workers that do not get on, because they are stopped or their task is long: nothing that others could do waits for
// them.

#include <troupe/error.hpp>
#include <troupe/pool.hpp>

#include "support/one_piece.hpp"
#include "support/pools.hpp"
#include "support/processes.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <memory>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe::test;
using troupe::AsyncResult;
using troupe::Pool;

pid_t other_than(const Pool& pool, pid_t pid) {
  const auto pids = pool.worker_pids();
  return pids.at(0) == pid ? pids.at(1) : pids.at(0);
}

// A worker that stops itself keeps its task; what it had not begun is done by the other one.
TEST(PoolHeldUp, AStoppedWorkerHoldsOnlyTheTaskItHadBegun) {
  Pool pool{2};
  run_short_tasks(pool);
  const auto stopped = pool.apply_async([](int x) { return ::raise(SIGSTOP), x; }, 7);
  std::vector<AsyncResult<int>> others;
  for (int i = 0; i < 200; ++i) others.push_back(pool.apply_async(square, i));
  for (int i = 0; i < 200; ++i) EXPECT_EQ(others[static_cast<std::size_t>(i)].get(20s), i * i);
  EXPECT_FALSE(stopped.ready());
  for (const pid_t pid : pool.worker_pids()) ::kill(pid, SIGCONT);
  EXPECT_EQ(stopped.get(20s), 7);
  expect_works(pool, 2);
}

TEST(PoolHeldUp, TerminateEndsStoppedAndDeafWorkers) {
  auto pool = std::make_unique<Pool>(2);
  const auto stopped = pool->apply_async([](int x) { return ::raise(SIGSTOP), x; }, 1);
  const auto deaf = pool->apply_async(
      [](int x) {
        std::signal(SIGTERM, SIG_IGN);
        std::this_thread::sleep_for(100s);
        return x;
      },
      1);
  const auto pids = pool->worker_pids();
  pool.reset();
  EXPECT_THROW(stopped.get(), troupe::Cancelled);
  EXPECT_THROW(deaf.get(), troupe::Cancelled);
  for (const pid_t pid : pids) EXPECT_FALSE(is_running(pid));
}

// One short task after the other, each submitted while one worker sleeps and the other is awake with its long task: the
// awake one must not be preferred, nor its ring be filled with what is taken back from it.
TEST(PoolHeldUp, ALongTaskCostsLaterShortOnesNothing) {
  Pool pool{2};
  run_short_tasks(pool);
  const auto slow = pool.apply_async([] { std::this_thread::sleep_for(1000s); });
  const pid_t free_worker = pool.apply_async(::getpid).get(20s);
  ASSERT_NE(free_worker, 0);
  const std::string text(4000, 'x');
  for (int i = 0; i < 200; ++i) {
    wait_for_state(free_worker, 'S');
    ASSERT_EQ(pool.apply_async([](const std::string& all) { return all.size(); }, text).get(20s), text.size()) << i;
  }
  EXPECT_FALSE(slow.ready());
  pool.terminate();
}

// The task behind a long one is moved; when the long one ends, its worker gets tasks again.
TEST(PoolHeldUp, AWorkerIsUsedAgainAfterItsLongTask) {
  Pool pool{2};
  run_short_tasks(pool);
  const auto stopped = pool.apply_async([](int x) { return ::raise(SIGSTOP), x; }, 7);
  std::vector<AsyncResult<int>> behind;
  for (int i = 0; i < 50; ++i) behind.push_back(pool.apply_async(square, i));
  for (const auto& result : behind) result.wait(20s);
  pid_t held_up = 0;
  for (const pid_t pid : pool.worker_pids())
    if (process_state(pid) == 'T') held_up = pid;
  ASSERT_NE(held_up, 0);
  ::kill(held_up, SIGCONT);
  EXPECT_EQ(stopped.get(20s), 7);
  ::kill(other_than(pool, held_up), SIGSTOP);
  EXPECT_EQ(pool.apply_async(::getpid).get(20s), held_up);
  ::kill(other_than(pool, held_up), SIGCONT);
  expect_works(pool, 2);
}

// It owes nothing, so nothing tells that it is stopped but that it does not begin what it is given.
TEST(PoolHeldUp, AWorkerStoppedWhileIdleHoldsNothing) {
  Pool pool{2};
  for (const bool are_short : {false, true}) {
    if (are_short) run_short_tasks(pool);
    for (const pid_t pid : pool.worker_pids()) {
      ::kill(pid, SIGSTOP);
      ASSERT_TRUE(wait_for_state(pid, 'T'));
      for (int i = 0; i < 5; ++i) ASSERT_NE(pool.apply_async(::getpid).get(20s), pid);
      ::kill(pid, SIGCONT);
    }
  }
  expect_works(pool, 2);
}

// Both are stopped, one after the other, and the one that owes nothing goes on first: it has to get what the other
// holds.
TEST(PoolHeldUp, AnIdleWorkerThatGoesOnGetsWhatWaits) {
  Pool pool{2};
  const auto pids = pool.worker_pids();
  pool.map(square, std::vector<int>{1, 2, 3, 4}, 1);
  ::kill(pids[0], SIGSTOP);
  ASSERT_TRUE(wait_for_state(pids[0], 'T'));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(pool.apply_async(::getpid).get(20s), pids[1]);
  ::kill(pids[1], SIGSTOP);
  ASSERT_TRUE(wait_for_state(pids[1], 'T'));
  std::vector<AsyncResult<int>> waiting;
  for (int i = 0; i < 5; ++i) waiting.push_back(pool.apply_async(::getpid));
  EXPECT_FALSE(waiting.front().wait(50ms));
  ::kill(pids[0], SIGCONT);
  for (const auto& result : waiting) EXPECT_EQ(result.get(20s), pids[0]);
  ::kill(pids[1], SIGCONT);
  expect_works(pool, 2);
}

}  // namespace
