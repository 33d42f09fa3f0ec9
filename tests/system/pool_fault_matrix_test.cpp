// Every phase of a task's way, struck by every kind of fault, in pools of several sizes: the guilty task fails with the
// right error, which its error_callback hears once, all others give their results, once, the pool works on, and nothing
// is left. How the guilty task commits its fault is in guilty_task.hpp.

#include <troupe/error.hpp>
#include <troupe/pool.hpp>
#include <troupe/process.hpp>
#include <troupe/pump.hpp>

#include "resident_memory.hpp"
#include "support/faults.hpp"
#include "support/nursery.hpp"
#include "support/pools.hpp"
#include "support/processes.hpp"
#include "system/guilty_task.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <ranges>
#include <semaphore>
#include <string>
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
using troupe::WorkerDied;

using Cell = std::tuple<Phase, Fault, int>;

/// Why there is no such cell; null where there is one.
const char* why_impossible(Phase phase, Fault fault) {
  if (phase == Phase::arguments_encoded && !is_thrown(fault))
    return "the submitter encodes arguments: this program itself would end";
  if (fault == Fault::larger_than_any_message && phase != Phase::arguments_encoded && phase != Phase::result_encoded)
    return "only what is encoded can be too large";
  if (is_thrown(fault) && (phase == Phase::in_ring_unstarted || phase == Phase::result_in_ring || phase == Phase::idle))
    return "no code of the user runs then, so none can throw";
  if (phase == Phase::during_terminate && fault == Fault::alien_exception)
    return "nobody reads results any more, so the type makes no difference";
  return nullptr;
}

std::vector<Cell> possible_cells() {
  std::vector<Cell> cells;
  for (std::size_t phase = 0; phase < phase_names.size(); ++phase)
    for (std::size_t fault = 0; fault < fault_names.size(); ++fault)
      for (const int workers : {1, 2, 5, 13})
        if (const Cell cell{static_cast<Phase>(phase), static_cast<Fault>(fault), workers};
            why_impossible(std::get<0>(cell), std::get<1>(cell)) == nullptr)
          cells.push_back(cell);
  return cells;
}

// --- The test's side ---

int count_run(int number) {
  ++board.runs[static_cast<std::size_t>(number)];
  return square(number);
}

std::vector<AsyncResult<int>> submit_good(Pool& pool, int first) {
  std::vector<AsyncResult<int>> results;
  for (int i = first; i < first + num_around; ++i) results.push_back(pool.apply_async(count_run, i));
  return results;
}

void expect_good(const std::vector<AsyncResult<int>>& results, int first) {
  for (int i = 0; i < num_around; ++i) {
    EXPECT_EQ(results[static_cast<std::size_t>(i)].get(patience), square(first + i));
    EXPECT_EQ(board.runs[static_cast<std::size_t>(first + i)], 1);
  }
}

/// The same after terminate: what was not done is cancelled.
void expect_good_or_cancelled(const std::vector<AsyncResult<int>>& results, int first) {
  for (int i = 0; i < num_around; ++i) {
    try {
      EXPECT_EQ(results[static_cast<std::size_t>(i)].get(patience), square(first + i));
    } catch (const troupe::Cancelled&) {
    }
    EXPECT_LE(board.runs[static_cast<std::size_t>(first + i)], 1);
  }
}

/// thrown_by, and that a death is the one that was ordered.
template <class Action>
std::string outcome_of(Action action, Fault fault) {
  return thrown_by([&] {
    try {
      action();
    } catch (const WorkerDied& error) {
      expect_death_by(fault, error);
      EXPECT_EQ(error.pid(), board.guilty);
      EXPECT_EQ(error.attempts(), 1U);
      throw;
    }
  });
}

void expect_outcome(const AsyncResult<Reply>& result, Phase phase, Fault fault) {
  const bool was_done = phase == Phase::result_in_ring || phase == Phase::idle;
  const bool was_cancelled = phase == Phase::during_terminate;
  const std::string expected = was_done ? "nothing" : was_cancelled ? "Cancelled" : error_of(fault);
  EXPECT_EQ(outcome_of([&] { EXPECT_EQ(result.get(patience).order.fault, fault); }, fault), expected);
}

