// Whoever waits sleeps, whatever for. connection_test.cpp and wait_test.cpp see that of messages.

#include <troupe/barrier.hpp>
#include <troupe/condition.hpp>
#include <troupe/error.hpp>
#include <troupe/event.hpp>
#include <troupe/listener.hpp>
#include <troupe/lock.hpp>
#include <troupe/queue.hpp>
#include <troupe/semaphore.hpp>

#include "support/processor_time.hpp"

#include <gtest/gtest.h>

#include <future>
#include <mutex>
#include <thread>

namespace {

using namespace troupe;
using test::expect_sleeps;

template <class AnyQueue>
void expect_get_sleeps() {
  const AnyQueue queue;
  expect_sleeps([&](auto timeout) { EXPECT_THROW(queue.get(true, timeout), Empty); });
}

TEST(Idle, GetOfAQueueSleeps) {
  expect_get_sleeps<Queue<int>>();
  expect_get_sleeps<JoinableQueue<int>>();
}

/// What has no timeout ends by what `end` does then, on another thread.
template <class Wait, class End>
void expect_sleeps_until(Wait wait, End end) {
  expect_sleeps([&](auto timeout) {
    const std::jthread other{[&] {
      std::this_thread::sleep_for(timeout);  // the time that is measured
      end();
    }};
    wait();
  });
}

TEST(Idle, GetOfASimpleQueueSleeps) {
  const SimpleQueue<int> queue;
  expect_sleeps_until([&] { queue.get(); }, [&] { queue.put(1); });
}

TEST(Idle, JoinOfAQueueSleeps) {
  const JoinableQueue<int> queue;
  queue.put(1);
  expect_sleeps([&](auto timeout) { EXPECT_FALSE(queue.join(timeout)); });
}

TEST(Idle, RecvThroughASocketSleeps) {
  Listener listener;
  Connection client = Client(listener.address());
  Connection accepted = listener.accept();
  expect_sleeps_until([&] { client.recv<int>(); }, [&] { accepted.send(1); });
}

TEST(Idle, AcceptOfAListenerSleeps) {
  Listener listener;
  expect_sleeps([&](auto timeout) { EXPECT_THROW(listener.accept(timeout), TimeoutError); });
}

TEST(Idle, AcquireOfASemaphoreSleeps) {
  const Semaphore semaphore{0};
  expect_sleeps([&](auto timeout) { EXPECT_FALSE(semaphore.acquire(true, timeout)); });
}

TEST(Idle, AcquireOfARecursiveLockSleeps) {
  const RLock lock;
  std::promise<void> taken;
  std::promise<void> done;
  const std::jthread holder{[&] {
    const std::lock_guard guard{lock};
    taken.set_value();
    done.get_future().wait();
  }};
  taken.get_future().wait();
  expect_sleeps([&](auto timeout) { EXPECT_FALSE(lock.acquire(true, timeout)); });
  done.set_value();
}

TEST(Idle, PutIntoAFullQueueSleeps) {
  const Queue<int> queue{1};
  queue.put(1);
  expect_sleeps([&](auto timeout) { EXPECT_THROW(queue.put(2, true, timeout), Full); });
}

TEST(Idle, WaitOfAnEventSleeps) {
  const Event event;
  expect_sleeps([&](auto timeout) { EXPECT_FALSE(event.wait(timeout)); });
}

TEST(Idle, WaitOfAConditionSleeps) {
  const Condition condition;
  const std::lock_guard guard{condition};
  expect_sleeps([&](auto timeout) { EXPECT_FALSE(condition.wait(timeout)); });
}

TEST(Idle, WaitOfABarrierSleeps) {
  const Barrier barrier{2};
  expect_sleeps([&](auto timeout) { EXPECT_THROW(barrier.wait(timeout), BrokenBarrierError); });
}

}  // namespace
