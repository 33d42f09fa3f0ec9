// The cases of CPython's _TestLock, _TestSemaphore and _TestEvent under their names, for processes (every start method)
// and for threads. What each pins down is restated in one line.

#include "support/sync_flavours.hpp"

#include <troupe/event.hpp>
#include <troupe/lock.hpp>
#include <troupe/semaphore.hpp>

#include <gmock/gmock.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <limits>
#include <mutex>
#include <string>
#include <sys/types.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe::test;
using Clock = std::chrono::steady_clock;

class TestLock : public EveryMethod {};
class TestSemaphore : public EveryMethod {};
class TestEvent : public EveryMethod {};

// --- _TestLock ---

// Taken, it cannot be taken again; one release too many is an error.
template <class F>
void test_lock() {
  const typename F::Lock lock;
  EXPECT_TRUE(lock.acquire());
  EXPECT_FALSE(lock.acquire(false));
  lock.release();
  EXPECT_THROW(lock.release(), typename F::TooManyReleases);
}
TROUPE_TEST_BOTH_FLAVOURS(TestLock, test_lock)

// Taken three times, released three times; a fourth release is an error.
template <class F>
void test_rlock() {
  const typename F::RLock lock;
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(lock.acquire());
  for (int i = 0; i < 3; ++i) lock.release();
  EXPECT_THROW(lock.release(), typename F::NotHeld);
}
TROUPE_TEST_BOTH_FLAVOURS(TestLock, test_rlock)

// A scope guard takes and releases.
template <class F>
void test_lock_context() {
  const typename F::Lock lock;
  {
    const std::lock_guard guard{lock};
    EXPECT_FALSE(lock.acquire(false));
  }
  EXPECT_TRUE(lock.acquire(false));
  lock.release();
}
TROUPE_TEST_BOTH_FLAVOURS(TestLock, test_lock_context)

template <class F>
void release_lock(const typename F::Lock& lock) {
  lock.release();
}

// Rule: a Lock has no owner; any process or thread may release it.
template <class F>
void rule_lock_has_no_owner() {
  const typename F::Lock lock;
  lock.acquire();
  const auto other = start<F>(&release_lock<F>, lock);
  EXPECT_TRUE(lock.acquire(true, patience));
  other.join();
  EXPECT_EQ(other.exitcode(), 0);
}
TROUPE_TEST_BOTH_FLAVOURS(TestLock, rule_lock_has_no_owner)

template <class F>
void release_foreign(const typename F::RLock& lock) {
  EXPECT_THROW(lock.release(), typename F::NotHeld);
  EXPECT_FALSE(lock.acquire(false));
  if (testing::Test::HasFailure()) throw troupe::RuntimeError("an expectation failed");
}

// Rule: an RLock is owned by one thread of one process; a release by anyone else is an error.
template <class F>
void rule_rlock_has_an_owner() {
  const typename F::RLock lock;
  lock.acquire();
  const auto other = start<F>(&release_foreign<F>, lock);
  other.join();
  EXPECT_EQ(other.exitcode(), 0);
  std::thread([&] { EXPECT_THROW(lock.release(), typename F::NotHeld); }).join();
  lock.release();
}
TROUPE_TEST_BOTH_FLAVOURS(TestLock, rule_rlock_has_an_owner)

// --- _TestSemaphore ---

template <class Semaphore>
void check_two_permits(const Semaphore& semaphore) {
  EXPECT_EQ(semaphore.get_value(), 2);
  EXPECT_TRUE(semaphore.acquire());
  EXPECT_EQ(semaphore.get_value(), 1);
  EXPECT_TRUE(semaphore.acquire());
  EXPECT_EQ(semaphore.get_value(), 0);
  EXPECT_FALSE(semaphore.acquire(false));
  EXPECT_EQ(semaphore.get_value(), 0);
  semaphore.release();
  EXPECT_EQ(semaphore.get_value(), 1);
  semaphore.release();
  EXPECT_EQ(semaphore.get_value(), 2);
}

// The value goes down and up, and beyond where it began.
template <class F>
void test_semaphore() {
  const typename F::Semaphore semaphore{2};
  check_two_permits(semaphore);
  semaphore.release();
  EXPECT_EQ(semaphore.get_value(), 3);
  semaphore.release();
  EXPECT_EQ(semaphore.get_value(), 4);
}
TROUPE_TEST_BOTH_FLAVOURS(TestSemaphore, test_semaphore)

// The same, but not beyond.
template <class F>
void test_bounded_semaphore() {
  const typename F::BoundedSemaphore semaphore{2};
  check_two_permits(semaphore);
  EXPECT_THROW(semaphore.release(), troupe::ValueError);
  EXPECT_EQ(semaphore.get_value(), 2);
}
TROUPE_TEST_BOTH_FLAVOURS(TestSemaphore, test_bounded_semaphore)

// Timeouts: none waits for ever, a negative one not at all, others as long as they say.
template <class F>
void test_timeout() {
  const typename F::Semaphore semaphore{0};
  const auto wait = [&](bool block, auto timeout) {
    const auto begin = Clock::now();
    EXPECT_FALSE(semaphore.acquire(block, timeout));
    return Clock::now() - begin;
  };
  EXPECT_LT(wait(false, 0s), 1s);
  EXPECT_LT(wait(false, patience), 1s);
  EXPECT_LT(wait(true, 0s), 1s);
  EXPECT_LT(wait(true, -1s), 1s);
  EXPECT_GE(wait(true, a_while), a_while);
  EXPECT_LT(wait(true, -std::chrono::hours::max()), 1s);
}
TROUPE_TEST_BOTH_FLAVOURS(TestSemaphore, test_timeout)

