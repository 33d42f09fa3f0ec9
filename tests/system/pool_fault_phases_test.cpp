// The phases of a pool's life that are no phase of a task's way, struck by every kind of fault in pools of several
// sizes: its initializer, its callbacks, a change of its size. What is not guilty is not affected and runs once, who is
// told of the error is told once, and nothing is left.

#include <troupe/codec.hpp>
#include <troupe/error.hpp>
#include <troupe/pool.hpp>
#include <troupe/process.hpp>
#include <troupe/pump.hpp>

#include "support/faults.hpp"
#include "support/nursery.hpp"
#include "support/pools.hpp"
#include "support/processes.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <semaphore>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe::test;
using troupe::AsyncResult;
using troupe::Pool;
using troupe::PoolOptions;

constexpr std::size_t max_stopped = 256;
constexpr std::size_t max_siblings = 120;

/// Shared by all processes, made before main and its nursery.
struct Board {
  std::atomic<std::size_t> num_stopped;
  std::array<std::atomic<pid_t>, max_stopped> stopped;  // who has stopped itself, or is about to
  std::array<std::atomic<int>, max_siblings> runs;      // of the tasks that are not guilty
};
Board& board = make_shared_memory<Board>();
const bool without_core_files = forbid_core_files();

int count_run(int number) {
  ++board.runs.at(static_cast<std::size_t>(number));
  return square(number);
}

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

/// A pool with the tasks that are not guilty. At the end nothing is left of it.
class OnePool : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    static_cast<void>(troupe::Pump::instance());  // has descriptors, and stays
    num_descriptors_ = num_descriptors();
  }
  OnePool() { new (&board) Board{}; }

  Pool& make_pool(PoolOptions options) {
    pool_ = std::make_unique<Pool>(std::move(options));
    pids_ = pool_->worker_pids();
    return *pool_;
  }
  void TearDown() override {
    if (!pool_) return;
    const auto last = pool_->worker_pids();
    pids_.insert(pids_.end(), last.begin(), last.end());
    siblings_.clear();  // results hold their pool's memory
    pool_->close();
    EXPECT_TRUE(pool_->join(20s));
    pool_.reset();
    for (const pid_t pid : pids_) EXPECT_FALSE(is_running(pid));
    EXPECT_TRUE(troupe::active_children().empty());
    EXPECT_TRUE(comes_true([] { return num_descriptors() == num_descriptors_; }));
  }

  void submit_siblings() {
    for (int i = 0; i < 20; ++i) siblings_.push_back(pool_->apply_async(count_run, static_cast<int>(siblings_.size())));
  }
  /// All have their results and ran once.
  void expect_siblings() {
    for (std::size_t i = 0; i < siblings_.size(); ++i) {
      EXPECT_EQ(siblings_[i].get(20s), static_cast<int>(i * i)) << "task " << i;
      EXPECT_EQ(board.runs[i], 1) << "task " << i;
    }
  }

  std::vector<AsyncResult<int>> siblings_;

 private:
  static inline std::size_t num_descriptors_ = 0;
  std::unique_ptr<Pool> pool_;
  std::vector<pid_t> pids_;
};

class PoolFaultPhases : public OnePool, public testing::WithParamInterface<std::tuple<Fault, int>> {
 protected:
  PoolFaultPhases() {
    if (is_stop(fault())) waker_.emplace(fault());
  }
  // A fault that is told of is told of once, when the pool is joined at the latest.
  void TearDown() override {
    const std::size_t num_expected = error_of(fault()) == "nothing" ? 0 : guilty_.size();
    const std::vector<std::string> expected(num_expected, error_of(fault()));
    guilty_.clear();
    OnePool::TearDown();
    EXPECT_EQ(calls_, expected);
  }

  static Fault fault() { return std::get<0>(GetParam()); }
  static int workers() { return std::get<1>(GetParam()); }
  static std::size_t num_workers() { return static_cast<std::size_t>(workers()); }

