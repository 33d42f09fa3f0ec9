#include <troupe/thread_pool.hpp>

#include <troupe/error.hpp>
#include <troupe/pool.hpp>
#include <troupe/process.hpp>
#include <troupe/progress.hpp>
#include <troupe/this_task.hpp>

#include "support/one_piece.hpp"
#include "support/thread_pools.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using troupe::Pool;
using troupe::ThreadPool;
using troupe::test::comes_true;
using troupe::test::Gate;
using troupe::test::occupy;
using troupe::test::ScopedPool;
using troupe::test::square;

constexpr auto patience = 30s;

std::size_t length(std::string_view text) { return text.size(); }
int fail(int x) { throw std::out_of_range("no " + std::to_string(x)); }

// One program for processes and for threads.
template <class PoolType>
void program() {
  PoolType pool{{.workers = 2, .name = "either"}};
  EXPECT_EQ(pool.apply(square, 7), 49);
  EXPECT_EQ(pool.apply(length, "four"), 4U);
  EXPECT_EQ(pool.apply_async(square, 3).get(20s), 9);
  EXPECT_EQ(pool.map(square, std::views::iota(0, 3)), (std::vector{0, 1, 4}));
  EXPECT_EQ(pool.map(square, std::views::iota(0, 3), troupe::progress("x")), (std::vector{0, 1, 4}));
  EXPECT_EQ(pool.starmap([](int x, int y) { return x - y; }, std::vector<std::pair<int, int>>{{3, 1}}), std::vector{2});
  int sum = 0;
  for (int y : pool.imap(square, std::vector{1, 2})) sum += y;
  for (int y : pool.imap_unordered(square, std::vector{1, 2})) sum += y;
  EXPECT_EQ(sum, 10);
  pool.callback([&](int y) { sum = y; }).error_callback([](const std::exception&) {}).apply_async(square, 9).wait();
  EXPECT_EQ(sum, 81);
  EXPECT_THROW(pool.with({.name = "bad"}).apply(fail, 1), std::out_of_range);
  EXPECT_EQ(pool.try_apply_async(square, 5)->try_get().value_or(25), 25);
  EXPECT_EQ(pool.statistics().workers.size(), pool.num_workers());
  pool.resize(1);
  EXPECT_EQ(pool.name(), "either");
  pool.close();
  pool.join();
  EXPECT_TRUE(pool.join(1s));
}

TEST(ThreadPool, RunsTheProgramsOfAPool) {
  program<Pool>();
  program<ThreadPool>();
}

TEST(ThreadPool, TakesCallablesArgumentsAndResultsThatCannotTravel) {
  ScopedPool pool{2};
  int calls = 0;
  const std::string text = "captured";
  EXPECT_EQ(pool.apply([&] { return ++calls, text.data(); }), text);
  auto owner = std::make_unique<int>(4);
  const int* address = owner.get();
  const auto moved = pool.apply_async([](std::unique_ptr<int> mine) { return mine; }, std::move(owner));
  const auto back = moved.get();
  EXPECT_EQ(back.get(), address);
  EXPECT_THROW(moved.get(), troupe::ValueError) << "taken before, and there are no copies";
  EXPECT_EQ(*pool.apply([mine = std::make_unique<int>(5)]() mutable { return std::move(mine); }), 5);
  pool.apply([](int& shared) { shared = 6; }, std::ref(calls));
  EXPECT_EQ(calls, 6);
  EXPECT_EQ(pool.apply(&std::string::size, text), 8U);
  std::vector<std::unique_ptr<int>> made = pool.map([](int x) { return std::make_unique<int>(x); }, std::vector{1, 2});
  EXPECT_EQ(*made.at(1), 2);
  EXPECT_EQ(pool.map([](int x) { return x > 1; }, std::vector{1, 2}), (std::vector<bool>{false, true}));
}

TEST(ThreadPool, HandsArgumentsOnAsValues) {
  ScopedPool pool{1};
  std::string mine = "mine";
  EXPECT_EQ(pool.apply([](std::string&& theirs) { return theirs += "!"; }, mine), "mine!");
  EXPECT_EQ(mine, "mine");
  const std::vector<int> numbers{1, 2, 3};
  EXPECT_EQ(pool.apply([](const std::vector<int>& same) { return same.data(); }, numbers), numbers.data())
      << "what is only read is not copied by apply";
  const std::vector<int> copy =
      pool.apply_async([](std::span<const int> view) { return view.last(2); }, numbers).get();
  EXPECT_EQ(copy, (std::vector{2, 3})) << "a view becomes an owner";
  std::weak_ptr<int> watch;
  {
    auto shared = std::make_shared<int>(1);
    watch = shared;
    const auto result = pool.apply_async([kept = std::move(shared)] { return *kept; });
    EXPECT_EQ(result.get(), 1);
    EXPECT_TRUE(watch.expired()) << "arguments go when the task has ended, not when its result goes";
  }
}

