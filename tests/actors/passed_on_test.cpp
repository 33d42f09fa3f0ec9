// All that processes share can be an item of a queue, an argument and a result of tasks, and be passed on by who got it
// to a process of its own, when the process that made it has no handle any more, or has ended.

#include <troupe/barrier.hpp>
#include <troupe/condition.hpp>
#include <troupe/connection.hpp>
#include <troupe/event.hpp>
#include <troupe/listener.hpp>
#include <troupe/lock.hpp>
#include <troupe/pipe.hpp>
#include <troupe/pool.hpp>
#include <troupe/process.hpp>
#include <troupe/queue.hpp>
#include <troupe/raw_value.hpp>
#include <troupe/semaphore.hpp>
#include <troupe/shareable_list.hpp>
#include <troupe/shared_array.hpp>
#include <troupe/shared_memory.hpp>
#include <troupe/shared_value.hpp>

#include "support/forked.hpp"
#include "support/sync_flavours.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <future>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace {

using namespace troupe;
using namespace troupe::test;

// How each is made and marked, and whether what arrived is that and works. The latter is asked once of each.

/// Taken by who makes it; seen from another thread, as an RLock's own thread may take it again.
template <class L>
struct Taken {
  using Shared = L;
  static Shared make() {
    Shared lock;
    lock.lock();
    return lock;
  }
  static bool is_it(const Shared& lock) {
    return std::async(std::launch::async, [&] { return !lock.try_lock() || lock.abandoned(); }).get();
  }
};
struct ALock : Taken<Lock> {
  static constexpr auto name = "Lock";
};
struct AnRLock : Taken<RLock> {
  static constexpr auto name = "RLock";
};

/// One of two permits is left.
template <class S>
struct HalfTaken {
  using Shared = S;
  static Shared make() {
    Shared semaphore{2};
    semaphore.acquire();
    return semaphore;
  }
};

struct ASemaphore : HalfTaken<Semaphore> {
  static constexpr auto name = "Semaphore";
  static bool is_it(const Shared& semaphore) {
    return semaphore.get_value() == 1 && semaphore.acquire(false) && !semaphore.acquire(false);
  }
};

struct ABoundedSemaphore : HalfTaken<BoundedSemaphore> {
  static constexpr auto name = "BoundedSemaphore";
  static bool is_it(const Shared& semaphore) {
    semaphore.release();
    try {
      semaphore.release();
      return false;
    } catch (const ValueError&) {
      return semaphore.get_value() == 2;
    }
  }
};

struct ACondition {
  static constexpr auto name = "Condition";
  using Shared = Condition;
  static Shared make() { return Shared{}; }
  static bool is_it(const Shared& condition) {
    const std::lock_guard guard{condition};
    const auto other = std::async(std::launch::async, [&] {
      const std::lock_guard its_guard{condition};
      condition.notify();
    });
    return condition.wait(patience);
  }
};

struct AnEvent {
  static constexpr auto name = "Event";
  using Shared = Event;
  static Shared make() {
    Shared event;
    event.set();
    return event;
  }
  static bool is_it(const Shared& event) { return event.is_set(); }
};

struct ABarrier {
  static constexpr auto name = "Barrier";
  using Shared = Barrier;
  static Shared make() {
    Shared barrier{1};
    barrier.abort();
    return barrier;
  }
  static bool is_it(const Shared& barrier) {
    const bool broken = barrier.broken();
    barrier.reset();
    return broken && barrier.wait(patience) == 0;
  }
};

/// With an item in it.
template <class Q>
struct Filled {
  using Shared = Q;
  static Shared make() {
    Shared queue;
    queue.put(42);
    return queue;
  }
  static bool is_it(const Shared& queue) {
    const int item = queue.get();
    queue.put(43);
    return item == 42 && queue.get() == 43 && queue.empty();
  }
};
struct AQueue : Filled<Queue<int>> {
  static constexpr auto name = "Queue";
};
struct ASimpleQueue : Filled<SimpleQueue<int>> {
  static constexpr auto name = "SimpleQueue";
};
struct AJoinableQueue : Filled<JoinableQueue<int>> {
  static constexpr auto name = "JoinableQueue";
  static bool is_it(const Shared& queue) {
    if (!Filled::is_it(queue)) return false;
    queue.task_done();
    queue.task_done();
    return queue.join(patience);
  }
};

/// One end, the other has said something and is closed.
struct AnEnd {
  using Shared = Connection;
  static bool is_it(Shared connection) {
    if (connection.recv<std::string>() != "hello") return false;
    try {
      connection.recv<std::string>();
      return false;
    } catch (const EOFError&) {
      return true;
    }
  }
};
struct APipe : AnEnd {
  static constexpr auto name = "Pipe";
  static Shared make() {
    auto [end, other] = Pipe();
    other.send("hello");
    return std::move(end);
  }
};
struct ASocket : AnEnd {
  static constexpr auto name = "Socket";
  static Shared make() {
    Listener listener;
    Connection client = Client(listener.address());
    listener.accept().send("hello");
    return client;
  }
};

template <class V>
struct Number {
  using Shared = V;
  static Shared make() { return Shared{42}; }
  static bool is_it(const Shared& value) {
    const int number = value.get();
    value.set(43);
    return number == 42 && value.get() == 43;
  }
};
struct AValue : Number<Value<int>> {
  static constexpr auto name = "Value";
};
struct ARawValue : Number<RawValue<int>> {
  static constexpr auto name = "RawValue";
};

