// The cases of CPython's _TestCondition under their names, for processes (every start method) and for threads. What
// each pins down is restated in one line.

#include <troupe/condition.hpp>

#include "support/sync_flavours.hpp"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <mutex>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe::test;
using Clock = std::chrono::steady_clock;

class TestCondition : public EveryMethod {};

/// Says that it waits, waits, and says that it woke. Holding the lock while it says the first, so that whoever gets the
/// lock afterwards finds it waiting.
template <class F>
void wait_once(const typename F::Condition& condition, const typename F::Semaphore& sleeping,
               const typename F::Semaphore& woken, bool with_timeout) {
  condition.acquire();
  sleeping.release();
  if (with_timeout) {
    condition.wait(a_while);
  } else {
    condition.wait();
  }
  woken.release();
  condition.release();
}

/// What a case needs: a condition, and one process and one thread for each of `count` that wait.
template <class F>
struct Sleepers {
  typename F::Condition condition;
  typename F::Semaphore sleeping{0};
  typename F::Semaphore woken{0};
  std::vector<typename F::Process> processes;
  std::vector<Threads::Process> threads;

  void start_both(bool with_timeout = false) {
    processes.push_back(start<F>(&wait_once<F>, condition, sleeping, woken, with_timeout));
    threads.push_back(start<Threads>(&wait_once<F>, condition, sleeping, woken, with_timeout));
  }
  /// Waits until all that were woken have gone on.
  bool come_to_rest() const {
    std::vector<pid_t> pids = pids_of(processes);
    std::ranges::copy(pids_of(threads), std::back_inserter(pids));
    return troupe::test::come_to_rest(pids);
  }
  void notify(std::size_t count) {
    const std::lock_guard guard{condition};
    condition.notify(count);
  }
  void end() {
    expect_all_end(processes);
    expect_all_end(threads);
    // No notification is left over for who waits now.
    const std::lock_guard guard{condition};
    EXPECT_FALSE(condition.wait(10ms));
  }
};

// Nobody wakes by himself; each notify wakes exactly one.
template <class F>
void test_notify() {
  Sleepers<F> all;
  all.start_both();
  ASSERT_TRUE(reaches(all.sleeping, 2));
  ASSERT_TRUE(all.come_to_rest());
  EXPECT_EQ(all.woken.get_value(), 0);
  all.notify(1);
  ASSERT_TRUE(reaches(all.woken, 1));
  ASSERT_TRUE(all.come_to_rest());
  EXPECT_EQ(all.woken.get_value(), 1);
  all.notify(1);
  ASSERT_TRUE(reaches(all.woken, 2));
  all.end();
}
TROUPE_TEST_BOTH_FLAVOURS(TestCondition, test_notify)

// All are woken, also after timeouts that have left nothing behind.
template <class F>
void test_notify_all() {
  Sleepers<F> all;
  for (int i = 0; i < 3; ++i) all.start_both(true);
  ASSERT_TRUE(reaches(all.sleeping, 6));
  ASSERT_TRUE(reaches(all.woken, 6));
  for (int i = 0; i < 3; ++i) all.start_both();
  ASSERT_TRUE(reaches(all.sleeping, 12));
  ASSERT_TRUE(all.come_to_rest());
  EXPECT_EQ(all.woken.get_value(), 6);
  {
    const std::lock_guard guard{all.condition};
    all.condition.notify_all();
  }
  ASSERT_TRUE(reaches(all.woken, 12));
  all.end();
}
TROUPE_TEST_BOTH_FLAVOURS(TestCondition, test_notify_all)

// Of six, notify(2) wakes two, notify(4) the others; notify(3) with nobody there changes nothing.
template <class F>
void test_notify_n() {
  Sleepers<F> all;
  for (int i = 0; i < 3; ++i) all.start_both();
  ASSERT_TRUE(reaches(all.sleeping, 6));
  all.notify(2);
  ASSERT_TRUE(reaches(all.woken, 2));
  ASSERT_TRUE(all.come_to_rest());
  EXPECT_EQ(all.woken.get_value(), 2);
  all.notify(4);
  ASSERT_TRUE(reaches(all.woken, 6));
  all.notify(3);
  EXPECT_EQ(all.woken.get_value(), 6);
  all.end();
}
TROUPE_TEST_BOTH_FLAVOURS(TestCondition, test_notify_n)

// A wait without a notification ends with false.
template <class F>
void test_timeout() {
  const typename F::Condition condition;
  const std::lock_guard guard{condition};
  const auto begin = Clock::now();
  EXPECT_FALSE(condition.wait(a_while));
  EXPECT_GE(Clock::now() - begin, a_while);
  EXPECT_FALSE(condition.wait(-1s));
}
TROUPE_TEST_BOTH_FLAVOURS(TestCondition, test_timeout)

/// The semaphore's value is the number that the two sides wait for.
template <class F>
void wait_for_four(const typename F::Condition& condition, const typename F::Semaphore& state) {
  const std::lock_guard guard{condition};
  while (state.acquire(false)) {
  }
  condition.notify();
  if (!condition.wait_for([&] { return state.get_value() == 4; }, patience))
    throw troupe::RuntimeError("the value did not become 4");
}