int fibonacci(ThreadPool& pool, int n) {
  if (n < 2) return n;
  const auto left = pool.apply_async(fibonacci, std::ref(pool), n - 1);
  return fibonacci(pool, n - 2) + left.get();
}

// A task that waits for its own pool would hold up the only thread that could end the wait.
TEST(ThreadPool, ATaskMayWaitForItsOwnPool) {
  for (const int workers : {1, 2, 4}) {
    ScopedPool pool{workers};
    EXPECT_EQ(pool.apply([&] { return pool.apply([&] { return pool.apply(square, 3); }); }), 9);
    EXPECT_EQ(pool.apply(fibonacci, std::ref(pool), 12), 144);
    const std::vector<int> sums = pool.map(
        [&](int x) {
          int sum = 0;
          for (int y : pool.map(square, std::views::iota(0, x))) sum += y;
          for (int y : pool.imap(square, std::views::iota(0, x))) sum += y;
          for (int y : pool.imap_unordered(square, std::views::iota(0, x))) sum += y;
          return sum;
        },
        std::views::iota(0, 40), 1);
    EXPECT_EQ(sums.back(), 3 * 38 * 39 * 77 / 6);
  }
}

TEST(ThreadPool, AWaitingTaskRunsOthersThatItsResultNeeds) {
  ScopedPool pool{1};
  // The result is ready when its callback has returned, and that needs the pool itself.
  const int sum = pool.apply([&] {
    int from_callback = 0;
    const auto result = pool.callback([&](int y) { from_callback = pool.apply(square, y); }).apply_async(square, 2);
    return result.get() + from_callback;
  });
  EXPECT_EQ(sum, 4 + 16);
}

