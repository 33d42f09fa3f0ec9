// Pools belong to one process and to the time of its Runtime: copies of the process and later calls get errors.

#include <troupe/error.hpp>
#include <troupe/pool.hpp>
#include <troupe/runtime.hpp>

#include "support/forked.hpp"
#include "support/pools.hpp"
#include "support/processes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe::test;
using troupe::AssertionError;
using troupe::Pool;

// A program that forks by hand has two of everything; the copy must not touch what it shares with the original.
TEST(PoolOwnership, ACopyOfTheProcessGetsErrorsAndHarmsNothing) {
  if (thread_sanitized) GTEST_SKIP() << "ThreadSanitizer's own locks may be held in the copy of a process with threads";
  auto pool = std::make_unique<Pool>(2);
  const auto pids = pool->worker_pids();
  const std::vector<double> large(100'000, 1.5);
  std::optional kept = pool->apply_async([](const std::vector<double>& all) { return all; }, large);
  kept->wait();
  const auto open = pool->apply_async([] { std::this_thread::sleep_for(1000s); });
  const pid_t copy = ::fork();
  if (copy == 0) {
    EXPECT_THROW(pool->apply(square, 2), AssertionError);
    EXPECT_THROW(pool->apply_async([](const std::vector<double>& all) { return all; }, large), AssertionError);
    EXPECT_THROW(pool->map(square, std::vector<int>{1, 2}), AssertionError);
    EXPECT_THROW(pool->imap(square, std::vector<int>{1, 2}), AssertionError);
    EXPECT_THROW(pool->terminate(), AssertionError);
    EXPECT_THROW(pool->close(), AssertionError);
    EXPECT_THROW(pool->join(), AssertionError);
    EXPECT_THROW(open.wait(), AssertionError);
    EXPECT_FALSE(open.ready());
    EXPECT_EQ(kept->get(), large);
    kept.reset();
    pool.reset();
    ::_exit(testing::Test::HasFailure() ? 1 : 0);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(copy, &status, 0), copy);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(pool->apply_async([](const std::vector<double>& all) { return all; }, large).get(20s), large);
  EXPECT_EQ(kept->get(), large);
  EXPECT_EQ(pool->worker_pids(), pids);
  pool->terminate();
}

// Otherwise two processes would answer from one ring.
TEST(PoolOwnership, ACopyOfAWorkerDoesNotAnswer) {
  Pool pool{1};
  const auto fork_once = [](int x) {
    if (const pid_t copy = ::fork(); copy > 0) {
      int status = 0;
      ::waitpid(copy, &status, 0);
      return WIFEXITED(status) ? x : -1;
    }
    return -2;
  };
  for (int i = 0; i < 20; ++i) ASSERT_EQ(pool.apply_async(fork_once, i).get(20s), i);
  expect_works(pool, 1);
}

std::unique_ptr<Pool>& global_pool() {
  static std::unique_ptr<Pool> pool;
  return pool;
}

// A worker forked after the pool was there knows the pool; waiting for itself it would hang.
TEST(PoolOwnership, AWorkerMayNotUseThePoolThatRunsIt) {
  if (thread_sanitized) GTEST_SKIP() << "ThreadSanitizer's own locks may be held in the copy of a process with threads";
  global_pool() = std::make_unique<Pool>(
      troupe::PoolOptions{.workers = 1, .start_method = troupe::StartMethod::fork, .name = "its own"});
  Pool& pool = *global_pool();
  const auto use = [](int how) {
    Pool* mine = global_pool().get();
    if (mine == nullptr) return std::string("not inherited");
    try {
      if (how == 0) mine->apply(square, 2);
      if (how == 1) mine->apply_async(square, 2);
      if (how == 2) mine->map(square, std::vector{1, 2});
      if (how == 3) mine->imap(square, std::vector{1, 2});
      if (how == 4) mine->statistics();
      if (how == 5) mine->terminate();
      return std::string("no error");
    } catch (const AssertionError& error) {
      return std::string(error.what());
    }
  };
  EXPECT_EQ(pool.apply_async(use, 0).get(20s), "not inherited");
  const pid_t first = pool.worker_pids().at(0);
  ::kill(first, SIGKILL);
  ASSERT_TRUE(comes_true([&] { return !pool.deaths().empty(); }, 20s));
  for (int how = 0; how < 6; ++how)
    EXPECT_EQ(pool.apply_async(use, how).get(20s),
              "its own belongs to the process that made it; make a pool of your own here");
  EXPECT_EQ(pool.apply(square, 3), 9);
  global_pool().reset();
}

const bool outlived = add_role("pool that outlives the Runtime", [](int argc, char** argv, const std::string& how) {
  {
    const troupe::Runtime runtime{argc, argv};
    global_pool() = std::make_unique<Pool>(2);
    std::printf("%d\n", global_pool()->apply(square, 3));
    const auto open = global_pool()->apply_async([] { std::this_thread::sleep_for(1000s); });
    std::fflush(stdout);
    if (how == "exit") std::exit(0);
  }
  for (int i = 0; i < 2; ++i) {
    try {
      global_pool()->apply(square, 3);
    } catch (const troupe::ValueError& error) {
      std::puts(error.what());
    }
  }
  global_pool().reset();
  return 0;
});

TEST(PoolOwnership, APoolThatOutlivesTheRuntimeIsTerminatedByIt) {
  for (const std::string how : {"exit", "return"}) {
    Program program{"pool that outlives the Runtime", how};
    EXPECT_EQ(program.read_line(), "9");
    if (how == "return") {
      EXPECT_EQ(program.read_line(), "Pool-1 is not running: it was terminated");
    }
    EXPECT_EQ(program.wait(), 0) << how << program.errors();
  }
}

const bool no_runtime = add_role("pool without Runtime", [](int, char**, const std::string&) {
  try {
    Pool pool{2};
  } catch (const AssertionError& error) {
    std::puts(error.what());
  }
  return 0;
});

TEST(PoolOwnership, WithoutRuntimeAPoolIsAnErrorThatSaysWhatToDo) {
  Program program{"pool without Runtime"};
  EXPECT_EQ(program.read_line(), "no troupe::Runtime: make it the first statement of main");
  EXPECT_EQ(program.wait(), 0);
}

}  // namespace