template <class A>
struct Numbers {
  using Shared = A;
  static Shared make() { return Shared{41, 42}; }
  static bool is_it(const Shared& array) {
    const int number = array.get(1);
    array.set(0, 43);
    return number == 42 && array.get(0) == 43 && array.size() == 2;
  }
};
struct AnArray : Numbers<Array<int>> {
  static constexpr auto name = "Array";
};
struct ARawArray : Numbers<RawArray<int>> {
  static constexpr auto name = "RawArray";
};

struct ASharedArray {
  static constexpr auto name = "SharedArray";
  using Shared = SharedArray<int, 2>;
  static Shared make() {
    Shared array{2, 3};
    array(1, 2) = 42;
    return array;
  }
  static bool is_it(const Shared& array) { return array.shape() == Shared::Extents{2, 3} && array(1, 2) == 42; }
};

struct NamedMemory {
  static constexpr auto name = "SharedMemory";
  using Shared = SharedMemory;
  static Shared make() {
    Shared memory = Shared::create(100);
    memory.buf()[99] = std::byte{42};
    return memory;
  }
  static bool is_it(const Shared& memory) {
    const bool is_marked = memory.size() == 100 && memory.buf()[99] == std::byte{42};
    memory.unlink();
    return is_marked;
  }
};

struct AShareableList {
  static constexpr auto name = "ShareableList";
  using Shared = ShareableList;
  static Shared make() { return Shared{"forty-two", 42}; }
  static bool is_it(const Shared& list) {
    list.set(0, 43);
    const bool is_marked = list.get(0) == 43 && list.get(1) == 42;
    list.shm().unlink();
    return is_marked;
  }
};

template <class Thing>
void use(typename Thing::Shared shared) {
  if (!Thing::is_it(std::move(shared))) throw std::runtime_error("something else has arrived");
}

/// Gives it to a process of its own, and waits for that.
template <class Thing>
void pass_on(typename Thing::Shared shared) {
  std::optional last{start<Processes>(use<Thing>, std::move(shared))};
  if (!last->join(patience) || last->exitcode() != 0) throw std::runtime_error("the last one could not use it");
}

template <class Thing>
void pass_on_later(typename Thing::Shared shared, const Event& dropped) {
  if (!dropped.wait(patience)) throw std::runtime_error("the maker has kept it");
  pass_on<Thing>(std::move(shared));
}

template <class Thing>
void put_one(const Queue<typename Thing::Shared>& queue) {
  queue.put(Thing::make());
}

template <class Thing>
void pass_on_item(const Queue<typename Thing::Shared>& queue) {
  pass_on<Thing>(queue.get(true, patience));
}

template <class Thing>
typename Thing::Shared same(typename Thing::Shared shared) {
  return shared;
}

/// A process that may have processes of its own.
template <class... A>
void expect_runs(A... target) {
  Process process{std::move(target)...};
  process.start();
  ASSERT_TRUE(process.join(patience));
  EXPECT_EQ(process.exitcode(), 0);
}

template <class Thing>
class PassedOn : public testing::Test {
 protected:
  void TearDown() override { set_start_method(std::nullopt, true); }

  template <class Case>
  void with_every_method(Case run) {
    for (const StartMethod method : {StartMethod::forkserver, StartMethod::fork, StartMethod::spawn}) {
      if (thread_sanitized && method == StartMethod::fork) continue;
      SCOPED_TRACE(to_string(method));
      set_start_method(method, true);
      run();
    }
  }
};

struct NameOf {
  template <class Thing>
  static std::string GetName(int) {
    return Thing::name;
  }
};
using Things = testing::Types<ALock, AnRLock, ASemaphore, ABoundedSemaphore, ACondition, AnEvent, ABarrier, AQueue,
                              ASimpleQueue, AJoinableQueue, APipe, ASocket, AValue, ARawValue, AnArray, ARawArray,
                              ASharedArray, NamedMemory, AShareableList>;
TYPED_TEST_SUITE(PassedOn, Things, NameOf);

TYPED_TEST(PassedOn, ThroughAQueueToWhoeverGetsIt) {
  const Queue<typename TypeParam::Shared> queue;
  queue.put(TypeParam::make());
  EXPECT_TRUE(TypeParam::is_it(queue.get()));
}

TYPED_TEST(PassedOn, AsArgumentAndResultOfTasks) {
  this->with_every_method([] {
    Pool pool{1};
    EXPECT_NO_THROW(pool.apply(use<TypeParam>, TypeParam::make())) << "argument";
    EXPECT_TRUE(TypeParam::is_it(pool.apply(TypeParam::make))) << "result";
    EXPECT_TRUE(TypeParam::is_it(pool.apply(same<TypeParam>, TypeParam::make()))) << "there and back";
    pool.terminate();
  });
}

TYPED_TEST(PassedOn, ByTheReceiverWhenItsMakerHasDroppedIt) {
  this->with_every_method([] {
    const Event dropped;
    std::optional shared{TypeParam::make()};
    Process receiver{pass_on_later<TypeParam>, std::move(*shared), dropped};
    receiver.start();
    shared.reset();
    dropped.set();
    ASSERT_TRUE(receiver.join(patience));
    EXPECT_EQ(receiver.exitcode(), 0);
  });
}

TYPED_TEST(PassedOn, ByTheReceiverWhenItsMakerHasEnded) {
  this->with_every_method([] {
    const Queue<typename TypeParam::Shared> queue;
    expect_runs(put_one<TypeParam>, queue);
    expect_runs(pass_on_item<TypeParam>, queue);
  });
}

}  // namespace
