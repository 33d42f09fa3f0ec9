// What TaskOptions say: timeouts, deadlines, retries, priorities, names.

#include <troupe/error.hpp>
#include <troupe/pool.hpp>
#include <troupe/this_task.hpp>

#include "support/forked.hpp"
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
#include <set>
#include <stdexcept>
#include <string>
#include <sys/resource.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe::test;
using std::chrono::steady_clock;
using troupe::Pool;
using troupe::TaskOptions;

int sleep_for_ever(int x) {
  for (;;) std::this_thread::sleep_for(1h);
  return x;
}

/// Appends a line to `file`; returns how many there are now.
int add_line(const std::string& file) {
  std::ofstream{file, std::ios::app} << "line\n";
  std::ifstream in{file};
  return static_cast<int>(std::count(std::istreambuf_iterator<char>{in}, {}, '\n'));
}

int die_first_times(const std::string& file, int times) {
  const int line = add_line(file);
  if (line <= times) ::raise(SIGKILL);
  return line;
}

int throw_first_times(const std::string& file, int times) {
  const int line = add_line(file);
  if (line <= times) throw std::out_of_range("line " + std::to_string(line));
  return line;
}

class PoolOptionsTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = "/tmp/troupe-options-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    dir = name;
    file = dir + "/lines";
  }
  void TearDown() override {
    pool.terminate();
    std::filesystem::remove_all(dir);
  }
  int num_lines() { return add_line(file) - 1; }

  std::string dir;
  std::string file;
  Pool pool{2};
};