/// What the guilty task's error_callback is to hear: nothing if its submission was refused, if it ends well, or after
/// terminate.
std::vector<std::string> expected_calls(Phase phase, Fault fault) {
  if (phase == Phase::arguments_encoded || phase == Phase::during_terminate) return {};
  if (phase == Phase::result_in_ring || phase == Phase::idle || error_of(fault) == "nothing") return {};
  return {error_of(fault)};
}

bool guilty_is_there() {
  return comes_true([] { return board.guilty != 0; }, patience);
}

/// Waits until the fault has struck: the guilty process is stopped or gone.
bool has_struck() {
  const auto shows = [] {
    const char state = process_state(board.guilty);
    return state == 'T' || state == '-' || state == 'Z';
  };
  return guilty_is_there() && comes_true(shows, patience);
}

/// Waits until the fault would strike if anybody could see it: the guilty process is stopped, gone or too large.
bool is_about_to_strike(Fault fault) {
  if (fault != Fault::memory_limit) return has_struck();
  const auto is_large = [] { return troupe::detail::resident_bytes(board.guilty) > memory_hard_limit; };
  return guilty_is_there() && comes_true(is_large, patience);
}

/// Keeps this process's pump from doing anything: no result is taken from a ring and no death seen, unless by a wait.
class HeldPump {
 public:
  HeldPump() {
    troupe::Pump::instance().run_soon([state = state_] {
      state->holds.release();
      state->let_go.acquire();
    });
    EXPECT_TRUE(state_->holds.try_acquire_for(patience));
  }
  ~HeldPump() { state_->let_go.release(); }
  HeldPump(const HeldPump&) = delete;
  HeldPump& operator=(const HeldPump&) = delete;

 private:
  struct State {
    std::binary_semaphore holds{0};
    std::binary_semaphore let_go{0};
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

class PoolFaultMatrix : public testing::TestWithParam<Cell> {
 protected:
  void SetUp() override {
    board.guilty = 0;
    for (auto& runs : board.runs) runs = 0;
    ASSERT_TRUE(num_descriptors_become(num_descriptors_));
    const auto [phase, fault, workers] = GetParam();
    pool_ = std::make_unique<Pool>(PoolOptions{.workers = workers, .memory_hard_limit = hard_limit_for(fault)});
    pids_ = pool_->worker_pids();
  }

  void TearDown() override {
    const auto last = pool_->worker_pids();
    pids_.insert(pids_.end(), last.begin(), last.end());
    pool_->close();
    EXPECT_TRUE(pool_->join(patience));
    pool_.reset();
    guilty_.clear();  // results hold their pool's memory
    behind_.clear();
    EXPECT_EQ(calls_, expected_calls(std::get<0>(GetParam()), std::get<1>(GetParam())));
    for (const pid_t pid : pids_) EXPECT_FALSE(is_running(pid));
    EXPECT_TRUE(troupe::active_children().empty());
    EXPECT_TRUE(num_descriptors_become(num_descriptors_));
  }

  static void SetUpTestSuite() {
    static_cast<void>(troupe::Pump::instance());  // has descriptors, and stays
    num_descriptors_ = num_descriptors();
  }

  /// Submits the guilty task and brings the fault about; good tasks are submitted behind it.
  void strike(Phase phase, Fault fault);
  void settle(Phase phase, Fault fault);

  static bool num_descriptors_become(std::size_t number) {
    return comes_true([=] { return num_descriptors() == number; });
  }

