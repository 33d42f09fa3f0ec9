// What is said about workers: initializer, maxtasksperchild, memory limits, how many there are; and what they tell.

#include <troupe/error.hpp>
#include <troupe/pool.hpp>
#include <troupe/process.hpp>
#include <troupe/this_task.hpp>

#include "support/one_piece.hpp"
#include "support/pools.hpp"
#include "support/processes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <ranges>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe::test;
using testing::HasSubstr;
using troupe::Pool;
using troupe::PoolOptions;

int prepared = 0;
void prepare(int x, const std::string& text) { prepared += x + static_cast<int>(text.size()); }
int get_prepared(int) { return prepared; }
void refuse() { throw std::runtime_error("no database"); }
pid_t pid_of_worker(int) { return ::getpid(); }

std::size_t use_memory(std::size_t bytes) {
  static std::vector<char> kept;
  kept.resize(bytes);
  std::memset(kept.data(), 1, kept.size());
  return kept.size();
}

int use_memory_and_stay(std::size_t bytes) {
  use_memory(bytes);
  for (;;) std::this_thread::sleep_for(1h);
}

constexpr std::size_t mib = std::size_t{1} << 20U;

TEST(PoolWorkers, EachRunsTheInitializerOnceBeforeItsFirstTask) {
  Pool pool{PoolOptions{.workers = 2, .initializer = {prepare, 3, "four"}}};
  for (int i = 0; i < 20; ++i) EXPECT_EQ(pool.apply(get_prepared, 0), 7);
  EXPECT_THROW(pool.apply([](int) { ::raise(SIGKILL); }, 0), troupe::WorkerDied);
  EXPECT_EQ(pool.map(get_prepared, std::views::iota(0, 40), 1), std::vector<int>(40, 7));  // its replacement as well
  pool.terminate();
}

TEST(PoolWorkers, LargeArgumentsReachEveryInitializer) {
  static std::size_t size = 0;
  Pool pool{PoolOptions{
      .workers = 2,
      .initializer = {[](const std::vector<char>& data) { size = data.size(); }, std::vector<char>(5 * mib, 'x')}}};
  EXPECT_THROW(pool.apply([](int) { ::raise(SIGKILL); }, 0), troupe::WorkerDied);
  for (const std::size_t got : pool.map([](int) { return size; }, std::views::iota(0, 20), 1)) EXPECT_EQ(got, 5 * mib);
  pool.terminate();
}

// CPython respawns such workers for ever.
TEST(PoolWorkers, AnInitializerThatFailsFailsThePoolNotTheMachine) {
  Pool pool{PoolOptions{.workers = 2, .name = "refused", .initializer = {refuse}}};
  try {
    pool.apply(square, 1);
    FAIL();
  } catch (const troupe::RuntimeError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("refused: its initializer fails in every worker"), std::string::npos) << text;
    EXPECT_NE(text.find("no database"), std::string::npos) << text;
  }
  EXPECT_THROW(pool.apply(square, 1), troupe::RuntimeError);
  EXPECT_TRUE(comes_true([&] { return pool.worker_pids().empty(); }));
  EXPECT_LE(pool.statistics().workers.at(0).restarts + pool.statistics().workers.at(1).restarts, 10U);
  pool.close();
  EXPECT_TRUE(pool.join(20s));
}

TEST(PoolWorkers, AnInitializerThatKillsIsReportedToo) {
  Pool pool{PoolOptions{.workers = 1, .initializer = {[] { ::raise(SIGSEGV); }}}};
  EXPECT_THROW(pool.apply(square, 1), troupe::RuntimeError);
  pool.terminate();
}

TEST(PoolWorkers, EndAfterMaxtasksperchild) {
  Pool pool{PoolOptions{.workers = 2, .maxtasksperchild = 3}};
  const auto pids = pool.map(pid_of_worker, std::views::iota(0, 60), 1);
  for (const pid_t pid : pids) EXPECT_LE(std::ranges::count(pids, pid), 3);
  EXPECT_GE(std::set(pids.begin(), pids.end()).size(), 20U);
  expect_works(pool, 2);
  EXPECT_EQ(pool.statistics().deaths, 0U);
  pool.close();
  pool.join();
}

