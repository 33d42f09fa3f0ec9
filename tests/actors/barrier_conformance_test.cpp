// The cases of CPython's _TestBarrier under their names, for processes (every start method) and for threads: five
// parties, of which this thread is one. What each pins down is restated in one line.

#include <troupe/barrier.hpp>

#include "support/forked.hpp"
#include "support/sync_flavours.hpp"

#include <atomic>
#include <csignal>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace troupe::test;
using troupe::BrokenBarrierError;

constexpr int parties = 5;

class TestBarrier : public EveryMethod {};

/// What the parties of a case share: the barrier, counters, and one for each index.
template <class F>
struct Court {
  typename F::Barrier barrier{parties, patience};
  typename F::Semaphore first{0};
  typename F::Semaphore second{0};
  typename F::Semaphore third{0};

  TROUPE_FIELDS(barrier, first, second, third)
};

/// Runs `party(court, more...)` in five: this thread, and four of the flavour.
template <class F, class... More>
void run_parties(void (*party)(const Court<F>&, const More&...), const Court<F>& court, const More&... more) {
  std::vector<typename F::Process> others;
  for (int i = 1; i < parties; ++i) others.push_back(start<F>(party, court, more...));
  party(court, more...);
  expect_all_end(others);
}

void require(bool condition, const char* text) {
  if (!condition) throw troupe::RuntimeError(text);
}

/// Two rounds in lockstep: nobody passes before all have come.
template <class F>
void pass_rounds(const Court<F>& court, int rounds) {
  for (int i = 0; i < rounds; ++i) {
    court.first.release();
    court.barrier.wait();
    require(court.first.get_value() >= (i + 1) * parties, "passed before all had come");
    court.second.release();
    court.barrier.wait();
    require(court.second.get_value() >= (i + 1) * parties, "passed the second before all had come");
    require(court.first.get_value() == (i + 1) * parties, "one is a round ahead");
    court.barrier.wait();
  }
}

template <class F>
void pass_one_round(const Court<F>& court) {
  pass_rounds<F>(court, 1);
}
template <class F>
void pass_ten_rounds(const Court<F>& court) {
  pass_rounds<F>(court, 10);
}

// Lockstep; afterwards nobody waits and it is whole.
template <class F>
void test_barrier() {
  const Court<F> court;
  EXPECT_EQ(court.barrier.parties(), parties);
  run_parties<F>(&pass_one_round<F>, court);
  EXPECT_EQ(court.barrier.n_waiting(), 0);
  EXPECT_FALSE(court.barrier.broken());
}
TROUPE_TEST_BOTH_FLAVOURS(TestBarrier, test_barrier)

// The same barrier ten times in a row.
template <class F>
void test_barrier_10() {
  const Court<F> court;
  run_parties<F>(&pass_ten_rounds<F>, court);
  EXPECT_EQ(court.barrier.n_waiting(), 0);
}
TROUPE_TEST_BOTH_FLAVOURS(TestBarrier, test_barrier_10)

/// Adds 1, 10, 100 ... to `first` for its index.
template <class F>
void note_index(const Court<F>& court) {
  int weight = 1;
  for (int index = court.barrier.wait(); index > 0; --index) weight *= 10;
  for (int i = 0; i < weight; ++i) court.first.release();
}

// Each party gets an index of its own.
template <class F>
void test_wait_return() {
  const Court<F> court;
  run_parties<F>(&note_index<F>, court);
  EXPECT_EQ(court.first.get_value(), 11111);
  EXPECT_EQ(court.barrier.n_waiting(), 0);
}
TROUPE_TEST_BOTH_FLAVOURS(TestBarrier, test_wait_return)

/// The action of the next case.
template <class F>
struct CountOnce {
  typename F::Semaphore counter;

  void operator()() const { counter.release(); }
  TROUPE_FIELDS(counter)
};

template <class F>
void find_action_done(const Court<F>& court) {
  court.barrier.wait();
  require(court.first.get_value() == 1, "the action was not called once before the parties went on");
}

// The action is called once, before any party goes on.
template <class F>
void test_action() {
  Court<F> court;
  court.barrier = typename F::Barrier{parties, CountOnce<F>{court.first}, patience};
  run_parties<F>(&find_action_done<F>, court);
  EXPECT_EQ(court.first.get_value(), 1);
}
TROUPE_TEST_BOTH_FLAVOURS(TestBarrier, test_action)

template <class F>
void abort_at_third(const Court<F>& court) {
  try {
    if (court.barrier.wait() == parties / 2) return court.barrier.abort();
    court.barrier.wait();
    court.first.release();  // not to be reached
  } catch (const BrokenBarrierError&) {
    court.second.release();
  }
}