  static inline std::size_t num_descriptors_ = 0;
  std::unique_ptr<Pool> pool_;
  std::vector<pid_t> pids_;
  std::vector<AsyncResult<Reply>> guilty_;
  std::vector<AsyncResult<int>> behind_;
  std::vector<std::string> calls_;  // of the error_callback; only the callback thread's until the pool is joined
};

void PoolFaultMatrix::strike(Phase phase, Fault fault) {
  const auto call = [this, fault](const std::exception_ptr& error) {
    calls_.push_back(outcome_of([&] { std::rethrow_exception(error); }, fault));
  };
  const auto submit_guilty = [&] {
    guilty_.push_back(phase == Phase::result_in_ring  // with a callback it would not be ready as soon as it is read
                          ? pool_->apply_async(obey, Order{phase, fault})
                          : pool_->error_callback(call).apply_async(obey, Order{phase, fault}));
  };
  const auto submit_behind = [&] { behind_ = submit_good(*pool_, num_around); };
  const auto signal_guilty = [] { ::kill(board.guilty, SIGUSR1); };
  switch (phase) {
    case Phase::arguments_encoded:
      EXPECT_EQ(thrown_by(submit_guilty), fault == Fault::alien_exception ? "Alien" : error_of(fault));
      return submit_behind();
    case Phase::in_ring_unstarted: {
      // A pool that knows its tasks to be short puts more of them into the ring of a worker that runs one.
      pool_->map(square, std::views::iota(0, 200), 1);
      const HeldPump nobody_takes_them_back;
      submit_guilty();
      ASSERT_TRUE(guilty_is_there());
      submit_behind();
      signal_guilty();
      ASSERT_TRUE(is_about_to_strike(fault));
      return;
    }
    case Phase::result_in_ring: {
      std::optional<HeldPump> nobody_reads_the_ring{std::in_place};
      do {  // until one's answer has not come so fast that its own submission took it along
        board.guilty = 0;
        submit_guilty();
        ASSERT_TRUE(guilty_is_there() && wait_for_state(board.guilty, 'S'));  // it sleeps when it has answered
      } while (guilty_.back().ready());
      signal_guilty();
      ASSERT_TRUE(is_about_to_strike(fault));
      if (fault == Fault::memory_limit) {  // would end with any task that it had begun
        nobody_reads_the_ring.reset();
        ASSERT_TRUE(has_struck());
      }
      return submit_behind();
    }
    case Phase::idle:
      submit_guilty();
      guilty_.front().wait(patience);
      ASSERT_TRUE(wait_for_state(board.guilty, 'S'));
      signal_guilty();
      ASSERT_TRUE(has_struck());
      return submit_behind();
    case Phase::during_close:
    case Phase::during_terminate:
      submit_guilty();
      submit_behind();
      ASSERT_TRUE(guilty_is_there());
      phase == Phase::during_close ? pool_->close() : pool_->terminate();
      if (phase == Phase::during_close) signal_guilty();
      ASSERT_TRUE(is_thrown(fault) || has_struck());
      return;
    default: submit_guilty(); return submit_behind();
  }
}

void PoolFaultMatrix::settle(Phase phase, Fault fault) {
  const auto expect_others = phase == Phase::during_terminate ? expect_good_or_cancelled : expect_good;
  if (is_stop(fault)) {
    ASSERT_TRUE(has_struck());
    if (pool_->num_workers() > 1) expect_others(behind_, num_around);  // a stopped worker keeps nobody waiting
    ::kill(board.guilty, fault == Fault::sigstop_sigcont ? SIGCONT : SIGKILL);
  }
  for (const auto& result : guilty_) expect_outcome(result, phase, fault);
  expect_others(behind_, num_around);
}

TEST_P(PoolFaultMatrix, CostsTheGuiltyTaskAlone) {
  const auto [phase, fault, workers] = GetParam();
  const auto before = submit_good(*pool_, 0);
  if (phase == Phase::result_in_ring || phase == Phase::idle || phase == Phase::during_terminate)
    expect_good(before, 0);
  ASSERT_NO_FATAL_FAILURE(strike(phase, fault));
  ASSERT_NO_FATAL_FAILURE(settle(phase, fault));
  expect_good(before, 0);
  if (phase == Phase::during_close || phase == Phase::during_terminate)
    EXPECT_THROW(pool_->apply_async(square, 1), troupe::ValueError);
  else
    expect_works(*pool_, static_cast<std::size_t>(workers));
}

std::string name_of(const testing::TestParamInfo<Cell>& cell) {
  const auto [phase, fault, workers] = cell.param;
  return std::string(phase_names[static_cast<std::size_t>(phase)]) + "_" +
         fault_names[static_cast<std::size_t>(fault)] + "_w" + std::to_string(workers);
}

INSTANTIATE_TEST_SUITE_P(All, PoolFaultMatrix, testing::ValuesIn(possible_cells()), name_of);

}  // namespace