TEST(PoolWorkers, CanBecomeMoreAndFewerWhileTasksRun) {
  Pool pool{2};
  std::vector<troupe::AsyncResult<int>> results;
  const auto submit = [&] {
    for (int i = 0; i < 300; ++i) results.push_back(pool.apply_async(square, i));
  };
  submit();
  pool.resize(5);
  EXPECT_EQ(pool.num_workers(), 5U);
  submit();
  EXPECT_TRUE(comes_true([&] { return pool.worker_pids().size() == 5; }));
  submit();
  pool.resize(1);
  submit();
  EXPECT_TRUE(comes_true([&] { return pool.worker_pids().size() == 1; }));
  pool.resize(3);
  submit();
  for (std::size_t i = 0; i < results.size(); ++i)
    EXPECT_EQ(results[i].get(20s), static_cast<int>(i % 300 * (i % 300)));
  expect_works(pool, 3);
  EXPECT_EQ(pool.statistics().deaths, 0U);
  EXPECT_THROW(pool.resize(0), troupe::ValueError);
  EXPECT_THROW(pool.resize(5000), troupe::ValueError);
  pool.close();
  EXPECT_THROW(pool.resize(2), troupe::ValueError);
  EXPECT_TRUE(pool.join(20s));
}

TEST(PoolWorkers, OneThatIsNotWantedAnyMoreEndsItsTaskFirst) {
  Pool pool{2};
  const auto stop = [](int x) { return ::raise(SIGSTOP), x; };
  const auto first = pool.apply_async(stop, 1);
  const auto second = pool.apply_async(stop, 2);
  const auto pids = pool.worker_pids();
  for (const pid_t pid : pids) ASSERT_TRUE(wait_for_state(pid, 'T'));
  pool.resize(1);
  EXPECT_EQ(pool.worker_pids().size(), 2U);
  for (const pid_t pid : pids) ::kill(pid, SIGCONT);
  EXPECT_EQ(first.get(20s), 1);
  EXPECT_EQ(second.get(20s), 2);
  expect_works(pool, 1);
  pool.terminate();
}

// What a worker needs to get ready, its replacement would need as well.
TEST(PoolWorkers, AreNotReplacedForWhatTheirInitializerTakes) {
  Pool pool{PoolOptions{.workers = 1,
                        .initializer = {[](std::size_t bytes) { use_memory(bytes); }, 150 * mib},
                        .memory_soft_limit = 100 * mib}};
  for (int i = 0; i < 5; ++i) EXPECT_EQ(pool.apply(square, i), i * i);
  EXPECT_LE(pool.statistics().workers.at(0).restarts, 5U);  // one after each task, never one without any
  pool.terminate();
}

// The end of a task is looked at as well, not only the clock.
TEST(PoolWorkers, AreReplacedBeforeTheTaskAfterOneThatHasTakenTooMuchMemory) {
  Pool pool{PoolOptions{.workers = 1, .memory_soft_limit = 100 * mib}};
  for (int i = 0; i < 5; ++i) {
    const pid_t before = pool.apply(pid_of_worker, 0);
    EXPECT_EQ(pool.apply(use_memory, 150 * mib), 150 * mib);
    EXPECT_NE(pool.apply(pid_of_worker, 0), before);
  }
  EXPECT_EQ(pool.statistics().deaths, 0U);
  pool.terminate();
}

// An initializer that takes more than is allowed is one that fails.
TEST(PoolWorkers, CannotTakeMoreThanTheHardMemoryLimitInTheirInitializer) {
  Pool pool{PoolOptions{.workers = 1,
                        .initializer = {[](std::size_t bytes) { use_memory_and_stay(bytes); }, 200 * mib},
                        .memory_hard_limit = 100 * mib}};
  try {
    pool.apply_async(square, 1).get(60s);
    FAIL() << "an initializer beyond the limit was left alone";
  } catch (const troupe::RuntimeError& error) {
    EXPECT_THAT(error.what(), HasSubstr("its initializer fails in every worker"));
    EXPECT_THAT(error.what(), HasSubstr("the limit is 100 MiB"));
  }
  ASSERT_FALSE(pool.deaths().empty());
  EXPECT_THAT(pool.deaths().back().reason, HasSubstr("the limit is 100 MiB"));
  pool.terminate();
}