// One aborts while the others wait again: they get an error, nobody passes, and it stays broken.
template <class F>
void test_abort() {
  const Court<F> court;
  run_parties<F>(&abort_at_third<F>, court);
  EXPECT_EQ(court.first.get_value(), 0);
  EXPECT_EQ(court.second.get_value(), parties - 1);
  EXPECT_TRUE(court.barrier.broken());
  EXPECT_THROW(court.barrier.wait(), BrokenBarrierError);
}
TROUPE_TEST_BOTH_FLAVOURS(TestBarrier, test_abort)

template <class F>
void reset_when_others_wait(const Court<F>& court) {
  if (court.barrier.wait() == parties / 2) {
    require(comes_to_wait(court.barrier, parties - 1), "the others do not wait");
    court.barrier.reset();
  } else {
    try {
      court.barrier.wait();
      court.first.release();  // not to be reached
    } catch (const BrokenBarrierError&) {
      court.second.release();
    }
  }
  court.barrier.wait();
  court.third.release();
}

// Those who wait get an error when one resets it; then all pass.
template <class F>
void test_reset() {
  const Court<F> court;
  run_parties<F>(&reset_when_others_wait<F>, court);
  EXPECT_EQ(court.first.get_value(), 0);
  EXPECT_EQ(court.second.get_value(), parties - 1);
  EXPECT_EQ(court.third.get_value(), parties);
}
TROUPE_TEST_BOTH_FLAVOURS(TestBarrier, test_reset)

template <class F>
void abort_and_reset(const Court<F>& court, const typename F::Barrier& other) {
  try {
    if (court.barrier.wait() == parties / 2) {
      court.barrier.abort();
    } else {
      court.barrier.wait();
      court.first.release();  // not to be reached
    }
  } catch (const BrokenBarrierError&) {
    court.second.release();
  }
  // Synchronize by another one, so that nobody resets it before all have seen it broken.
  if (other.wait() == parties / 2) court.barrier.reset();
  other.wait();
  court.barrier.wait();
  court.third.release();
}

// After abort and reset it works again.
template <class F>
void test_abort_and_reset() {
  const Court<F> court;
  const typename F::Barrier other{parties, patience};
  run_parties<F>(&abort_and_reset<F>, court, other);
  EXPECT_EQ(court.first.get_value(), 0);
  EXPECT_EQ(court.second.get_value(), parties - 1);
  EXPECT_EQ(court.third.get_value(), parties);
}
TROUPE_TEST_BOTH_FLAVOURS(TestBarrier, test_abort_and_reset)

/// One comes only when the others have given up.
template <class F, class Wait>
void come_late_to(const Court<F>& court, Wait wait) {
  if (court.barrier.wait(patience) == parties / 2)
    require(comes_true([&] { return court.barrier.broken(); }, patience), "the others wait for ever");
  try {
    wait();
    court.first.release();  // not to be reached
  } catch (const BrokenBarrierError&) {
    court.second.release();
  }
}

template <class F>
void come_late(const Court<F>& court) {
  come_late_to<F>(court, [&] { court.barrier.wait(a_while); });
}
template <class F>
void come_late_by_default(const Court<F>& court) {
  come_late_to<F>(court, [&] { court.barrier.wait(); });
}

template <class F>
void expect_broken_for_all(const Court<F>& court) {
  EXPECT_EQ(court.first.get_value(), 0);
  EXPECT_EQ(court.second.get_value(), parties);
  EXPECT_TRUE(court.barrier.broken());
}

// One is later than the others want to wait: all get an error, the late one as well.
template <class F>
void test_timeout() {
  const Court<F> court;
  run_parties<F>(&come_late<F>, court);
  expect_broken_for_all<F>(court);
}
TROUPE_TEST_BOTH_FLAVOURS(TestBarrier, test_timeout)

// The same with the timeout that the barrier was made with.
template <class F>
void test_default_timeout() {
  Court<F> court;
  court.barrier = typename F::Barrier{parties, a_while};
  run_parties<F>(&come_late_by_default<F>, court);
  expect_broken_for_all<F>(court);
}
TROUPE_TEST_BOTH_FLAVOURS(TestBarrier, test_default_timeout)

// One party passes at once.
template <class F>
void test_single_thread() {
  const typename F::Barrier barrier{1};
  EXPECT_EQ(barrier.wait(), 0);
  EXPECT_EQ(barrier.wait(), 0);
}
TROUPE_TEST_BOTH_FLAVOURS(TestBarrier, test_single_thread)

template <class F>
void pass_many(const Court<F>& court) {
  for (int i = 0; i < 1000; ++i) court.barrier.wait();
}

// A thousand in a row.
template <class F>
void test_thousand() {
  const Court<F> court;
  run_parties<F>(&pass_many<F>, court);
  EXPECT_FALSE(court.barrier.broken());
}
TROUPE_TEST_BOTH_FLAVOURS(TestBarrier, test_thousand)