TEST_F(PoolOptionsTest, ATimeoutEndsTheTaskAndItsWorkerAndNothingElse) {
  const auto before = steady_clock::now();
  const auto late = pool.with({.timeout = 50ms, .name = "sleeper"}).apply_async(sleep_for_ever, 1);
  std::vector<troupe::AsyncResult<int>> others;
  for (int i = 0; i < 50; ++i) others.push_back(pool.apply_async(square, i));
  try {
    late.get(20s);
    FAIL();
  } catch (const troupe::TimeoutError& error) {
    EXPECT_NE(std::string(error.what()).find("sleeper #"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("timeout of 50 ms"), std::string::npos) << error.what();
  }
  EXPECT_GE(steady_clock::now() - before, 50ms);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(others[static_cast<std::size_t>(i)].get(20s), i * i);
  expect_works(pool, 2);
  ASSERT_EQ(pool.deaths().size(), 1U);
  EXPECT_NE(pool.deaths()[0].reason.find("timeout"), std::string::npos);
}

// The time in the queue does not count.
TEST_F(PoolOptionsTest, ATimeoutBeginsWhenTheTaskDoes) {
  Pool one{1};
  const auto first = one.apply_async([](int x) { return std::this_thread::sleep_for(150ms), x; }, 1);
  const auto second = one.with({.timeout = 100ms}).apply_async(square, 2);
  EXPECT_EQ(second.get(20s), 4);
  EXPECT_EQ(first.get(), 1);
  one.terminate();
}

TEST_F(PoolOptionsTest, ADeadlineEndsQueuedAndRunningTasks) {
  Pool one{1};
  const auto running = one.with({.deadline = 60ms}).apply_async(sleep_for_ever, 1);
  const auto queued = one.with({.deadline = 30ms}).apply_async(square, 2);
  const auto patient = one.apply_async(square, 3);
  EXPECT_THROW(queued.get(20s), troupe::TimeoutError);
  EXPECT_FALSE(running.ready());
  EXPECT_THROW(running.get(20s), troupe::TimeoutError);
  EXPECT_EQ(patient.get(20s), 9);
  EXPECT_EQ(one.with({.deadline = 1h}).apply(square, 4), 16);
  one.terminate();
}

TEST_F(PoolOptionsTest, ATaskKnowsItsDeadline) {
  const auto left = [](int) {
    return troupe::this_task::deadline() == troupe::no_deadline
               ? std::chrono::nanoseconds{-1}
               : std::chrono::nanoseconds(troupe::this_task::deadline() - steady_clock::now());
  };
  EXPECT_EQ(pool.apply(left, 0), -1ns);
  const auto time = pool.with({.deadline = 1h}).apply(left, 0);
  EXPECT_GT(time, 59min);
  EXPECT_LE(time, 1h);
}

TEST_F(PoolOptionsTest, RetriesFollowTheDeathOfWorkers) {
  EXPECT_EQ(pool.with({.retries = 2}).apply(die_first_times, file, 2), 3);
  EXPECT_EQ(pool.deaths().size(), 2U);
  EXPECT_EQ(pool.statistics().retried, 2U);
}

TEST_F(PoolOptionsTest, WithoutRetriesATaskIsBegunOnce) {
  EXPECT_THROW(pool.apply(die_first_times, file, 1), troupe::WorkerDied);
  EXPECT_EQ(num_lines(), 1);
}

TEST_F(PoolOptionsTest, AfterTheLastRetryTheErrorTellsTheAttempts) {
  try {
    pool.with({.retries = 1}).apply(die_first_times, file, 9);
    FAIL();
  } catch (const troupe::WorkerDied& error) {
    EXPECT_EQ(error.attempts(), 2U);
    EXPECT_EQ(error.exitcode(), -SIGKILL);
  }
}

TEST_F(PoolOptionsTest, ExceptionsAreRetriedIfChosen) {
  const TaskOptions on_range{.retries = 2, .retry_on = troupe::exceptions<std::out_of_range>()};
  EXPECT_EQ(pool.with(on_range).apply(throw_first_times, file, 2), 3);
  std::filesystem::remove(file);
  EXPECT_THROW(pool.with(on_range).apply(throw_first_times, file, 9), std::out_of_range);
  EXPECT_EQ(num_lines(), 3);
  std::filesystem::remove(file);
  const TaskOptions on_other{.retries = 2, .retry_on = troupe::exceptions<std::invalid_argument>()};
  EXPECT_THROW(pool.with(on_other).apply(throw_first_times, file, 9), std::out_of_range);
  EXPECT_EQ(num_lines(), 1);
}

TEST_F(PoolOptionsTest, BackoffPausesBetweenAttempts) {
  const auto before = steady_clock::now();
  const TaskOptions slow{.retries = 2,
                         .retry_on = troupe::exceptions<std::out_of_range>(),
                         .backoff = {.initial = 40ms, .factor = 2, .longest = 1s, .jitter = 0}};
  EXPECT_EQ(pool.with(slow).apply(throw_first_times, file, 2), 3);
  EXPECT_GE(steady_clock::now() - before, 120ms);
}

// Tasks that failed together must not come back together.
TEST_F(PoolOptionsTest, JitterShortensPausesByChance) {
  const troupe::Backoff backoff{.initial = 100ms, .factor = 2, .longest = 300ms, .jitter = 0.5};
  std::set<std::chrono::nanoseconds> pauses;
  for (int i = 0; i < 100; ++i) {
    const auto pause = troupe::detail::pause_before_retry(backoff, 1);
    EXPECT_GE(pause, 50ms);
    EXPECT_LE(pause, 100ms);
    pauses.insert(pause);
  }
  EXPECT_GT(pauses.size(), 90U);
  EXPECT_GE(troupe::detail::pause_before_retry(backoff, 9), 150ms);
  EXPECT_LE(troupe::detail::pause_before_retry(backoff, 9), 300ms);
}

// What is thrown and tried again takes no memory with it.
TEST_F(PoolOptionsTest, AnswersThatAreNotTakenGiveTheirMemoryBack) {
  if (sanitized && !thread_sanitized) GTEST_SKIP() << "the sanitizer of addresses keeps what was freed";
  const TaskOptions patient{
      .retries = 40, .retry_on = troupe::exceptions<std::out_of_range>(), .backoff = {.initial = 0ns}};
  Pool one{1};
  const auto throw_much = [](const std::string& path) {
    if (add_line(path) <= 40) throw std::out_of_range(std::string(4U << 20U, 'x'));
    std::ifstream statm{"/proc/self/statm"};
    long pages = 0;
    statm >> pages >> pages;
    return pages * ::sysconf(_SC_PAGESIZE) >> 20;
  };
  EXPECT_LT(one.with(patient).apply(throw_much, file), 100) << "MiB after 160 MiB of errors";
  one.terminate();
}

TEST_F(PoolOptionsTest, ADeathRecordSaysWhetherThereIsACore) {
  std::ifstream pattern_file{"/proc/sys/kernel/core_pattern"};
  const std::string pattern{std::istreambuf_iterator<char>{pattern_file}, {}};
  rlimit limit{};
  ::getrlimit(RLIMIT_CORE, &limit);
  if (sanitized || !pattern.starts_with("core") || limit.rlim_max != RLIM_INFINITY)
    GTEST_SKIP() << "no core would be written into the working directory";
  const auto dump = [](const std::string& directory, bool core) {
    const rlimit size{core ? RLIM_INFINITY : 0, RLIM_INFINITY};
    if (::setrlimit(RLIMIT_CORE, &size) == 0 && ::chdir(directory.c_str()) == 0) std::abort();
  };
  for (const bool core : {true, false}) {
    EXPECT_THROW(pool.apply(dump, dir, core), troupe::WorkerDied);
    EXPECT_EQ(pool.deaths().back().dumped_core, core);
  }
}

// A poisonous task must not cost worker after worker.
TEST_F(PoolOptionsTest, ATaskThatKillsThreeWorkersIsQuarantined) {
  try {
    pool.with({.retries = 100, .backoff = {.initial = 0ms}}).apply(die_first_times, file, 1000);
    FAIL();
  } catch (const troupe::Quarantined& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("has killed 3 workers"), std::string::npos) << text;
    std::size_t deaths = 0;
    for (std::size_t at = text.find("SIGKILL"); at != std::string::npos; at = text.find("SIGKILL", at + 1)) ++deaths;
    EXPECT_EQ(deaths, 3U) << text;
  }
  EXPECT_EQ(num_lines(), 3);
  expect_works(pool, 2);
}