// Its end is near, but the machine's memory may be nearer.
TEST(PoolWorkers, CannotTakeMoreThanTheHardMemoryLimitInAClosedPool) {
  Pool pool{PoolOptions{.workers = 2,
                        .initializer = {[](std::size_t bytes) { use_memory_and_stay(bytes); }, 200 * mib},
                        .memory_hard_limit = 100 * mib}};
  pool.close();
  EXPECT_TRUE(pool.join(20s));
}

TEST(PoolWorkers, AboveTheHardMemoryLimitAreKilledAndTheirTaskSaysSo) {
  Pool pool{PoolOptions{.workers = 2, .memory_hard_limit = 100 * mib}};
  try {
    pool.apply(use_memory_and_stay, 200 * mib);
    FAIL();
  } catch (const troupe::WorkerDied& error) {
    EXPECT_NE(std::string(error.what()).find("the limit is 100 MiB"), std::string::npos) << error.what();
    EXPECT_GT(error.record().peak_resident_bytes, 100 * mib);
  }
  expect_works(pool, 2);
  pool.terminate();
}

TEST(PoolWorkers, MayHavePoolsAndProcessesOfTheirOwnIfNotDaemonic) {
  struct Nested {
    int operator()(int depth) const {
      if (depth == 0) return 1;
      Pool inner{PoolOptions{.workers = 1, .daemon = false}};
      const int result = inner.apply(Nested{}, depth - 1);
      inner.close();
      inner.join();
      return result + 1;
    }
  };
  Pool pool{PoolOptions{.workers = 1, .daemon = false}};
  EXPECT_EQ(pool.apply(Nested{}, 3), 4);
  pool.close();
  pool.join();
  Pool daemonic{1};
  EXPECT_THROW(daemonic.apply(Nested{}, 1), troupe::AssertionError);
  daemonic.terminate();
}

int square_in_a_process(int x) {
  auto [mine, theirs] = make_line();
  troupe::Process process{
      [](const troupe::FileDescriptor& line, int number) { send_text(line, std::to_string(square(number))); },
      std::move(theirs), x};
  process.start();
  const int squared = std::stoi(receive_text(mine));
  process.join();
  return squared;
}

TEST(PoolWorkers, MayStartProcessesIfNotDaemonic) {
  Pool pool{PoolOptions{.workers = 2, .daemon = false}};
  EXPECT_EQ(pool.map(square_in_a_process, std::views::iota(0, 6), 1), (std::vector{0, 1, 4, 9, 16, 25}));
  pool.close();
  EXPECT_TRUE(pool.join(20s));
  Pool daemonic{PoolOptions{.workers = 1, .name = "strict"}};
  try {
    daemonic.apply(square_in_a_process, 1);
    ADD_FAILURE() << "a daemonic worker has started a process";
  } catch (const troupe::AssertionError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("process \"strict-worker-1\" is daemonic and may not start \"Process-"), std::string::npos)
        << text;
  }
  EXPECT_EQ(daemonic.apply(square, 4), 16);
  daemonic.terminate();
}

// What a task has others do for it has no more time than the task itself.
TEST(PoolWorkers, TasksOfATasksPoolInheritItsDeadline) {
  const auto left_in_nested = [](int) {
    Pool inner{PoolOptions{.workers = 1, .daemon = false}};
    const auto time_left = [](int) {
      return std::chrono::nanoseconds(troupe::this_task::deadline() - std::chrono::steady_clock::now());
    };
    const auto left = inner.with({.deadline = 10h}).apply(time_left, 0);
    inner.close();
    inner.join();
    return left;
  };
  Pool pool{PoolOptions{.workers = 1, .daemon = false}};
  const auto left = pool.with({.deadline = 1h}).apply(left_in_nested, 0);
  EXPECT_GT(left, 59min);
  EXPECT_LE(left, 1h);
  pool.close();
  pool.join();
}

