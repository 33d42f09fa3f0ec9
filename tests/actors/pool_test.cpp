// What the pool adds to multiprocessing's rules: which callables and values travel, how errors arrive, what the
// different ways of waiting do.

#include <troupe/context.hpp>
#include <troupe/error.hpp>
#include <troupe/event.hpp>
#include <troupe/pool.hpp>
#include <troupe/process.hpp>

#include "support/forked.hpp"
#include "support/one_piece.hpp"
#include "support/pools.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <coroutine>
#include <csignal>
#include <list>
#include <map>
#include <numeric>
#include <ranges>
#include <semaphore>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using namespace std::chrono_literals;
using troupe::AsyncResult;
using troupe::Pool;
using troupe::test::comes_true;
using troupe::test::run_short_tasks;
using troupe::test::square;

std::string twice(const std::string& text) { return text + text; }
pid_t worker_pid(int) { return ::getpid(); }
void nothing(int) {}

struct AddTo {
  int base;
  int operator()(int x) const { return base + x; }
};

struct Point {
  double x;
  double y;
  bool operator==(const Point&) const = default;
};
Point mirrored(const Point& point) { return {-point.x, -point.y}; }

class PoolTest : public testing::Test {
 protected:
  Pool pool{2};
  void TearDown() override { pool.terminate(); }
};

TEST_F(PoolTest, RunsInOtherProcesses) {
  EXPECT_NE(pool.apply(worker_pid, 0), ::getpid());
  const auto pids = pool.worker_pids();
  EXPECT_EQ(std::ranges::count(pids, pool.apply(worker_pid, 0)), 1);
}

TEST_F(PoolTest, TakesEveryKindOfPortableCallable) {
  EXPECT_EQ(pool.apply(square, 4), 16);
  EXPECT_EQ(pool.apply(&square, 4), 16);
  EXPECT_EQ(pool.apply([](int x) { return x + 1; }, 4), 5);
  EXPECT_EQ(pool.apply([](auto x) { return x + x; }, std::string("ab")), "abab");
  EXPECT_EQ(pool.apply(AddTo{10}, 4), 14);
  EXPECT_EQ(pool.apply(std::plus<>{}, 4, 5), 9);
  EXPECT_EQ(pool.apply(troupe::bind(AddTo{10}, 4)), 14);
  EXPECT_EQ(pool.map(troupe::bind([](int a, int b) { return a * b; }, 3), std::vector{1, 2, 3}),
            (std::vector{3, 6, 9}));
}

TEST_F(PoolTest, ConvertsArgumentsAsADirectCallDoes) {
  EXPECT_EQ(pool.apply(square, 4.0F), 16);
  EXPECT_EQ(pool.apply([](double x) { return x / 2; }, 3), 1.5);
  EXPECT_EQ(pool.apply(twice, "ab"), "abab");
  EXPECT_EQ(pool.apply([](std::string_view text) { return text.size(); }, "four"), 4U);
  EXPECT_EQ(pool.map([](double x) { return x / 2; }, std::vector{1, 2}), (std::vector{0.5, 1.0}));
}

TEST_F(PoolTest, CarriesStructuresBothWays) {
  EXPECT_EQ(pool.apply(mirrored, Point{1, 2}), (Point{-1, -2}));
  EXPECT_EQ(pool.map(mirrored, std::vector<Point>{{1, 2}, {3, 4}}), (std::vector<Point>{{-1, -2}, {-3, -4}}));
  const std::map<std::string, std::vector<int>> table{{"a", {1, 2}}, {"b", {}}};
  EXPECT_EQ(pool.apply([](std::map<std::string, std::vector<int>> m) { return m; }, table), table);
}

TEST_F(PoolTest, MapsEveryInputRange) {
  const std::vector expected{0, 1, 4, 9};
  EXPECT_EQ(pool.map(square, std::vector{0, 1, 2, 3}), expected);
  EXPECT_EQ(pool.map(square, std::list{0, 1, 2, 3}), expected);
  EXPECT_EQ(pool.map(square, std::views::iota(0, 4)), expected);
  EXPECT_EQ(pool.map(square, std::views::iota(0) | std::views::take_while([](int i) { return i < 4; })), expected);
  std::istringstream text("0 1 2 3");
  EXPECT_EQ(pool.map(square, std::views::istream<int>(text)), expected);
}

TEST_F(PoolTest, MapsWithoutResults) {
  pool.map(nothing, std::views::iota(0, 10));
  pool.apply(nothing, 1);
  const AsyncResult<void> result = pool.apply_async(nothing, 1);
  result.get();
  EXPECT_TRUE(result.successful());
}

