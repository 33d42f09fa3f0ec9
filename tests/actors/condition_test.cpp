#include <troupe/condition.hpp>

#include <troupe/error.hpp>
#include <troupe/process.hpp>

#include "support/one_piece.hpp"
#include "support/pools.hpp"
#include "support/processes.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe;
using test::make_line;
using test::patience;
using test::receive_text;
using test::send_text;

void wait_and_tell(const Condition& condition, const FileDescriptor& line) {
  const std::lock_guard guard{condition};
  send_text(line, "waiting");
  send_text(line, condition.wait(patience) ? "notified" : "not notified");
}

/// A process that waits; whoever gets the lock after this returned finds it waiting.
Process start_waiter(const Condition& condition, const FileDescriptor& mine, const FileDescriptor& theirs) {
  Process process{ProcessOptions{.daemon = true}, wait_and_tell, condition, test::copy_of(theirs)};
  process.start();
  EXPECT_EQ(receive_text(mine), "waiting");
  return process;
}

// A process that was killed while it waited takes no notification with it.
TEST(Condition, NotifiesOneThatLives) {
  const Condition condition;
  auto [mine, theirs] = make_line();
  const Process first = start_waiter(condition, mine, theirs);
  const Process second = start_waiter(condition, mine, theirs);
  { const std::lock_guard both_wait{condition}; }
  first.kill();
  first.join();
  {
    const std::lock_guard guard{condition};
    condition.notify();
  }
  EXPECT_EQ(receive_text(mine), "notified");
}

// A stopped process is notified as well, and goes on when it may; the notifier waits for it.
TEST(Condition, WaitsForOneThatIsStopped) {
  const Condition condition;
  auto [mine, theirs] = make_line();
  const Process process = start_waiter(condition, mine, theirs);
  { const std::lock_guard it_waits{condition}; }
  ::kill(*process.pid(), SIGSTOP);
  ASSERT_TRUE(test::wait_for_state(*process.pid(), 'T'));
  std::thread notifier{[&] {
    const std::lock_guard guard{condition};
    condition.notify();
  }};
  EXPECT_FALSE(test::is_readable(mine.get(), 20ms));
  ::kill(*process.pid(), SIGCONT);
  notifier.join();
  EXPECT_EQ(receive_text(mine), "notified");
}

void wait_shortly_and_tell(const Condition& condition, const FileDescriptor& line, std::chrono::milliseconds time) {
  const std::lock_guard guard{condition};
  send_text(line, "waiting");
  send_text(line, condition.wait(time) ? "notified" : "not notified");
}

// One that is stopped while its time ends has not left: it is the oldest still, so it is notified and not the next one,
// the notifier waits for it, and its wait is true when it goes on.
TEST(Condition, NotifiesOneThatIsStoppedThoughItsTimeIsOver) {
  const Condition condition;
  auto [mine, theirs] = make_line();
  std::optional<Process> stopped;
  for (auto time = 100ms;; time *= 2) {
    const auto end_of_its_time = std::chrono::steady_clock::now() + time;  // at the earliest
    stopped.emplace(ProcessOptions{.daemon = true}, wait_shortly_and_tell, condition, test::copy_of(theirs), time);
    stopped->start();
    ASSERT_EQ(receive_text(mine), "waiting");
    { const std::lock_guard it_waits{condition}; }
    ::kill(*stopped->pid(), SIGSTOP);
    ASSERT_TRUE(test::wait_for_state(*stopped->pid(), 'T'));
    if (std::chrono::steady_clock::now() < end_of_its_time) {
      EXPECT_FALSE(test::is_readable(mine.get(), time));
      break;
    }
    stopped->kill();  // too late: it may have timed out before
    stopped->join();
    if (test::is_readable(mine.get())) receive_text(mine);
  }
  auto [line_of_next, their_line] = make_line();
  const Process next = start_waiter(condition, line_of_next, their_line);
  { const std::lock_guard it_waits{condition}; }
  std::thread notifier{[&] {
    const std::lock_guard guard{condition};
    condition.notify(1);
  }};
  EXPECT_TRUE(test::comes_true([&] {
    if (!condition.acquire(false)) return true;
    condition.release();
    return false;
  })) << "the notifier has it";
  EXPECT_FALSE(test::is_readable(mine.get(), 20ms));
  ::kill(*stopped->pid(), SIGCONT);
  notifier.join();
  EXPECT_EQ(receive_text(mine), "notified");
  EXPECT_FALSE(test::is_readable(line_of_next.get(), 20ms));
}

// Those who have waited longest are notified first.
TEST(Condition, NotifiesInTheOrderOfArrival) {
  const Condition condition;
  auto [first, their_first] = make_line();
  auto [second, their_second] = make_line();
  const Process one = start_waiter(condition, first, their_first);
  const Process two = start_waiter(condition, second, their_second);
  {
    const std::lock_guard guard{condition};
    condition.notify();
  }
  EXPECT_EQ(receive_text(first), "notified");
  EXPECT_FALSE(test::is_readable(second.get()));
  {
    const std::lock_guard guard{condition};
    condition.notify();
  }
  EXPECT_EQ(receive_text(second), "notified");
}

// With a lock that others use as well, which need not be recursive.
TEST(Condition, TakesALockThatIsThere) {
  const Lock lock;
  const Condition first{lock};
  const Condition second{lock};
  auto [mine, theirs] = make_line();
  const Process one = start_waiter(first, mine, theirs);
  const Process two = start_waiter(second, mine, theirs);
  {
    const std::lock_guard guard{lock};
    EXPECT_FALSE(first.acquire(false));
    first.notify_all();
    second.notify_all();
  }
  EXPECT_EQ(receive_text(mine), "notified");
  EXPECT_EQ(receive_text(mine), "notified");
}

TEST(Condition, SaysWhenTooManyWait) {
  EXPECT_THROW(Condition(ConditionOptions{.max_waiters = 0}), ValueError);
  EXPECT_THROW(Condition(ConditionOptions{.max_waiters = 7155}), ValueError);
  const Condition condition{{.max_waiters = 7}};
  auto [mine, theirs] = make_line();
  std::vector<Process> waiters;
  for (int i = 0; i < 7; ++i) waiters.push_back(start_waiter(condition, mine, theirs));
  {
    const std::lock_guard guard{condition};
    EXPECT_THROW(condition.wait(0s), Full);
    condition.notify_all();
  }
  for (int i = 0; i < 7; ++i) EXPECT_EQ(receive_text(mine), "notified");
}

}  // namespace
