// Many faults at once: workers that kill each other, as many bad tasks as good ones, a pool that is destroyed in the
// midst of it while another works on.

#include <troupe/error.hpp>
#include <troupe/pool.hpp>

#include "support/faults.hpp"
#include "support/one_piece.hpp"
#include "support/pools.hpp"
#include "support/processes.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using namespace troupe::test;
using troupe::AsyncResult;
using troupe::Pool;
using troupe::PoolOptions;
using troupe::WorkerDied;

struct Board {
  std::array<std::atomic<pid_t>, 5> workers;
  std::atomic<int> kills;
  std::array<std::atomic<int>, 1000> runs;
};
Board& board = make_shared_memory<Board>();
const bool without_core_files = forbid_core_files();

void clear_board() {
  for (auto& worker : board.workers) worker = 0;
  for (auto& runs : board.runs) runs = 0;
  board.kills = 0;
}

int count_run(int number) {
  ++board.runs[static_cast<std::size_t>(number)];
  return square(number);
}

/// A bad task.
int run_with(int number, Fault fault) {
  ++board.runs[static_cast<std::size_t>(number)];
  commit(fault);
  return square(number);
}

void aim_at(const Pool& pool) {
  const auto pids = pool.worker_pids();
  for (std::size_t i = 0; i < board.workers.size(); ++i) board.workers[i] = i < pids.size() ? pids[i] : 0;
}

/// A task that now and then kills one of the workers, its own as well as others.
int run_and_shoot(int number) {
  const int squared = count_run(number);
  std::minstd_rand random{static_cast<unsigned>(number) + 1};
  random.discard(10);
  if (random() % 8 != 0) return squared;
  const pid_t victim = board.workers[random() % board.workers.size()].exchange(0);
  if (victim > 0) {
    ++board.kills;  // first: it may be this one
    ::kill(victim, SIGKILL);
  }
  return squared;
}

// Who is hit while its task runs loses that one, and each task is begun once at most.
TEST(PoolStorms, WorkersThatKillEachOtherLoseOnlyWhatTheyRan) {
  clear_board();
  Pool pool{static_cast<int>(board.workers.size())};
  expect_works(pool, board.workers.size());
  constexpr int batch = 20;  // so that there are workers to aim at when it is run
  int num_died = 0;
  for (int first = 0; first < static_cast<int>(board.runs.size()); first += batch) {
    aim_at(pool);
    std::vector<AsyncResult<int>> results;
    for (int i = first; i < first + batch; ++i) results.push_back(pool.apply_async(run_and_shoot, i));
    for (int i = first; i < first + batch; ++i) {
      try {
        EXPECT_EQ(results[static_cast<std::size_t>(i - first)].get(patience), square(i));
        EXPECT_EQ(board.runs[static_cast<std::size_t>(i)], 1);
      } catch (const WorkerDied& error) {
        EXPECT_EQ(error.exitcode(), -SIGKILL);
        EXPECT_LE(board.runs[static_cast<std::size_t>(i)], 1);
        ++num_died;
      }
    }
  }
  EXPECT_GT(board.kills, 10);
  EXPECT_LE(num_died, board.kills);
  expect_works(pool, board.workers.size());
  pool.terminate();
}