// wait_for returns true once the other side has made the value what was waited for, on both sides.
template <class F>
void test_waitfor() {
  const typename F::Condition condition;
  const typename F::Semaphore state{1};
  std::vector<typename F::Process> other;
  {
    const std::lock_guard guard{condition};
    other.push_back(start<F>(&wait_for_four<F>, condition, state));
    EXPECT_TRUE(condition.wait_for([&] { return state.get_value() == 0; }, patience));
  }
  for (int i = 0; i < 4; ++i) {
    ASSERT_TRUE(come_to_rest(pids_of(other)));
    const std::lock_guard guard{condition};
    state.release();
    condition.notify();
  }
  expect_all_end(other);
}
TROUPE_TEST_BOTH_FLAVOURS(TestCondition, test_waitfor)

/// Notifies after each look at the predicate, until it is over.
template <class F>
void notify_in_vain(const typename F::Condition& condition, const typename F::Semaphore& looks,
                    const typename F::Event& over) {
  const auto end = Clock::now() + patience;
  while (looks.acquire(true, patience) && !over.is_set() && Clock::now() < end) {
    const std::lock_guard guard{condition};
    condition.notify();
  }
}

// Notifications that do not make the predicate true do not start its time anew.
template <class F>
void test_waitfor_timeout() {
  const typename F::Condition condition;
  const typename F::Semaphore looks{0};
  const typename F::Event over;
  std::vector<typename F::Process> other;
  other.push_back(start<F>(&notify_in_vain<F>, condition, looks, over));
  {
    const std::lock_guard guard{condition};
    const auto look = [&] {
      looks.release();
      return false;
    };
    const auto begin = Clock::now();
    EXPECT_FALSE(condition.wait_for(look, a_while));
    EXPECT_GE(Clock::now() - begin, a_while);
    EXPECT_LT(Clock::now() - begin, patience) << "it waits for as long as it is notified";
  }
  over.set();
  looks.release();
  expect_all_end(other);
}
TROUPE_TEST_BOTH_FLAVOURS(TestCondition, test_waitfor_timeout)

template <class F>
void notify_itself(const typename F::Condition& condition) {
  const std::lock_guard guard{condition};
  condition.notify();
}

// The original's wait_result: true when notified, false when not in time.
template <class F>
void test_wait_result() {
  const typename F::Condition condition;
  std::vector<typename F::Process> other;
  const std::lock_guard guard{condition};
  EXPECT_FALSE(condition.wait(0s));
  EXPECT_FALSE(condition.wait(a_while));
  other.push_back(start<F>(&notify_itself<F>, condition));
  EXPECT_TRUE(condition.wait(patience));
  expect_all_end(other);
}
TROUPE_TEST_BOTH_FLAVOURS(TestCondition, test_wait_result)

// Rule: to wait or notify without the lock is a misuse.
template <class F>
void rule_lock_must_be_held() {
  const typename F::Condition condition;
  EXPECT_THROW(condition.wait(0s), typename F::NotHeld);
  EXPECT_THROW(condition.notify(), typename F::NotHeld);
  EXPECT_THROW(condition.notify_all(), typename F::NotHeld);
  const typename F::Lock lock;
  const typename F::Condition with_lock{lock};
  EXPECT_THROW(with_lock.wait(0s), typename F::NotHeld);
  lock.acquire();
  EXPECT_FALSE(with_lock.wait(0s));
  lock.release();
}
TROUPE_TEST_BOTH_FLAVOURS(TestCondition, rule_lock_must_be_held)

template <class F>
void take_and_notify(const typename F::Condition& condition) {
  if (!condition.acquire(true, patience)) throw troupe::RuntimeError("the lock was not given up");
  condition.notify();
  condition.release();
}

// Rule: the default lock is recursive; wait gives all levels up, and has as many again when it returns.
template <class F>
void rule_wait_gives_up_all_levels() {
  const typename F::Condition condition;
  for (int i = 0; i < 3; ++i) condition.acquire();
  std::vector<typename F::Process> other;
  other.push_back(start<F>(&take_and_notify<F>, condition));
  EXPECT_TRUE(condition.wait(patience));
  expect_all_end(other);
  for (int i = 0; i < 3; ++i) condition.release();
  EXPECT_THROW(condition.release(), typename F::NotHeld);
}
TROUPE_TEST_BOTH_FLAVOURS(TestCondition, rule_wait_gives_up_all_levels)

// Rule: wait_for looks at the predicate before it waits, and returns what it said last.
template <class F>
void rule_predicate_first() {
  const typename F::Condition condition;
  const std::lock_guard guard{condition};
  EXPECT_TRUE(condition.wait_for([] { return true; }));
  int looks = 0;
  EXPECT_TRUE(condition.wait_for([&] { return ++looks == 2; }, 1ms));
}
TROUPE_TEST_BOTH_FLAVOURS(TestCondition, rule_predicate_first)

TROUPE_TEST_EVERY_METHOD(TestCondition);

}  // namespace
