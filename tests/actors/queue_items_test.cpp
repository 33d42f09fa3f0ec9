// What can be put into a queue besides data: whatever names something that processes share. Who gets it has the same.

#include <troupe/barrier.hpp>
#include <troupe/condition.hpp>
#include <troupe/connection.hpp>
#include <troupe/event.hpp>
#include <troupe/lock.hpp>
#include <troupe/pipe.hpp>
#include <troupe/process.hpp>
#include <troupe/queue.hpp>
#include <troupe/semaphore.hpp>
#include <troupe/shared_array.hpp>
#include <troupe/shared_memory.hpp>
#include <troupe/shared_value.hpp>

#include "support/sync_flavours.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace troupe;
using namespace troupe::test;

class QueueItems : public EveryMethod {
 protected:
  void TearDown() override {
    expect_all_end(others_);
    EveryMethod::TearDown();
  }

  /// Has another process get `item` from a queue and do something with it.
  template <class Item>
  void hand_over(const Item& item, void (*use)(const Queue<Item>&)) {
    const Queue<Item> queue;
    others_.push_back(start<Processes>(use, queue));
    queue.put(item);
  }

 private:
  std::vector<Process> others_;
};

TEST_P(QueueItems, Locks) {
  const Lock lock;
  lock.lock();
  hand_over<Lock>(lock, [](const Queue<Lock>& queue) { queue.get().release(); });
  EXPECT_TRUE(lock.acquire(true, patience));
}

TEST_P(QueueItems, Semaphores) {
  const Semaphore semaphore{0};
  hand_over<Semaphore>(semaphore, [](const Queue<Semaphore>& queue) { queue.get().release(); });
  EXPECT_TRUE(semaphore.acquire(true, patience));
}

TEST_P(QueueItems, Events) {
  const Event event;
  hand_over<Event>(event, [](const Queue<Event>& queue) { queue.get().set(); });
  EXPECT_TRUE(event.wait(patience));
}

TEST_P(QueueItems, Conditions) {
  const Condition condition;
  const std::lock_guard guard{condition};
  hand_over<Condition>(condition, [](const Queue<Condition>& queue) {
    const Condition its = queue.get();
    const std::lock_guard other_guard{its};
    its.notify();
  });
  EXPECT_TRUE(condition.wait(patience));
}

TEST_P(QueueItems, Barriers) {
  const Barrier barrier{2};
  hand_over<Barrier>(barrier, [](const Queue<Barrier>& queue) { queue.get().wait(patience); });
  EXPECT_GE(barrier.wait(patience), 0);
}

TEST_P(QueueItems, Values) {
  const Value<int> value{41};
  const Event done;
  hand_over<std::pair<Value<int>, Event>>({value, done}, [](const Queue<std::pair<Value<int>, Event>>& queue) {
    const auto [its, end] = queue.get();
    its.set(its.get() + 1);
    end.set();
  });
  EXPECT_TRUE(done.wait(patience));
  EXPECT_EQ(value.get(), 42);
}

TEST_P(QueueItems, Arrays) {
  const SharedArray<int> array{3};
  const Event done;
  hand_over<std::pair<SharedArray<int>, Event>>({array, done},
                                                [](const Queue<std::pair<SharedArray<int>, Event>>& queue) {
                                                  const auto [its, end] = queue.get();
                                                  its.span()[1] = 42;
                                                  end.set();
                                                });
  EXPECT_TRUE(done.wait(patience));
  EXPECT_EQ(array.span()[1], 42);
}

TEST_P(QueueItems, NamedMemory) {
  const auto memory = SharedMemory::create(10);
  const Event done;
  hand_over<std::pair<SharedMemory, Event>>({memory, done}, [](const Queue<std::pair<SharedMemory, Event>>& queue) {
    const auto [its, end] = queue.get();
    its.buf()[1] = std::byte{42};
    end.set();
  });
  EXPECT_TRUE(done.wait(patience));
  EXPECT_EQ(memory.buf()[1], std::byte{42});
  memory.unlink();
}

TEST_P(QueueItems, Connections) {
  auto [mine, theirs] = Pipe();
  hand_over<Connection>(theirs, [](const Queue<Connection>& queue) { queue.get().send(std::string("hello")); });
  ASSERT_TRUE(mine.poll(patience));
  EXPECT_EQ(mine.recv<std::string>(), "hello");
}

TROUPE_TEST_EVERY_METHOD(QueueItems);

}  // namespace
