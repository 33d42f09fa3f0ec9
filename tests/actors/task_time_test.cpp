// What a pool learns from how long its tasks take.

#include "task_time.hpp"

#include <gtest/gtest.h>

#include <chrono>

namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using troupe::detail::TaskTime;

TaskTime after_tiny_tasks() {
  TaskTime time;
  for (int i = 0; i < 100; ++i) time.learn(nanoseconds{200});
  return time;
}

TEST(TaskTime, NothingIsKnownBeforeTheFirstTask) {
  const TaskTime time;
  EXPECT_FALSE(time.known());
  EXPECT_FALSE(time.is_short());
  EXPECT_FALSE(time.is_tiny());
  EXPECT_EQ(time.depth(), 1U);
}

TEST(TaskTime, TheFirstTaskCountsInFull) {
  TaskTime time;
  time.learn(milliseconds{20});
  EXPECT_FALSE(time.is_short());
  EXPECT_EQ(time.depth(), 1U);
}

TEST(TaskTime, TinyTasksAreShortAndManyAreGivenAhead) {
  const TaskTime time = after_tiny_tasks();
  EXPECT_TRUE(time.is_tiny());
  EXPECT_TRUE(time.is_short());
  EXPECT_EQ(time.depth(), 1001U);
}

TEST(TaskTime, OneTaskThatWasHeldUpSaysNothingAboutTheOthers) {
  TaskTime time = after_tiny_tasks();
  time.learn(milliseconds{8});
  EXPECT_TRUE(time.is_tiny());
  EXPECT_GT(time.depth(), 500U);
  EXPECT_EQ(time.longest(), milliseconds{8});
}

TEST(TaskTime, ASecondLongTaskInARowCountsInFull) {
  TaskTime time = after_tiny_tasks();
  time.learn(milliseconds{8});
  time.learn(milliseconds{8});
  EXPECT_FALSE(time.is_short());
  EXPECT_EQ(time.depth(), 1U);
}

TEST(TaskTime, ShortTasksAreNotTiny) {
  TaskTime time;
  for (int i = 0; i < 100; ++i) time.learn(microseconds{5});
  EXPECT_TRUE(time.is_short());
  EXPECT_FALSE(time.is_tiny());
}

}  // namespace