  Pool& make_pool(PoolOptions options = {}) {
    options.workers = workers();
    options.memory_hard_limit = hard_limit_for(fault());
    return OnePool::make_pool(std::move(options));
  }
  void submit_guilty(Pool& pool) {
    guilty_.push_back(pool.error_callback([this](const std::exception_ptr& error) {
                            calls_.push_back(outcome_of([&] { std::rethrow_exception(error); }));
                          })
                          .apply_async(commit_and_return, fault()));
  }
  void expect_guilty() {
    for (const auto& one : guilty_) expect_guilty(one);
  }
  /// The error of the guilty task alone.
  static void expect_guilty(const AsyncResult<Verdict>& guilty) {
    EXPECT_EQ(outcome_of([&] { EXPECT_EQ(guilty.get(20s).fault, fault()); }), error_of(fault()));
  }

 private:
  /// thrown_by, and that a death is the one that was ordered.
  template <class Action>
  static std::string outcome_of(Action action) {
    return thrown_by([&] {
      try {
        action();
      } catch (const troupe::WorkerDied& death) {
        expect_death_by(fault(), death);
        throw;
      }
    });
  }

  std::optional<Waker> waker_;
  std::vector<AsyncResult<Verdict>> guilty_;
  std::vector<std::string> calls_;  // of their error_callback; only the callback thread's until the pool is joined
};

// The pool gives up after a bounded number of workers; what was submitted gets an error that says why, and never runs.
// Workers that were held up in it work when they go on.
TEST_P(PoolFaultPhases, InTheInitializer) {
  if (fault() == Fault::larger_than_any_message) GTEST_SKIP() << "an initializer returns nothing";
  Pool& pool = make_pool({.initializer = {strike, fault()}});
  submit_siblings();
  if (fault() == Fault::sigstop_sigcont) {
    expect_siblings();
    expect_works(pool, num_workers());
  } else {
    for (const auto& result : siblings_) EXPECT_THROW(result.get(20s), troupe::RuntimeError);
    EXPECT_THROW(pool.apply(square, 1), troupe::RuntimeError);
    for (const auto& runs : board.runs) EXPECT_EQ(runs, 0);
  }
}

// A worker's fault while a callback runs, and the callback's own error, stay where they are.
TEST_P(PoolFaultPhases, WhileACallbackRuns) {
  Pool& pool = make_pool();
  submit_siblings();
  std::binary_semaphore running{0}, may_end{0};
  const auto called_back = pool.callback([&](int) {
                                 running.release();
                                 may_end.acquire();
                                 throw std::runtime_error("the callback's own");
                               })
                               .apply_async(square, 3);
  ASSERT_TRUE(running.try_acquire_for(20s));
  const auto guilty = pool.apply_async(commit_and_return, fault());
  submit_guilty(pool);  // its callback waits for the one that runs
  submit_siblings();
  expect_guilty(guilty);
  expect_siblings();
  EXPECT_FALSE(called_back.ready());
  may_end.release();
  EXPECT_EQ(called_back.get(20s), 9);
  expect_guilty();
  expect_works(pool, num_workers());
}

TEST_P(PoolFaultPhases, WhileThePoolGrowsAndShrinks) {
  Pool& pool = make_pool();
  for (const int size : {workers() + 3, workers(), workers() + 1}) {
    submit_siblings();
    submit_guilty(pool);
    pool.resize(size);
    submit_guilty(pool);
    submit_siblings();
  }
  expect_guilty();
  expect_siblings();
  expect_works(pool, num_workers() + 1);
}

TEST_P(PoolFaultPhases, WhileWorkersAreReplacedAllTheTime) {
  Pool& pool = make_pool({.maxtasksperchild = 2});
  submit_siblings();
  submit_guilty(pool);
  submit_siblings();
  expect_guilty();
  expect_siblings();
  expect_works(pool, num_workers());
}

std::string cell_name(const testing::TestParamInfo<std::tuple<Fault, int>>& cell) {
  const auto& [fault, workers] = cell.param;
  return std::string(fault_names[static_cast<std::size_t>(fault)]) + "_w" + std::to_string(workers);
}
INSTANTIATE_TEST_SUITE_P(Faults, PoolFaultPhases,
                         testing::Combine(testing::ValuesIn(all_faults()), testing::Values(1, 2, 5, 13)), cell_name);

}  // namespace