TEST_F(PoolOptionsTest, QuarantineComesAfterAsManyDeathsAsChosen) {
  for (const unsigned deaths : {1U, 2U}) {
    Pool one{troupe::PoolOptions{.workers = 1, .quarantine_after = deaths}};
    const auto poison = one.with({.retries = 100, .backoff = {.initial = 0ms}});
    EXPECT_THROW(poison.apply(die_first_times, file, 1000), troupe::Quarantined);
    EXPECT_EQ(num_lines(), static_cast<int>(deaths));
    EXPECT_EQ(one.statistics().retried, deaths - 1);
    EXPECT_EQ(one.statistics().deaths, deaths);
    std::filesystem::remove(file);
    one.terminate();
  }
}

TEST_F(PoolOptionsTest, HigherPrioritiesAreBegunFirst) {
  Pool one{1};
  const auto gate = one.apply_async([](int x) { return ::raise(SIGSTOP), x; }, 0);
  const auto log = [](const std::string& path, int what) { std::ofstream{path, std::ios::app} << what << ' '; };
  std::vector<troupe::AsyncResult<void>> results;
  for (const int priority : {0, -1, 5, 0, 9})
    results.push_back(one.with({.priority = priority}).apply_async(log, file, priority));
  const pid_t worker = one.worker_pids().at(0);
  ASSERT_TRUE(comes_true([&] { return process_state(worker) == 'T'; }));
  ::kill(worker, SIGCONT);
  for (const auto& result : results) result.get(20s);
  std::ifstream in{file};
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>{in}, {}), "9 5 0 0 -1 ");
  EXPECT_EQ(gate.get(), 0);
  one.terminate();
}

