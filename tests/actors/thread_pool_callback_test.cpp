// What hears of results of a ThreadPool: callbacks and coroutines.

#include <troupe/error.hpp>
#include <troupe/thread_pool.hpp>

#include "support/thread_pools.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <coroutine>
#include <exception>
#include <future>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe::test;
using troupe::ThreadPool;

TEST(ThreadPool, CallbacksRunOneAtATimeOnAThreadOfTheirOwn) {
  ScopedPool pool{4};
  std::set<std::thread::id> workers, callers;
  std::mutex mutex;
  int unguarded = 0;
  std::vector<troupe::ThreadResult<void>> all;
  for (int i = 0; i < 200; ++i)
    all.push_back(pool.callback([&] {
                        ++unguarded;
                        callers.insert(std::this_thread::get_id());
                        if (unguarded == 7) throw std::runtime_error("harms nothing");
                      })
                      .apply_async([&] {
                        const std::lock_guard lock{mutex};
                        workers.insert(std::this_thread::get_id());
                      }));
  for (const auto& result : all) result.get();
  EXPECT_EQ(unguarded, 200);
  ASSERT_EQ(callers.size(), 1U);
  EXPECT_FALSE(workers.contains(*callers.begin()));
}

// A process could not send such a thing either.
TEST(ThreadPool, AnErrorCallbackForExceptionsHearsOfOtherThingsAsRemoteErrors) {
  ScopedPool pool{1};
  std::string text;
  int calls = 0;
  const auto result = pool.error_callback([&](const std::exception& error) {
                            ++calls;
                            EXPECT_NE(dynamic_cast<const troupe::RemoteError*>(&error), nullptr);
                            text = error.what();
                          })
                          .apply_async([] { throw 7; });
  EXPECT_THROW(result.get(), int);
  EXPECT_EQ(calls, 1);
  EXPECT_NE(text.find("int"), std::string::npos) << text;
}

TEST(ThreadPool, AResultIsNotReadyWhileItsCallbackRuns) {
  ScopedPool pool{1};
  Gate gate;
  std::atomic<bool> begun{false};
  const auto result = pool.callback([&begun, gate](int) {
                            begun = true;
                            gate.wait();
                          })
                          .apply_async(square, 2);
  ASSERT_TRUE(comes_true([&] { return begun.load(); }));
  EXPECT_FALSE(result.wait(5ms));
  EXPECT_EQ(pool.apply(square, 3), 9);
  gate.open();
  EXPECT_EQ(result.get(), 4);
}

/// A coroutine that begins at once and tells its end by a future.
struct Coroutine {
  struct promise_type {
    std::promise<int> promise;
    Coroutine get_return_object() { return {promise.get_future()}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_value(int value) { promise.set_value(value); }
    void unhandled_exception() { promise.set_exception(std::current_exception()); }
  };
  std::future<int> result;
};
Coroutine add_squares(ThreadPool& pool, const Gate& gate) {
  const auto wait_and_square = [&gate](int x) { return gate.wait(), square(x); };
  const int first = co_await pool.apply_async(wait_and_square, 3);
  co_return first + co_await pool.apply_async(wait_and_square, 4);
}

TEST(ThreadPool, ResultsCanBeAwaited) {
  ScopedPool pool{1};
  Gate gate;
  auto coroutine = add_squares(pool, gate);
  EXPECT_EQ(coroutine.result.wait_for(0s), std::future_status::timeout);
  gate.open();
  ASSERT_EQ(coroutine.result.wait_for(patience), std::future_status::ready);
  EXPECT_EQ(coroutine.result.get(), 25);
}

}  // namespace
