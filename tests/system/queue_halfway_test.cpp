// A process that is killed right after the step at which an item is in a queue, or out, and before that is counted.

#include <troupe/bell.hpp>
#include <troupe/queue_cell.hpp>

#include "queue_memory.hpp"
#include "support/forked.hpp"
#include "support/one_piece.hpp"
#include "support/processes.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <future>
#include <memory>
#include <sys/types.h>
#include <thread>
#include <unistd.h>
#include <utility>

namespace troupe::detail {
namespace {

using test::patience;
using test::Stepped;

struct QueueHalfway : testing::Test {
  bool put(Deadline deadline) const {
    const std::uint64_t word = 7;
    return queue->put({&word, 1}, {}, deadline);
  }
  bool get(Deadline deadline) const {
    QueueItem item;
    return queue->get(item, deadline);
  }
  QueueCell& cell() const { return queue->cell().as<QueueCell>(); }

  /// Kills a process that runs `act` as soon as an item is in, or out, and not counted; its id, or 0 if it cannot be
  /// traced.
  template <class Act>
  pid_t kill_before_count(Act act) const {
    Stepped victim{[&] {
      act();
      Stepped::end_of_steps();
    }};
    const pid_t pid = victim.is_traced() ? victim.pid() : 0;
    const auto is_counted = [&] { return queue->is_empty() == (queue->size() == 0); };
    while (pid != 0 && is_counted()) {
      if (victim.step()) continue;
      ADD_FAILURE() << "it did not get there";
      return 0;
    }
    return pid;
  }
  /// The same, out of a queue with one place, which it leaves empty.
  pid_t kill_in_get() const {
    EXPECT_TRUE(put(no_deadline));
    return kill_before_count([this] { static_cast<void>(get(no_deadline)); });
  }
  /// A thread that sleeps in `act`, at `bell`, when this returns. It fails if nobody wakes it: at its deadline it would
  /// see by itself what it waits for.
  template <class Act>
  static std::jthread asleep(const Bell::Word& bell, Act act) {
    std::promise<pid_t> told;
    std::future<pid_t> thread = told.get_future();
    std::jthread sleeper{[act, told = std::move(told)]() mutable {
      told.set_value(::gettid());
      const Deadline deadline = deadline_after(patience);
      EXPECT_TRUE(act(deadline));
      EXPECT_FALSE(is_over(deadline)) << "nobody woke it";
    }};
    EXPECT_TRUE(test::comes_true([&] { return bell.load() != 0; }));
    EXPECT_TRUE(test::wait_for_state(thread.get(), 'S'));
    return sleeper;
  }
  std::jthread sleeping_producer() const {
    return asleep(cell().get.bell, [this](Deadline deadline) { return put(deadline); });
  }
  std::jthread sleeping_consumer() const {
    return asleep(cell().put.bell, [this](Deadline deadline) { return get(deadline); });
  }

  std::shared_ptr<QueueMemory> queue = QueueMemory::make(1, QueueKind::plain);
};

TEST_F(QueueHalfway, AnItemThatIsInCanBeGotAtOnce) {
  const pid_t dead = kill_before_count([this] { static_cast<void>(put(no_deadline)); });
  if (dead == 0) GTEST_SKIP() << "processes may not be traced here";
  cell().recover(static_cast<std::uint32_t>(dead));
  EXPECT_TRUE(queue->is_ready());
  EXPECT_TRUE(get(at_once));
  EXPECT_TRUE(put(at_once));
  EXPECT_EQ(queue->size(), 1U);
}

TEST_F(QueueHalfway, RoomThatIsThereCanBeUsedAtOnce) {
  const pid_t dead = kill_in_get();
  if (dead == 0) GTEST_SKIP() << "processes may not be traced here";
  cell().recover(static_cast<std::uint32_t>(dead));
  EXPECT_FALSE(queue->is_full());
  EXPECT_TRUE(put(at_once));
  EXPECT_TRUE(queue->is_full());
}

// Nobody puts any more, so the one who waits for an item has to find it.
TEST_F(QueueHalfway, WhoWaitsForAnItemFindsIt) {
  std::jthread consumer = sleeping_consumer();
  const pid_t dead = kill_before_count([this] { static_cast<void>(put(no_deadline)); });
  if (dead == 0) {
    EXPECT_TRUE(put(no_deadline));
    GTEST_SKIP() << "processes may not be traced here";
  }
  cell().recover(static_cast<std::uint32_t>(dead));
  consumer.join();
  EXPECT_EQ(queue->size(), 0U);
}

// Nobody gets any more, so the one who waits for room has to find it.
TEST_F(QueueHalfway, WhoWaitsForRoomFindsIt) {
  const pid_t dead = kill_in_get();
  if (dead == 0) GTEST_SKIP() << "processes may not be traced here";
  std::jthread producer = sleeping_producer();
  cell().recover(static_cast<std::uint32_t>(dead));
  producer.join();
  EXPECT_EQ(queue->size(), 1U);
}

// Somebody is faster to take the lock than the nursery to ring.
TEST_F(QueueHalfway, WhoGetsNextTellsOfTheRoom) {
  const pid_t dead = kill_in_get();
  if (dead == 0) GTEST_SKIP() << "processes may not be traced here";
  std::jthread producer = sleeping_producer();
  cell().get.lock.recover(static_cast<std::uint32_t>(dead));
  EXPECT_TRUE(get(deadline_after(patience)));
  producer.join();
  EXPECT_EQ(queue->size(), 0U);
}

}  // namespace
}  // namespace troupe::detail