// Many tasks that each wait for one of their own: none may pile up on the stack of another for ever.
TEST(ThreadPool, ManyTasksMayWaitAtOnce) {
  ScopedPool pool{2};
  std::vector<troupe::ThreadResult<int>> results;
  for (int i = 0; i < 20'000; ++i)
    results.push_back(pool.apply_async([&pool, i] { return pool.apply(square, i % 10); }));
  int sum = 0;
  for (const auto& result : results) sum += result.get();
  EXPECT_EQ(sum, 20'000 / 10 * 285);
}

TEST(ThreadPool, CancelEndsWhatHasNotBegun) {
  ScopedPool pool{1};
  Gate gate;
  occupy(pool, gate);
  bool ran = false;
  const auto result = pool.apply_async([&] { ran = true; });
  const auto all = pool.map_async([&](int) { ran = true; }, std::vector{1, 2, 3});
  EXPECT_TRUE(result.cancel());
  EXPECT_FALSE(result.cancel());
  EXPECT_TRUE(all.cancel());
  EXPECT_THROW(result.get(), troupe::Cancelled);
  EXPECT_THROW(all.get(), troupe::Cancelled);
  gate.open();
  EXPECT_EQ(pool.apply(square, 2), 4);
  EXPECT_FALSE(ran);
  EXPECT_EQ(pool.statistics().cancelled, 4U);
}

TEST(ThreadPool, CancelByForceAsksARunningTaskToStop) {
  ScopedPool pool{1};
  std::atomic<bool> runs{false};
  troupe::StopToken token;
  const auto result = pool.apply_async([&] {
    EXPECT_TRUE(troupe::this_task::is_running());
    EXPECT_NE(troupe::this_task::id(), 0U);
    token = troupe::this_task::stop_token();
    runs = true;
    return comes_true([] { return troupe::this_task::stop_requested(); });
  });
  ASSERT_TRUE(comes_true([&] { return runs.load(); }));
  EXPECT_FALSE(result.cancel());
  EXPECT_FALSE(token.stop_requested());
  EXPECT_TRUE(result.cancel({.force = true}));
  EXPECT_THROW(result.get(), troupe::Cancelled);
  EXPECT_FALSE(token.stop_requested()) << "nobody is left to stop";
  EXPECT_FALSE(troupe::this_task::is_running());
}

TEST(ThreadPool, TerminateDropsWhatHasNotBegunAndJoinWaitsForTheRest) {
  ThreadPool pool{1};
  std::atomic<bool> runs{false};
  const auto running = pool.apply_async([&] {
    runs = true;
    return comes_true([] { return troupe::this_task::stop_requested(); });
  });
  ASSERT_TRUE(comes_true([&] { return runs.load(); }));
  const auto queued = pool.apply_async(square, 2);
  pool.terminate();
  EXPECT_THROW(queued.get(), troupe::Cancelled);
  pool.join();
  EXPECT_TRUE(running.ready());
  EXPECT_TRUE(running.get());
}

TEST(ThreadPool, CloseRunsWhatIsQueued) {
  ThreadPool pool{2};
  std::atomic<int> count{0};
  for (int i = 0; i < 100; ++i) pool.callback([&] { ++count; }).apply_async([&] { ++count; });
  pool.close();
  pool.join();
  EXPECT_EQ(count, 200) << "callbacks included";
}

TEST(ThreadPool, ResizeStartsAndEndsThreads) {
  ScopedPool pool{1};
  const auto num_living = [&] { return pool.statistics().workers.size(); };
  for (int round = 0; round < 3; ++round) {
    pool.resize(5);
    Gate gate;
    occupy(pool, gate);
    pool.resize(2);
    EXPECT_EQ(num_living(), 5U) << "none ends before its task";
    gate.open();
    EXPECT_TRUE(comes_true([&] { return num_living() == 2U; }));
    EXPECT_EQ(pool.map(square, std::views::iota(0, 4), 1), (std::vector{0, 1, 4, 9}));
  }
  EXPECT_THROW(pool.resize(0), troupe::ValueError);
  pool.close();
  EXPECT_THROW(pool.resize(2), troupe::ValueError);
}

TEST(ThreadPool, ItsTasksMayNotJoinItButMayDestroyIt) {
  ScopedPool pool{1};
  EXPECT_THROW(pool.apply([&] {
    pool.close();
    pool.join();
  }),
               troupe::AssertionError);

  auto doomed = std::make_unique<ThreadPool>(2);
  ThreadPool& alias = *doomed;
  std::promise<void> destroyed;
  alias.apply_async([&destroyed, mine = std::move(doomed)]() mutable {
    mine->close();
    mine.reset();
    destroyed.set_value();
  });
  EXPECT_EQ(destroyed.get_future().wait_for(patience), std::future_status::ready);
}

TEST(ThreadPool, ResultsOutliveIt) {
  auto pool = std::make_unique<ThreadPool>(1);
  const auto result = pool->apply_async(square, 3);
  pool->close();
  pool->join();
  pool.reset();
  EXPECT_EQ(result.get(), 9);
  EXPECT_FALSE(result.cancel());
}

// Its threads are not there; nothing waits for them.
TEST(ThreadPool, BelongsToTheProcessThatMadeIt) {
  auto pool = std::make_unique<ThreadPool>(2);
  const auto result = pool->apply_async(square, 3);
  result.wait();
  troupe::Process copy{{.start_method = troupe::StartMethod::fork}, [&] {
                         EXPECT_EQ(result.get(), 9);
                         EXPECT_THROW(pool->apply(square, 1), troupe::AssertionError);
                         EXPECT_THROW(pool->callback([](int) {}).apply_async(square, 1), troupe::AssertionError);
                         EXPECT_THROW(pool->resize(3), troupe::AssertionError);
                         EXPECT_THROW(pool->statistics(), troupe::AssertionError);
                         EXPECT_THROW(result.cancel(), troupe::AssertionError);
                         EXPECT_THROW(pool->terminate(), troupe::AssertionError);
                         pool.reset();
                         if (testing::Test::HasFailure()) throw std::runtime_error("see above");
                       }};
  copy.start();
  ASSERT_TRUE(copy.join(patience));
  EXPECT_EQ(copy.exitcode(), 0);
  EXPECT_EQ(pool->apply(square, 3), 9);
  pool->close();
}

TEST(ThreadPool, CountsWhatItDoes) {
  ScopedPool pool{2};
  Gate gate;
  occupy(pool, gate);
  const auto waiting = pool.apply_async(square, 1);
  auto now = pool.statistics();
  EXPECT_EQ(now.running, 2U);
  EXPECT_EQ(now.queued, 1U);
  EXPECT_EQ(now.workers.at(1).state, troupe::WorkerState::busy);
  EXPECT_NE(now.workers.at(1).pid, 0);
  gate.open();
  waiting.wait();
  EXPECT_THROW(pool.apply(fail, 1), std::out_of_range);
  EXPECT_TRUE(comes_true([&] { return pool.statistics().running == 0; }));
  now = pool.statistics();
  EXPECT_EQ(now.done, 3U);
  EXPECT_EQ(now.failed, 1U);
  EXPECT_EQ(now.queued, 0U);
  EXPECT_GT(now.longest_time, 0s);
  EXPECT_EQ(now.workers.at(0).tasks + now.workers.at(1).tasks, 4U);
}

TEST(ThreadPool, WorksForManyThreadsAtOnce) {
  ScopedPool pool{3};
  std::atomic<int> sum{0};
  std::vector<std::thread> users;
  for (int user = 0; user < 4; ++user)
    users.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        sum += pool.apply(square, 1);
        const auto result = pool.apply_async(square, 1);
        if (i % 3 == 0 && result.cancel()) sum += 1;
        else sum += result.get();
      }
    });
  for (auto& user : users) user.join();
  EXPECT_EQ(sum, 4 * 200 * 2);
}

}  // namespace