TEST(PoolWorkers, AreToldOfInStatistics) {
  Pool pool{PoolOptions{.workers = 2, .name = "watched"}};
  EXPECT_EQ(pool.map(square, std::views::iota(0, 10), 1).size(), 10U);
  EXPECT_THROW(pool.apply([](int) { throw std::runtime_error("x"); }, 0), std::runtime_error);
  const auto running = pool.apply_async([](int x) { return ::raise(SIGSTOP), x; }, 1);
  const auto other = pool.apply_async([](int x) { return ::raise(SIGSTOP), x; }, 1);
  EXPECT_TRUE(comes_true([&] { return pool.statistics().running == 2; }));
  const auto queued = pool.apply_async(square, 1);
  const troupe::PoolStatistics now = pool.statistics();
  EXPECT_EQ(now.queued, 1U);
  EXPECT_EQ(now.done, 10U);
  EXPECT_EQ(now.failed, 1U);
  EXPECT_EQ(now.cancelled + now.retried + now.deaths, 0U);
  EXPECT_GT(now.median_time, 0ns);
  EXPECT_LE(now.median_time, now.time_90);
  EXPECT_LE(now.time_90, now.time_99);
  EXPECT_LE(now.time_99, now.longest_time);
  ASSERT_EQ(now.workers.size(), 2U);
  std::size_t tasks = 0;
  for (const auto& worker : now.workers) {
    EXPECT_TRUE(worker.state == troupe::WorkerState::busy || worker.state == troupe::WorkerState::held_up);
    EXPECT_NE(worker.pid, 0);
    EXPECT_GT(worker.resident_bytes, 100'000U);
    EXPECT_EQ(worker.restarts, 0U);
    tasks += worker.tasks;
  }
  EXPECT_EQ(tasks, 11U);
  pool.terminate();
}

// Every snapshot fits what was known to be submitted and done before it, and what was after it.
TEST(PoolWorkers, StatisticsAreOneMomentWhileThousandsOfTasksRun) {
  constexpr std::size_t num_tasks = 10'000;
  constexpr std::size_t most_open = 100;
  Pool pool{2};
  std::atomic<std::size_t> begun{0};      // submissions
  std::atomic<std::size_t> submitted{0};  // those that have returned
  std::atomic<std::size_t> ended{0};      // tasks whose results were seen
  std::jthread submitter{[&] {
    std::deque<troupe::AsyncResult<int>> open;
    const auto take_first = [&] {
      EXPECT_EQ(open.front().get(20s), 9);
      open.pop_front();
      ++ended;
    };
    for (std::size_t i = 0; i < num_tasks; ++i) {
      ++begun;
      open.push_back(pool.apply_async(square, 3));
      ++submitted;
      if (open.size() > most_open) take_first();
    }
    while (!open.empty()) take_first();
  }};
  std::size_t done_before = 0;
  for (bool last = false; !last;) {
    last = ended == num_tasks;
    const std::size_t known_ended = ended;
    const std::size_t known_submitted = submitted;
    const troupe::PoolStatistics now = pool.statistics();
    const std::size_t all = now.queued + now.running + now.done + now.failed;
    ASSERT_GE(all, known_submitted);
    ASSERT_LE(all, begun);
    ASSERT_GE(now.done, known_ended);
    ASSERT_GE(now.done, done_before);
    ASSERT_LE(now.running, 2U);
    ASSERT_EQ(now.failed, 0U);
    done_before = now.done;
  }
  EXPECT_EQ(done_before, num_tasks);
  pool.terminate();
}

TEST(PoolWorkers, AreBusyForAsLongAsTheirTasksTake) {
  Pool pool{1};
  EXPECT_EQ(pool.statistics().workers.at(0).busy, 0ns);
  const auto sleep = [](int ms) { std::this_thread::sleep_for(ms * 1ms); };
  for (int i = 1; i <= 3; ++i) {
    pool.apply(sleep, 5);
    EXPECT_GE(pool.statistics().workers.at(0).busy, i * 5ms);
  }
  pool.terminate();
}

TEST(PoolWorkers, OptionsThatMakeNoSenseAreNamed) {
  EXPECT_THROW(Pool(PoolOptions{.workers = 1, .maxtasksperchild = 0}), troupe::ValueError);
  EXPECT_THROW(Pool(PoolOptions{.workers = 1, .maxtasksperchild = -1}), troupe::ValueError);
  EXPECT_THROW(Pool(PoolOptions{.workers = 1, .quarantine_after = 0}), troupe::ValueError);
  EXPECT_THROW(Pool(PoolOptions{.workers = 1, .max_pending_tasks = 0}), troupe::ValueError);
  EXPECT_THROW(Pool(PoolOptions{.workers = 1, .memory_hard_limit = 0}), troupe::ValueError);
  EXPECT_THROW(Pool(PoolOptions{.workers = 10'000}), troupe::ValueError);
}

}  // namespace