TEST(PoolStorms, AHundredBadTasksInAFullQueueLeaveAHundredGoodOnesAlone) {
  constexpr std::array faults{Fault::exception, Fault::exit_0, Fault::sigkill, Fault::alien_exception,
                              Fault::abort,     Fault::exit_3, Fault::sigterm, Fault::segfault};
  for (const int workers : {1, 2, 5, 13}) {
    clear_board();
    Pool pool{PoolOptions{.workers = workers, .max_pending_tasks = 8}};
    std::vector<std::pair<AsyncResult<int>, std::string>> results;  // and what asking for them throws
    int times_full = 0;
    for (int i = 0; i < 200; ++i) {
      const Fault fault = faults[static_cast<std::size_t>(i / 2) % faults.size()];
      auto result = i % 2 == 0 ? pool.try_apply_async(count_run, i) : pool.try_apply_async(run_with, i, fault);
      if (!result) {
        ++times_full;
        result = i % 2 == 0 ? pool.apply_async(count_run, i) : pool.apply_async(run_with, i, fault);
      }
      results.emplace_back(*std::move(result), i % 2 == 0 ? "nothing" : error_of(fault));
    }
    EXPECT_GT(times_full, 0);
    for (int i = 0; i < 200; ++i) {
      const auto& [result, error] = results[static_cast<std::size_t>(i)];
      EXPECT_EQ(thrown_by([&] { EXPECT_EQ(result.get(patience), square(i)); }), error) << i;
      EXPECT_EQ(board.runs[static_cast<std::size_t>(i)], 1) << i;
    }
    expect_works(pool, static_cast<std::size_t>(workers));
    pool.close();
    EXPECT_TRUE(pool.join(patience));
  }
}

TEST(PoolStorms, APoolThatIsDestroyedInAStormLeavesAnotherAlone) {
  clear_board();
  Pool stays{2};
  for (int round = 0; round < 10; ++round) {
    clear_board();
    auto goes = std::make_unique<Pool>(3);
    std::vector<AsyncResult<int>> kept;
    std::vector<AsyncResult<int>> lost;
    const auto bad = stays.apply_async(run_with, 900, Fault::abort);
    for (int i = 0; i < 200; ++i) {
      kept.push_back(stays.apply_async(count_run, i));
      lost.push_back(goes->apply_async(run_with, 200 + i, i % 5 == 0 ? Fault::sigkill : Fault::exception));
    }
    goes->terminate();
    std::jthread destroyer{[&] { goes.reset(); }};
    for (int i = 0; i < 200; ++i) {
      EXPECT_EQ(kept[static_cast<std::size_t>(i)].get(patience), square(i));
      EXPECT_EQ(board.runs[static_cast<std::size_t>(i)], 1);
      const std::string error = thrown_by([&] { lost[static_cast<std::size_t>(i)].get(patience); });
      EXPECT_TRUE(error == "Cancelled" || error == (i % 5 == 0 ? "WorkerDied" : "ValueError")) << error;
      EXPECT_LE(board.runs[static_cast<std::size_t>(200 + i)], 1);
    }
    EXPECT_EQ(thrown_by([&] { bad.get(patience); }), "WorkerDied");
  }
  expect_works(stays, 2);
  stays.terminate();
}

// Deaths meet the end of the last task, the order to end, and replacements on their way.
TEST(PoolStorms, AClosingPoolEndsWhileItsWorkersAreKilled) {
  std::minstd_rand random{7};
  for (int round = 0; round < 40; ++round) {
    clear_board();
    const int workers = 1 + round % 5;
    Pool pool{workers};
    std::vector<AsyncResult<int>> results;
    for (int i = 0; i < round % 20; ++i) results.push_back(pool.apply_async(count_run, i));
    int kills = 0;
    const auto kill_one = [&] {
      const auto pids = pool.worker_pids();
      if (!pids.empty() && ::kill(pids[random() % pids.size()], SIGKILL) == 0) ++kills;
    };
    if (round % 2 == 0) kill_one();
    pool.close();
    // No more than a pool forgives, should they all die before they are ready.
    while (!pool.join(std::chrono::microseconds{random() % 500}) && kills < 6) kill_one();
    EXPECT_TRUE(pool.join(patience));
    int num_died = 0;
    for (std::size_t i = 0; i < results.size(); ++i) {
      const std::string error = thrown_by([&] { EXPECT_EQ(results[i].get(patience), square(static_cast<int>(i))); });
      EXPECT_TRUE(error == "nothing" || error == "WorkerDied") << error;
      EXPECT_LE(board.runs[i], 1);
      num_died += error == "nothing" ? 0 : 1;
    }
    EXPECT_LE(num_died, kills);
  }
}

}  // namespace