template <class F>
void tell_index(const Court<F>& court, const typename F::template Queue<std::pair<int, int>>& indices, int number) {
  indices.put({number, court.barrier.wait()});
}

// Rule: the index is the order of arrival.
template <class F>
void rule_index() {
  const Court<F> court;
  const typename F::template Queue<std::pair<int, int>> indices;
  std::vector<typename F::Process> others;
  for (int i = 0; i < parties - 1; ++i) {
    others.push_back(start<F>(&tell_index<F>, court, indices, i));
    ASSERT_TRUE(comes_to_wait(court.barrier, i + 1));
  }
  EXPECT_EQ(court.barrier.wait(), parties - 1);
  expect_all_end(others);
  for (int i = 0; i < parties - 1; ++i) {
    const auto [number, index] = indices.get(true, patience);
    EXPECT_EQ(index, number);
  }
}
TROUPE_TEST_BOTH_FLAVOURS(TestBarrier, rule_index)

// Rule: nobody waits while the barrier drains, here of one who was stopped in it.
TEST_P(TestBarrier, rule_nobody_waits_while_it_drains) {
  const troupe::Barrier barrier{2, patience};
  const auto waiter = start<Processes>([](const troupe::Barrier& its) { its.wait(); }, barrier);
  ASSERT_TRUE(comes_to_wait(barrier, 1));
  ::kill(*waiter.pid(), SIGSTOP);
  ASSERT_TRUE(wait_for_state(*waiter.pid(), 'T'));
  EXPECT_EQ(barrier.n_waiting(), 1);
  EXPECT_EQ(barrier.wait(), 1);
  EXPECT_EQ(barrier.n_waiting(), 0);
  EXPECT_FALSE(barrier.broken());
  ::kill(*waiter.pid(), SIGCONT);
  EXPECT_TRUE(waiter.join(patience));
  EXPECT_EQ(waiter.exitcode(), 0);
}

std::atomic<bool> is_held_up;
std::atomic<bool> may_go_on;

// The same of a thread, which a signal holds up in it.
TEST(TestBarrierOfThreads, rule_nobody_waits_while_it_drains) {
  if (thread_sanitized) GTEST_SKIP() << "signals wait for the end of the wait";
  struct sigaction hold_up {};
  hold_up.sa_handler = [](int) {
    is_held_up = true;
    is_held_up.notify_one();
    may_go_on.wait(false);
  };
  struct sigaction before {};
  ::sigaction(SIGUSR1, &hold_up, &before);
  is_held_up = may_go_on = false;
  const troupe::dummy::Barrier barrier{2, patience};
  std::thread waiter{[&] { EXPECT_EQ(barrier.wait(), 0); }};
  EXPECT_TRUE(comes_to_wait(barrier, 1));
  ::pthread_kill(waiter.native_handle(), SIGUSR1);
  is_held_up.wait(false);
  EXPECT_EQ(barrier.n_waiting(), 1);
  EXPECT_EQ(barrier.wait(), 1);
  EXPECT_EQ(barrier.n_waiting(), 0);
  EXPECT_FALSE(barrier.broken());
  may_go_on = true;
  may_go_on.notify_one();
  waiter.join();
  ::sigaction(SIGUSR1, &before, nullptr);
}

struct FailingAction {
  void operator()() const { throw troupe::KeyError("no such key"); }
};

template <class F>
void see_action_fail(const Court<F>& court) {
  try {
    court.barrier.wait();
  } catch (const BrokenBarrierError&) {
    court.first.release();
  } catch (const troupe::KeyError&) {
    court.second.release();
  }
}

// Rule: an action that throws breaks the barrier; its error reaches the one who called it, the others get another.
template <class F>
void rule_failing_action() {
  Court<F> court;
  court.barrier = typename F::Barrier{parties, FailingAction{}, patience};
  run_parties<F>(&see_action_fail<F>, court);
  EXPECT_EQ(court.first.get_value(), parties - 1);
  EXPECT_EQ(court.second.get_value(), 1);
  EXPECT_TRUE(court.barrier.broken());
}
TROUPE_TEST_BOTH_FLAVOURS(TestBarrier, rule_failing_action)

// Rule: reset with nobody waiting harms no one.
template <class F>
void rule_idle_reset() {
  const Court<F> court;
  court.barrier.reset();
  EXPECT_FALSE(court.barrier.broken());
  run_parties<F>(&pass_one_round<F>, court);
}
TROUPE_TEST_BOTH_FLAVOURS(TestBarrier, rule_idle_reset)

TROUPE_TEST_EVERY_METHOD(TestBarrier);

}  // namespace