TEST_F(PoolOptionsTest, AWorkersDeathIsToldWhole) {
  try {
    pool.with({.name = "careless"})
        .apply(
            [](int, const std::string&) {
              std::signal(SIGSEGV, SIG_DFL);  // sanitizers catch it
              ::raise(SIGSEGV);
            },
            7, "seven");
    FAIL();
  } catch (const troupe::WorkerDied& error) {
    const troupe::DeathRecord& death = error.record();
    EXPECT_EQ(death.exitcode, -SIGSEGV);
    EXPECT_TRUE(death.task.starts_with("careless #")) << death.task;
    EXPECT_EQ(death.arguments, "(7, \"seven\")");
    EXPECT_GT(death.ran_for, 0ns);
    EXPECT_LT(death.ran_for, 20s);
    EXPECT_EQ(death.attempts, 1U);
    EXPECT_GT(death.peak_resident_bytes, 100'000U);
    EXPECT_EQ(death.restarts, 0U);
    EXPECT_EQ(death.reason, "");
    ASSERT_EQ(pool.deaths().size(), 1U);
    EXPECT_EQ(pool.deaths()[0], death);
  }
}

TEST_F(PoolOptionsTest, DeathRecordsCountTheWorkersOfAPlace) {
  Pool one{1};
  for (unsigned i = 0; i < 3; ++i) {
    EXPECT_THROW(one.apply(die_first_times, file, 100), troupe::WorkerDied);
    ASSERT_EQ(one.deaths().size(), i + 1);
  }
  const auto deaths = one.deaths();
  std::set<pid_t> pids;
  for (unsigned i = 0; i < 3; ++i) {
    EXPECT_EQ(deaths[i].restarts, i);
    EXPECT_EQ(deaths[i].exitcode, -SIGKILL);
    EXPECT_TRUE(pids.insert(deaths[i].pid).second);
  }
  one.terminate();
}

TEST_F(PoolOptionsTest, LongArgumentsAreCutInADeathRecord) {
  const auto die = [](const std::string&, int) { ::raise(SIGKILL); };
  EXPECT_THROW(pool.apply(die, std::string(1000, 'x'), 7), troupe::WorkerDied);
  const std::string text = pool.deaths().at(0).arguments;
  EXPECT_TRUE(text.starts_with("(\"xxxxxxxxxx")) << text;
  EXPECT_TRUE(text.ends_with("xxx..., ...)")) << text;
  EXPECT_LT(text.size(), 120U);
}

TEST_F(PoolOptionsTest, TheDeathOfAnIdleWorkerIsOfNoTask) {
  Pool one{1};
  const pid_t worker = one.apply([](int) { return ::getpid(); }, 0);
  ::kill(worker, SIGKILL);
  ASSERT_TRUE(comes_true([&] { return !one.deaths().empty(); }, 20s));
  const troupe::DeathRecord death = one.deaths().at(0);
  EXPECT_EQ(death.pid, worker);
  EXPECT_EQ(death.exitcode, -SIGKILL);
  EXPECT_EQ(death.task, "");
  EXPECT_EQ(death.task_id, 0U);
  EXPECT_EQ(death.arguments, "");
  EXPECT_EQ(death.attempts, 0U);
  expect_works(one, 1);
  one.terminate();
}

TEST_F(PoolOptionsTest, OptionsThatMakeNoSenseAreNamed) {
  EXPECT_THROW(pool.with({.timeout = 0s}), troupe::ValueError);
  EXPECT_THROW(pool.with({.timeout = -1s}), troupe::ValueError);
  EXPECT_THROW(pool.with({.deadline = 0s}), troupe::ValueError);
  EXPECT_THROW(pool.with({.backoff = {.factor = 0.5}}), troupe::ValueError);
  EXPECT_THROW(pool.with({.backoff = {.jitter = 2}}), troupe::ValueError);
  EXPECT_THROW(pool.with({.backoff = {.initial = -1s}}), troupe::ValueError);
}

TEST_F(PoolOptionsTest, GoForMapsAndIteratorsToo) {
  EXPECT_EQ(pool.with({.retries = 1})
                .map([](const std::string& path) { return die_first_times(path, 1); }, std::vector{file}, 1),
            std::vector{2});
  int sum = 0;
  for (const int y : pool.with({.timeout = 10s, .priority = 1}).imap(square, std::vector{1, 2, 3})) sum += y;
  EXPECT_EQ(sum, 14);
}

}  // namespace