// Rule: a negative value is an OSError with EINVAL (P), a ValueError (T); the largest is the system's.
template <class F>
void rule_bad_value() {
  EXPECT_THROW(typename F::Semaphore{-1}, typename F::BadValue);
  EXPECT_THROW(typename F::BoundedSemaphore{-1}, typename F::BadValue);
  const typename F::Semaphore full{std::numeric_limits<int>::max()};
  EXPECT_THROW(full.release(), troupe::ValueError);
}
TROUPE_TEST_BOTH_FLAVOURS(TestSemaphore, rule_bad_value)

TEST_P(TestSemaphore, rule_bad_value_is_einval) {
  try {
    const troupe::Semaphore semaphore{-1};
    FAIL() << "made a semaphore of -1";
  } catch (const troupe::OSError& error) {
    EXPECT_EQ(error.errno_value(), EINVAL);
  }
}

// --- _TestEvent ---

/// Sets the event when thread `waiter`, which has said that it is about to wait, does.
template <class F>
void set_later(const typename F::Event& event, const typename F::Semaphore& begun, pid_t waiter) {
  begun.acquire();
  if (!come_to_rest({waiter})) throw troupe::RuntimeError("it does not wait");
  event.set();
}

// Unset, set, cleared, and set by another process while this one waits.
template <class F>
void test_event() {
  const typename F::Event event;
  EXPECT_FALSE(event.is_set());
  EXPECT_FALSE(event.wait(0s));
  const auto begin = Clock::now();
  EXPECT_FALSE(event.wait(a_while));
  EXPECT_GE(Clock::now() - begin, a_while);
  event.set();
  EXPECT_TRUE(event.is_set());
  EXPECT_TRUE(event.wait());
  EXPECT_TRUE(event.wait(patience));
  EXPECT_TRUE(event.wait(0s));
  event.clear();
  EXPECT_FALSE(event.is_set());
  const typename F::Semaphore begun{0};
  const auto other = start<F>(&set_later<F>, event, begun, ::gettid());
  begun.release();
  const auto begin_of_wait = Clock::now();
  EXPECT_TRUE(event.wait(patience));
  EXPECT_LT(Clock::now() - begin_of_wait, patience) << "it was not woken";
  other.join();
}
TROUPE_TEST_BOTH_FLAVOURS(TestEvent, test_event)

// The text form tells the state.
template <class F>
void test_repr() {
  const typename F::Event event;
  EXPECT_THAT(event.to_string(), testing::EndsWith(" unset>"));
  event.set();
  EXPECT_THAT(event.to_string(), testing::EndsWith(" set>"));
  event.clear();
  EXPECT_THAT(event.to_string(), testing::EndsWith(" unset>"));
}
TROUPE_TEST_BOTH_FLAVOURS(TestEvent, test_repr)

template <class F>
void wait_once(const typename F::Event& event, const typename F::Semaphore& begun) {
  begun.release();
  event.wait();
}

// Rule: who waits goes on although the flag is cleared as soon as it was set.
template <class F>
void rule_set_and_cleared() {
  const typename F::Event event;
  const typename F::Semaphore begun{0};
  std::vector<typename F::Process> all;
  for (int i = 0; i < 3; ++i) all.push_back(start<F>(&wait_once<F>, event, begun));
  ASSERT_TRUE(reaches(begun, 3));
  ASSERT_TRUE(come_to_rest(pids_of(all)));  // begun says that they are about to wait, not that they do
  event.set();
  event.clear();
  expect_all_end(all);
}
TROUPE_TEST_BOTH_FLAVOURS(TestEvent, rule_set_and_cleared)

// Rule: wait returns the flag as read again after waking.
TEST_P(TestEvent, rule_wait_returns_the_flag_after_waking) {
  for (const bool cleared : {true, false}) {
    const troupe::Event event;
    auto [mine, theirs] = make_line();
    const auto waiter = start<Processes>(
        [](const troupe::Event& its, const troupe::FileDescriptor& line) {
          send_text(line, "waits");
          send_text(line, its.wait() ? "set" : "not set");
        },
        event, std::move(theirs));
    EXPECT_EQ(receive_text(mine), "waits");
    ASSERT_TRUE(wait_for_state(*waiter.pid(), 'S'));
    ::kill(*waiter.pid(), SIGSTOP);
    ASSERT_TRUE(wait_for_state(*waiter.pid(), 'T'));
    event.set();
    if (cleared) event.clear();
    ::kill(*waiter.pid(), SIGCONT);
    EXPECT_EQ(receive_text(mine), cleared ? "not set" : "set");
    EXPECT_TRUE(waiter.join(patience));
  }
}

TROUPE_TEST_EVERY_METHOD(TestLock);
TROUPE_TEST_EVERY_METHOD(TestSemaphore);
TROUPE_TEST_EVERY_METHOD(TestEvent);

}  // namespace
