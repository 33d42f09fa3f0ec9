#include <troupe/lock.hpp>

#include <troupe/dummy.hpp>
#include <troupe/error.hpp>
#include <troupe/pool.hpp>
#include <troupe/process.hpp>

#include "support/one_piece.hpp"
#include "support/processes.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <ctime>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe;
using test::patience;

/// Takes the lock and is killed with it.
template <class AnyLock>
void die_with(const AnyLock& lock) {
  lock.lock();
  ::raise(SIGKILL);
}

template <class AnyLock>
void have_one_die_with(const AnyLock& lock, StartMethod method = StartMethod::forkserver) {
  Process process{ProcessOptions{.start_method = method}, &die_with<AnyLock>, lock};
  process.start();
  ASSERT_TRUE(process.join(patience));
  ASSERT_EQ(process.exitcode(), -SIGKILL);
}

// Whoever takes a lock whose holder has died gets it, and is told until giving it back. It is free when the process has
// been joined.
TEST(Lock, IsTakenOverFromOneThatHasDied) {
  const Lock lock;
  for (const StartMethod method : {StartMethod::forkserver, StartMethod::fork, StartMethod::spawn}) {
    have_one_die_with(lock, method);
    ASSERT_TRUE(lock.acquire(false));
    EXPECT_TRUE(lock.abandoned());
    lock.release();
    EXPECT_TRUE(lock.acquire());
    EXPECT_FALSE(lock.abandoned());
    lock.release();
    EXPECT_THROW(lock.release(), ValueError);
  }
}

// Anybody can give it back in the place of who has died, as in multiprocessing, whether that was noticed or not.
TEST(Lock, IsReleasedOnceForOneThatHasDied) {
  const Lock lock;
  for (const StartMethod method : {StartMethod::forkserver, StartMethod::fork, StartMethod::spawn}) {
    have_one_die_with(lock, method);
    EXPECT_NO_THROW(lock.release());
    EXPECT_FALSE(lock.abandoned());
    EXPECT_THROW(lock.release(), ValueError);
    EXPECT_TRUE(lock.acquire(false));
    lock.release();
  }
  const Lock failing{LockOptions{.on_abandoned = OnAbandoned::fail}};
  have_one_die_with(failing);
  EXPECT_THROW(failing.release(), ValueError);
  EXPECT_THROW(failing.acquire(), AbandonedError);
}

TEST(Lock, RecursiveOnesAreTakenOverAtEveryDepth) {
  const RLock lock;
  have_one_die_with(lock);
  ASSERT_TRUE(lock.acquire(true, patience));
  EXPECT_TRUE(lock.acquire());
  EXPECT_TRUE(lock.abandoned());
  lock.release();
  EXPECT_TRUE(lock.abandoned());
  lock.release();
  EXPECT_FALSE(lock.abandoned());
  EXPECT_THROW(lock.release(), AssertionError);
}

// If so chosen, nobody gets it before somebody says that all is well.
template <class AnyLock>
void expect_fails_when_abandoned() {
  const AnyLock lock{LockOptions{.on_abandoned = OnAbandoned::fail}};
  EXPECT_TRUE(lock.acquire());
  lock.release();
  have_one_die_with(lock);
  EXPECT_THROW(lock.acquire(true, patience), AbandonedError);
  EXPECT_THROW(lock.lock(), AbandonedError);
  EXPECT_THROW(lock.try_lock(), AbandonedError);
  EXPECT_THROW(const std::lock_guard guard{lock}, AbandonedError);
  lock.clear_abandoned();
  EXPECT_TRUE(lock.acquire(false));
  EXPECT_FALSE(lock.abandoned());
  lock.release();
}

TEST(Lock, MayFailWhenItWasAbandoned) {
  expect_fails_when_abandoned<Lock>();
  expect_fails_when_abandoned<RLock>();
}

// Somebody who waits gets it from one that is killed.
TEST(Lock, WakesWhoWaitsWhenItsHolderDies) {
  const Lock lock;
  auto [mine, theirs] = test::make_line();
  Process holder{[](const Lock& held, const FileDescriptor& line) {
                   held.lock();
                   test::send_text(line, "held");
                   test::receive_text(line);
                 },
                 lock, std::move(theirs)};
  holder.start();
  EXPECT_EQ(test::receive_text(mine), "held");
  std::thread waiter{[&] {
    EXPECT_TRUE(lock.acquire(true, patience));
    EXPECT_TRUE(lock.abandoned());
    lock.release();
  }};
  EXPECT_FALSE(lock.acquire(true, 10ms));
  holder.kill();
  waiter.join();
}

