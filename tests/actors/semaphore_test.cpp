#include <troupe/semaphore.hpp>

#include <troupe/error.hpp>
#include <troupe/process.hpp>

#include "support/one_piece.hpp"
#include "support/processes.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <mutex>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe;
using test::patience;

template <class AnySemaphore>
void die_with_two(const AnySemaphore& semaphore) {
  semaphore.acquire();
  semaphore.acquire();
  ::raise(SIGKILL);
}

// Permits of a process that dies come back, and whoever waits for one gets it.
template <class AnySemaphore>
void expect_permits_come_back() {
  const AnySemaphore semaphore{3, SemaphoreOptions{.robust = true}};
  EXPECT_TRUE(semaphore.acquire());
  Process process{&die_with_two<AnySemaphore>, semaphore};
  process.start();
  process.join();
  EXPECT_TRUE(semaphore.acquire(true, patience));
  EXPECT_TRUE(semaphore.acquire(true, patience));
  EXPECT_FALSE(semaphore.acquire(false));
  EXPECT_EQ(semaphore.get_value(), 0);
  for (int i = 0; i < 3; ++i) semaphore.release();
  EXPECT_EQ(semaphore.get_value(), 3);
}

TEST(Semaphore, RobustOnesGetTheirPermitsBack) {
  expect_permits_come_back<Semaphore>();
  expect_permits_come_back<BoundedSemaphore>();
}

// One that is not robust is as a system's: what was taken stays taken.
TEST(Semaphore, OthersDoNot) {
  const Semaphore semaphore{3};
  Process process{&die_with_two<Semaphore>, semaphore};
  process.start();
  process.join();
  EXPECT_EQ(semaphore.get_value(), 1);
}

TEST(Semaphore, RobustOnesBehaveLikeOthersOtherwise) {
  const Semaphore semaphore{1, {.robust = true}};
  {
    const std::lock_guard guard{semaphore};
    EXPECT_FALSE(semaphore.try_lock());
    EXPECT_FALSE(semaphore.try_lock_for(1ms));
  }
  semaphore.release();
  EXPECT_EQ(semaphore.get_value(), 2);
  const BoundedSemaphore bounded{1, {.robust = true}};
  EXPECT_THROW(bounded.release(), ValueError);
}

TEST(Semaphore, SaysWhenThereIsNoRoomForAnotherHolder) {
  EXPECT_THROW(Semaphore(1, {.robust = true, .max_holders = 0}), ValueError);
  EXPECT_THROW(Semaphore(1, {.robust = true, .max_holders = 7155}), ValueError);
  const Semaphore semaphore{100, {.robust = true, .max_holders = 7}};
  auto [mine, theirs] = test::make_line();
  std::vector<Process> holders;
  for (int i = 0; i < 7; ++i) {
    holders
        .emplace_back(
            [](const Semaphore& shared, const FileDescriptor& line) {
              shared.acquire();
              test::send_text(line, "taken");
              shared.acquire(false);
              for (;;) ::pause();
            },
            semaphore, test::copy_of(theirs))
        .start();
    EXPECT_EQ(test::receive_text(mine), "taken");
  }
  EXPECT_THROW(semaphore.acquire(), Full);
  for (const Process& holder : holders) holder.kill();
  for (const Process& holder : holders) holder.join();
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (semaphore.get_value() < 100 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  EXPECT_EQ(semaphore.get_value(), 100);
}

// Never more inside than there are permits.
TEST(Semaphore, LetsInAsManyAsItHasPermits) {
  const Semaphore semaphore{2};
  const Semaphore inside{2};
  std::vector<Process> processes;
  for (int i = 0; i < 4; ++i) {
    processes
        .emplace_back(
            [](const Semaphore& permits, const Semaphore& room) {
              for (int round = 0; round < 2000; ++round) {
                const std::lock_guard guard{permits};
                if (!room.acquire(false)) std::abort();
                room.release();
              }
            },
            semaphore, inside)
        .start();
  }
  for (const Process& process : processes) {
    process.join();
    EXPECT_EQ(process.exitcode(), 0);
  }
  EXPECT_EQ(semaphore.get_value(), 2);
}

}  // namespace