TEST_F(PoolTest, KeepsEveryResultOfManyTasks) {
  std::vector<AsyncResult<int>> results;
  for (int i = 0; i < 50'000; ++i) results.push_back(pool.apply_async(square, i % 1000));
  for (int i = 0; i < 50'000; ++i) ASSERT_EQ(results[static_cast<std::size_t>(i)].get(), (i % 1000) * (i % 1000));
}

TEST_F(PoolTest, GetMayBeCalledAgainAndFromSeveralThreads) {
  const auto result = pool.apply_async(twice, std::string("ab"));
  std::vector<std::thread> threads;
  std::atomic<int> right{0};
  for (int i = 0; i < 4; ++i) threads.emplace_back([&] { right += result.get() == "abab" ? 1 : 0; });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(right, 4);
  EXPECT_EQ(result.get(), "abab");
}

TEST_F(PoolTest, ServesManySubmittingThreads) {
  std::vector<std::thread> threads;
  std::atomic<long> sum{0};
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 2000; ++i) sum += pool.apply(square, 3);
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(sum, 4L * 2000 * 9);
}

TEST_F(PoolTest, CarriesLargeArgumentsAndResults) {
  for (const std::size_t size :
       {std::size_t{1000}, std::size_t{20'000}, std::size_t{1} << 20U, std::size_t{64} << 20U}) {
    std::vector<std::uint64_t> values(size / 8);
    std::iota(values.begin(), values.end(), 0U);
    EXPECT_EQ(pool.apply([](std::vector<std::uint64_t> v) { return v; }, values), values) << size;
    EXPECT_EQ(pool.apply([](std::span<const std::uint64_t> v) { return v.back(); }, values), values.back()) << size;
  }
  const std::vector<std::string> texts(10'000, std::string(100, 'x'));
  EXPECT_EQ(pool.apply([](std::vector<std::string> v) { return v; }, texts), texts);
}

TEST_F(PoolTest, RemembersLargeResultsUntilTheyAreDropped) {
  std::vector<AsyncResult<std::vector<int>>> results;
  for (int i = 0; i < 40; ++i)
    results.push_back(pool.apply_async([](int x) { return std::vector<int>(100'000, x); }, i));
  for (int i = 0; i < 40; ++i) EXPECT_EQ(results[static_cast<std::size_t>(i)].get().at(99'999), i);
}

TEST_F(PoolTest, ResultsOutliveThePool) {
  std::optional<AsyncResult<int>> done;
  std::optional<AsyncResult<int>> never;
  {
    Pool other{1};
    done = other.apply_async(square, 6);
    done->wait();
    never = other.apply_async([](int x) { return std::this_thread::sleep_for(100s), x; }, 1);
    other.terminate();
  }
  EXPECT_EQ(done->get(), 36);
  EXPECT_THROW(never->get(), troupe::Cancelled);
}

TEST_F(PoolTest, ErrorsSayWhereTheyArose) {
  try {
    pool.apply([](int) -> int { throw troupe::KeyError("no such key"); }, 1);
    FAIL() << "no error arrived";
  } catch (const troupe::KeyError& error) {
    ASSERT_TRUE(error.origin());
    EXPECT_NE(error.origin()->pid, ::getpid());
    EXPECT_NE(error.origin()->process.find("worker"), std::string::npos) << error.origin()->process;
    EXPECT_NE(error.origin()->task.find('#'), std::string::npos) << error.origin()->task;
  }
}

TEST_F(PoolTest, StandardErrorsKeepTheirTypeOthersBecomeRemoteErrors) {
  EXPECT_THROW(pool.apply([](int) -> int { throw std::out_of_range("far"); }, 1), std::out_of_range);
  EXPECT_THROW(pool.apply([](int) -> int { return std::vector<int>{}.at(3); }, 1), std::out_of_range);
  struct Odd : std::exception {
    const char* what() const noexcept override { return "odd"; }
  };
  EXPECT_THROW(pool.apply([](int) -> int { throw Odd{}; }, 1), troupe::RemoteError);
  EXPECT_THROW(pool.apply([](int) -> int { throw 42; }, 1), troupe::RemoteError);
  EXPECT_EQ(pool.apply(square, 2), 4);
}

struct Detached {
  struct promise_type {
    Detached get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};

Detached add_in_steps(Pool& pool, int& sum, std::thread::id& where, std::binary_semaphore& done) {
  for (int i = 0; i < 100; ++i) sum += co_await pool.apply_async(square, 2);
  try {
    co_await pool.apply_async([](int) -> int { throw troupe::KeyError("x"); }, 1);
  } catch (const troupe::KeyError&) {
    sum += 1;
  }
  where = std::this_thread::get_id();
  done.release();
}

TEST_F(PoolTest, ResultsCanBeAwaitedByCoroutines) {
  int sum = 0;
  std::thread::id where;
  std::binary_semaphore done{0};
  add_in_steps(pool, sum, where, done);
  ASSERT_TRUE(done.try_acquire_for(20s));
  EXPECT_EQ(sum, 401);
  EXPECT_NE(where, std::this_thread::get_id());
}

TEST_F(PoolTest, ASecondCoroutineMayNotWaitForTheSameResult) {
  const auto result = pool.apply_async([](int x) { return ::raise(SIGSTOP), x; }, 1);
  std::binary_semaphore done{0};
  [](AsyncResult<int> one, std::binary_semaphore& end) -> Detached {
    EXPECT_EQ(co_await one, 1);
    end.release();
  }(result, done);
  [](AsyncResult<int> same) -> Detached { EXPECT_THROW(co_await same, troupe::AssertionError); }(result);
  // It may not have stopped yet.
  for (int tries = 0; !done.try_acquire_for(10ms); ++tries) {
    ASSERT_LT(tries, 2000);
    for (const pid_t pid : pool.worker_pids()) ::kill(pid, SIGCONT);
  }
}

TEST_F(PoolTest, ManyTasksWithoutAWaiterAreAllRun) {
  std::vector<AsyncResult<int>> results;
  for (int i = 0; i < 5000; ++i) results.push_back(pool.apply_async(square, 1));
  // Nobody waits: the pump has to keep the workers fed. close and join wait for workers, not for results.
  pool.close();
  pool.join();
  for (const auto& result : results) ASSERT_TRUE(result.ready());
}

TEST_F(PoolTest, LongTasksGoToDifferentWorkers) {
  const auto slow_pid = [](const troupe::Event& its) { return its.wait(), ::getpid(); };
  const troupe::Event may_end;
  const auto first = pool.apply_async(slow_pid, may_end);
  const auto second = pool.apply_async(slow_pid, may_end);
  EXPECT_TRUE(comes_true([&] { return pool.statistics().running == 2; }));
  may_end.set();
  EXPECT_NE(first.get(), second.get());
}

TEST_F(PoolTest, ALongTaskHoldsNoShortOnesHostage) {
  run_short_tasks(pool);
  const troupe::Event never;
  const auto slow = pool.apply_async([](const troupe::Event& its) { its.wait(); }, never);
  std::vector<AsyncResult<int>> quick;
  for (int i = 0; i < 200; ++i) quick.push_back(pool.apply_async(square, 1));
  for (const auto& result : quick) EXPECT_EQ(result.get(20s), 1);
  EXPECT_FALSE(slow.ready());
}

void use_a_pool() {
  Pool own{2};
  const auto alone = own.apply_async(square, 3);  // nobody waits for it: this process's own pump has to see it
  own.close();
  own.join();
  if (alone.get() != 9) throw std::runtime_error("wrong result");
}

// Each process has its own pump and supervisor, also one that is a copy of a process with a pool.
TEST_F(PoolTest, ProcessesMayHavePoolsOfTheirOwn) {
  EXPECT_EQ(pool.apply(square, 2), 4);
  for (const std::string method : {"fork", "forkserver", "spawn"}) {
    // ThreadSanitizer cannot follow threads that a copy of a process with threads starts.
    if (troupe::test::thread_sanitized && method == "fork") continue;
    auto process = troupe::get_context(method).process(use_a_pool);
    process.start();
    process.join();
    EXPECT_EQ(process.exitcode(), 0) << method;
  }
  EXPECT_EQ(pool.apply(square, 2), 4);
}

TEST_F(PoolTest, APoolOfAnotherProcessIsAMisuse) {
  auto process = troupe::get_context("fork").process([this] {
    EXPECT_THROW(pool.apply(square, 2), troupe::AssertionError);
    if (HasFailure()) throw std::runtime_error("no misuse was reported");
  });
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
}

TEST_F(PoolTest, WorkersMayNotHavePools) {
  EXPECT_THROW(pool.apply([] { use_a_pool(); }), troupe::AssertionError);
}

TEST_F(PoolTest, TimeoutsOfAnyLengthAreAccepted) {
  const auto result = pool.apply_async(square, 3);
  EXPECT_EQ(result.get(std::chrono::hours::max()), 9);
  EXPECT_EQ(result.get(0s), 9);
  EXPECT_EQ(result.get(-1s), 9);
  const auto slow = pool.apply_async([](int) { return std::this_thread::sleep_for(100s), 1; }, 0);
  EXPECT_THROW(slow.get(-1s), troupe::TimeoutError);
  EXPECT_THROW(slow.get(0s), troupe::TimeoutError);
  EXPECT_FALSE(slow.wait(0s));
  auto results = pool.imap(square, std::views::iota(0, 2));
  EXPECT_EQ(results.next(std::chrono::hours::max()), 0);
  EXPECT_EQ(results.next(std::chrono::hours::max()), 1);
  pool.terminate();
  EXPECT_TRUE(pool.join(std::chrono::hours::max()));
}

}  // namespace
