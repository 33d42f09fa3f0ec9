// Whoever waits sleeps, whatever for. connection_test.cpp and wait_test.cpp see that of messages.

#include <troupe/barrier.hpp>
#include <troupe/condition.hpp>
#include <troupe/error.hpp>
#include <troupe/event.hpp>
#include <troupe/queue.hpp>

#include "support/processor_time.hpp"

#include <gtest/gtest.h>

#include <mutex>

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
