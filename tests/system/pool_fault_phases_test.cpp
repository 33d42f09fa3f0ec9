// The phases of a pool's life that are no phase of a task's way, struck by every kind of fault in pools of several
// sizes: its initializer, its callbacks, a change of its size, a worker with too much memory. What is not guilty is not
// affected.

#include <troupe/codec.hpp>
#include <troupe/error.hpp>
#include <troupe/pool.hpp>
#include <troupe/process.hpp>

#include "support/faults.hpp"
#include "support/pools.hpp"
#include "support/processes.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <semaphore>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <unistd.h>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe::test;
using troupe::AsyncResult;
using troupe::Pool;
using troupe::PoolOptions;

constexpr std::size_t max_stopped = 256;

/// Shared by all processes, made before main and its nursery.
struct Board {
  std::atomic<std::size_t> num_stopped;
  std::array<std::atomic<pid_t>, max_stopped> stopped;  // who has stopped itself, or is about to
};
Board& board = make_shared_memory<Board>();

/// What guilty tasks return.
struct Verdict {
  Fault fault{};
};

void strike(Fault fault) {
  if (is_stop(fault)) board.stopped.at(board.num_stopped++) = ::getpid();
  commit(fault);
}
Verdict commit_and_return(Fault fault) { return strike(fault), Verdict{fault}; }

/// Continues, or kills, those who stop themselves.
class Waker {
 public:
  explicit Waker(Fault fault) : thread_([fault](const std::stop_token& stop) {
    const int number = fault == Fault::sigstop_sigcont ? SIGCONT : SIGKILL;
    for (auto& pid : board.stopped) {
      while (pid == 0)
        if (stop.stop_requested()) return;
        else ::usleep(100);
      if (wait_for_state(pid, 'T')) ::kill(pid, number);
    }
  }) {}

 private:
  std::jthread thread_;
};

}  // namespace

template <>
struct troupe::Codec<Verdict> {
  static void encode(const Verdict& verdict, wire::Value::Builder out) {
    if (verdict.fault == Fault::larger_than_any_message) return encode_too_large(out);
    troupe::encode(static_cast<int>(verdict.fault), out);
  }
  static Verdict decode(wire::Value::Reader in) { return {static_cast<Fault>(troupe::decode<int>(in))}; }
};

namespace {

std::vector<Fault> all_faults() {
  std::vector<Fault> all;
  for (std::size_t i = 0; i < fault_names.size(); ++i) all.push_back(static_cast<Fault>(i));
  return all;
}

class PoolFaultPhases : public testing::TestWithParam<std::tuple<Fault, int>> {
 protected:
  PoolFaultPhases() {
    new (&board) Board{};
    if (is_stop(fault())) waker_.emplace(fault());
  }

  static Fault fault() { return std::get<0>(GetParam()); }
  static int workers() { return std::get<1>(GetParam()); }
  static std::size_t num_workers() { return static_cast<std::size_t>(workers()); }

  /// The error of the guilty task alone.
  static void expect_guilty(const AsyncResult<Verdict>& guilty) {
    EXPECT_EQ(thrown_by([&] {
                try {
                  EXPECT_EQ(guilty.get(20s).fault, fault());
                } catch (const troupe::WorkerDied& death) {
                  EXPECT_EQ(death.exitcode(), exitcode_of(fault()));
                  throw;
                }
              }),
              error_of(fault()));
  }
  static std::vector<AsyncResult<int>> submit(Pool& pool, int count) {
    std::vector<AsyncResult<int>> results;
    for (int i = 0; i < count; ++i) results.push_back(pool.apply_async(square, i));
    return results;
  }
  static void expect_squares(const std::vector<AsyncResult<int>>& results) {
    for (std::size_t i = 0; i < results.size(); ++i)
      EXPECT_EQ(results[i].get(20s), static_cast<int>(i * i)) << "task " << i;
  }