TEST(Lock, WorksWithTheGuardsOfTheStandard) {
  const Lock first;
  Lock second;
  const RLock third;
  {
    const std::scoped_lock all{first, second, third};
    EXPECT_FALSE(first.try_lock());
    EXPECT_FALSE(second.try_lock_for(1ms));
    EXPECT_TRUE(third.try_lock());
    third.unlock();
  }
  std::unique_lock guard{second, 1ms};
  EXPECT_TRUE(guard.owns_lock());
  guard.unlock();
  EXPECT_TRUE(guard.try_lock());
}

TEST(Lock, WaitsAsLongAsItIsTold) {
  const Lock lock;
  lock.acquire();
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_FALSE(lock.acquire(true, 50ms));
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 50ms);
  EXPECT_FALSE(lock.acquire(true, -1s));
  EXPECT_FALSE(lock.acquire(false, patience));
  EXPECT_FALSE(lock.try_lock_for(0s));
  lock.release();
  EXPECT_TRUE(lock.acquire(true, -1s));
}

std::chrono::nanoseconds own_cpu_time() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds{time.tv_sec} + std::chrono::nanoseconds{time.tv_nsec};
}

// Whoever waits sleeps: a tenth of the time would be a lot.
TEST(Lock, IsWaitedForAsleep) {
  const Lock lock;
  lock.acquire();
  const auto before = own_cpu_time();
  EXPECT_FALSE(lock.acquire(true, 200ms));
  EXPECT_LT(own_cpu_time() - before, 20ms);
}

int with_lock(const Lock& lock, int x) {
  const std::lock_guard guard{lock};
  return x * x;
}

// Locks are arguments and results of tasks, and parts of other values.
TEST(Lock, TravelsWithTasks) {
  Pool pool{2};
  const Lock lock;
  std::vector<std::pair<Lock, int>> calls;
  for (int i = 0; i < 100; ++i) calls.emplace_back(lock, i);
  EXPECT_EQ(pool.starmap(with_lock, calls).back(), 99 * 99);
  const Lock same = pool.apply([](const Lock& argument) { return argument; }, lock);
  EXPECT_TRUE(same == lock);
  const Lock made_there = pool.apply([] { return Lock{}; });
  EXPECT_TRUE(made_there.acquire(false));
  EXPECT_FALSE(pool.apply([](const Lock& argument) { return argument.acquire(false); }, made_there));
  made_there.release();
  const auto many = pool.apply([](const std::map<std::string, std::optional<RLock>>& locks) { return locks.size(); },
                               std::map<std::string, std::optional<RLock>>{{"a", RLock{}}, {"b", std::nullopt}});
  EXPECT_EQ(many, 2U);
  pool.terminate();
}

// A closure under fork takes its locks along.
TEST(Lock, IsInheritedByClosures) {
  std::optional<Lock> lock{Lock{}};
  const Lock other;
  lock->acquire();
  other.acquire();
  {
    Process process{ProcessOptions{.start_method = StartMethod::fork}, [copy = *lock, &other] {
                      copy.release();
                      other.release();
                    }};
    process.start();
    EXPECT_TRUE(lock->acquire(true, patience));
    EXPECT_TRUE(other.acquire(true, patience));
  }
}

// Those of threads stay where they are.
TEST(Lock, OfThreadsIsNotSent) {
  Pool pool{1};
  EXPECT_THROW(pool.apply([](const troupe::Lock& lock) { return lock.acquire(); }, dummy::Lock{}), CodecError);
  pool.terminate();
}

TEST(Lock, SaysSoWhenItWasMovedFrom) {
  Lock lock;
  const Lock moved{std::move(lock)};
  EXPECT_THROW(lock.acquire(), AssertionError);  // NOLINT(bugprone-use-after-move)
  EXPECT_TRUE(moved.acquire());
}

// Threads of several processes count up what only the lock protects.
void count_up(const RLock& lock, const FileDescriptor& memory) {
  const Mapping page{memory.get(), 0, 4096, Mapping::Access::read_write, "a counter"};
  auto* counter = reinterpret_cast<volatile long*>(page.data());
  const auto work = [&] {
    for (int i = 0; i < 20'000; ++i) {
      const std::lock_guard guard{lock};
      const std::lock_guard again{lock};
      *counter = *counter + 1;
    }
  };
  std::thread other{work};
  work();
  other.join();
}

TEST(Lock, IsHeldByOneThreadAtATime) {
  const RLock lock;
  const FileDescriptor memory = create_memory_file("a counter", 4096);
  std::vector<Process> processes;
  for (int i = 0; i < 3; ++i) processes.emplace_back(count_up, lock, test::copy_of(memory)).start();
  count_up(lock, memory);
  for (const Process& process : processes) {
    process.join();
    EXPECT_EQ(process.exitcode(), 0);
  }
  const Mapping page{memory.get(), 0, 4096, Mapping::Access::read_only, "a counter"};
  EXPECT_EQ(*reinterpret_cast<long*>(page.data()), 4 * 2 * 20'000);
}

}  // namespace