 private:
  std::optional<Waker> waker_;
};

// The pool gives up after a bounded number of workers; what was submitted gets an error that says why. Workers that were
// held up in it work when they go on.
TEST_P(PoolFaultPhases, InTheInitializer) {
  if (fault() == Fault::larger_than_any_message) GTEST_SKIP() << "an initializer returns nothing";
  {
    Pool pool{PoolOptions{.workers = workers(), .initializer = {strike, fault()}}};
    const auto results = submit(pool, 20);
    if (fault() == Fault::sigstop_sigcont) {
      expect_squares(results);
      expect_works(pool, num_workers());
    } else {
      for (const auto& result : results) EXPECT_THROW(result.get(20s), troupe::RuntimeError);
      EXPECT_THROW(pool.apply(square, 1), troupe::RuntimeError);
    }
    pool.close();
    EXPECT_TRUE(pool.join(20s));
  }
  EXPECT_TRUE(troupe::active_children().empty());
}

// A worker's fault while a callback runs, and the callback's own error, stay where they are.
TEST_P(PoolFaultPhases, WhileACallbackRuns) {
  Pool pool{workers()};
  const auto before = submit(pool, 20);
  std::binary_semaphore running{0}, may_end{0};
  const auto called_back = pool.callback([&](int) {
                                 running.release();
                                 may_end.acquire();
                                 throw std::runtime_error("the callback's own");
                               })
                               .apply_async(square, 3);
  ASSERT_TRUE(running.try_acquire_for(20s));
  const auto guilty = pool.apply_async(commit_and_return, fault());
  const auto behind = submit(pool, 20);
  expect_guilty(guilty);
  expect_squares(before);
  expect_squares(behind);
  EXPECT_FALSE(called_back.ready());
  may_end.release();
  EXPECT_EQ(called_back.get(20s), 9);
  expect_works(pool, num_workers());
  pool.terminate();
}

TEST_P(PoolFaultPhases, WhileThePoolGrowsAndShrinks) {
  Pool pool{workers()};
  std::vector<AsyncResult<Verdict>> guilty;
  std::vector<std::vector<AsyncResult<int>>> others;
  for (const int size : {workers() + 3, workers(), workers() + 1}) {
    others.push_back(submit(pool, 20));
    guilty.push_back(pool.apply_async(commit_and_return, fault()));
    pool.resize(size);
    guilty.push_back(pool.apply_async(commit_and_return, fault()));
    others.push_back(submit(pool, 20));
  }
  for (const auto& one : guilty) expect_guilty(one);
  for (const auto& some : others) expect_squares(some);
  expect_works(pool, num_workers() + 1);
  pool.close();
  EXPECT_TRUE(pool.join(20s));
}

TEST_P(PoolFaultPhases, WhileWorkersAreReplacedAllTheTime) {
  Pool pool{PoolOptions{.workers = workers(), .maxtasksperchild = 2}};
  const auto before = submit(pool, 20);
  const auto guilty = pool.apply_async(commit_and_return, fault());
  const auto behind = submit(pool, 20);
  expect_guilty(guilty);
  expect_squares(before);
  expect_squares(behind);
  expect_works(pool, num_workers());
  pool.close();
  EXPECT_TRUE(pool.join(20s));
}

std::string cell_name(const testing::TestParamInfo<std::tuple<Fault, int>>& cell) {
  const auto& [fault, workers] = cell.param;
  return std::string(fault_names[static_cast<std::size_t>(fault)]) + "_w" + std::to_string(workers);
}
INSTANTIATE_TEST_SUITE_P(Faults, PoolFaultPhases,
                         testing::Combine(testing::ValuesIn(all_faults()), testing::Values(1, 2, 5, 13)), cell_name);

class PoolMemoryFault : public testing::TestWithParam<int> {};

int fill_memory(int) {
  static std::vector<char> all;
  for (;;) {
    all.resize(all.size() + (8U << 20U), 1);
    std::this_thread::sleep_for(2ms);
  }
}

TEST_P(PoolMemoryFault, CostsTheGuiltyTaskOnly) {
  Pool pool{PoolOptions{.workers = GetParam(), .memory_hard_limit = std::uint64_t{80} << 20U}};
  std::vector<AsyncResult<int>> others;
  for (int i = 0; i < 20; ++i) others.push_back(pool.apply_async(square, i));
  const auto guilty = pool.apply_async(fill_memory, 0);
  for (int i = 20; i < 40; ++i) others.push_back(pool.apply_async(square, i));
  EXPECT_THROW(guilty.get(20s), troupe::WorkerDied);
  for (int i = 0; i < 40; ++i) EXPECT_EQ(others[static_cast<std::size_t>(i)].get(20s), i * i);
  expect_works(pool, static_cast<std::size_t>(GetParam()));
  pool.terminate();
}

INSTANTIATE_TEST_SUITE_P(Workers, PoolMemoryFault, testing::Values(1, 2, 5, 13));

}  // namespace
