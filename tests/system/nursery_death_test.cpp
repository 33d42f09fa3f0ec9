// When the nursery is killed, its processes are gone and known to be, and the next start works.

#include <troupe/barrier.hpp>
#include <troupe/context.hpp>
#include <troupe/error.hpp>
#include <troupe/lock.hpp>
#include <troupe/process.hpp>
#include <troupe/queue.hpp>
#include <troupe/runtime.hpp>
#include <troupe/semaphore.hpp>

#include "support/processes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <string>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe;
using namespace troupe::test;
using testing::HasSubstr;

int num_preloads = 0;
void preload() { ++num_preloads; }

void report_and_wait(const FileDescriptor& line) {
  send_text(line, std::to_string(::getppid()) + " " + std::to_string(num_preloads));
  receive_text(line);
}

/// A process that has told the pid of its nursery.
struct Reported {
  explicit Reported(StartMethod method) {
    auto [mine, theirs] = make_line();
    line = std::move(mine);
    process = Process{ProcessOptions{.start_method = method}, report_and_wait, std::move(theirs)};
    process.start();
    const std::string text = receive_text(line);
    nursery = std::stoi(text);
    preloads = text.substr(text.find(' ') + 1);
  }
  void end() {
    send_text(line, "end");
    process.join();
  }
  FileDescriptor line;
  Process process;
  pid_t nursery = 0;
  std::string preloads;
};

class NurseryDeathEveryMethod : public testing::TestWithParam<StartMethod> {};

// Its processes end with it and say -9; the forked one goes on; a new nursery serves the next start, preloads included.
TEST_P(NurseryDeathEveryMethod, IsReportedAndRepaired) {
  for (int i = 0; i < 3; ++i) {
    Reported victim{GetParam()};
    Reported forked{StartMethod::fork};
    ASSERT_EQ(::kill(victim.nursery, SIGKILL), 0);
    EXPECT_TRUE(victim.process.join(patience));
    EXPECT_EQ(victim.process.exitcode(), -SIGKILL);
    EXPECT_EQ(still_running_after({*victim.process.pid()}, 0ms), std::vector<pid_t>{});
    EXPECT_TRUE(forked.process.is_alive());

    Reported next{GetParam()};
    EXPECT_NE(next.nursery, victim.nursery);
    EXPECT_FALSE(is_running(victim.nursery));
    next.end();
    EXPECT_EQ(next.process.exitcode(), 0);
    forked.end();
    EXPECT_EQ(forked.process.exitcode(), 0);
  }
}

// What was preloaded is preloaded again, once per nursery.
TEST_P(NurseryDeathEveryMethod, RepeatsPreloads) {
  if (GetParam() == StartMethod::spawn) GTEST_SKIP() << "executed programs do not see what the nursery prepared";
  static const bool once = [] {
    set_forkserver_preload(preload);
    return true;
  }();
  static_cast<void>(once);
  Reported before{GetParam()};
  EXPECT_EQ(before.preloads, "1");
  ::kill(before.nursery, SIGKILL);
  before.process.join();
  Reported after{GetParam()};
  EXPECT_NE(after.nursery, before.nursery);
  EXPECT_EQ(after.preloads, "1");
  after.end();
}

// A forked process has no way to make a new nursery: its start fails with an error that says so, it does not hang.
TEST_P(NurseryDeathEveryMethod, IsAnErrorInForkedProcesses) {
  Reported witness{GetParam()};
  auto [mine, theirs] = make_line();
  Process forked{ProcessOptions{.start_method = StartMethod::fork},
                 [](const FileDescriptor& line, StartMethod method) {
                   Process first{ProcessOptions{.start_method = method}, [] {}};
                   first.start();
                   first.join();
                   send_text(line, std::to_string(first.exitcode().value_or(-1)));
                   receive_text(line);
                   try {
                     Process second{ProcessOptions{.start_method = method}, [] {}};
                     second.start();
                     send_text(line, "started");
                   } catch (const OSError& error) {
                     send_text(line, error.what());
                   }
                 },
                 std::move(theirs), GetParam()};
  forked.start();
  EXPECT_EQ(receive_text(mine), "0");
  ::kill(witness.nursery, SIGKILL);
  witness.process.join();
  send_text(mine, "go on");
  EXPECT_THAT(receive_text(mine), HasSubstr("the nursery has ended"));
  forked.join();
  EXPECT_EQ(forked.exitcode(), 0);
}

/// What a process holds, or waits in, when it dies with its nursery.
struct Held {
  Lock lock;
  Semaphore permits{1, {.robust = true}};
  Barrier barrier{2};
  JoinableQueue<int> items{0, {.lease = true}};

  TROUPE_FIELDS(lock, permits, barrier, items)
};

void hold_all(const FileDescriptor& line, const Held& held) {
  held.lock.acquire();
  held.permits.acquire();
  held.items.get();
  send_text(line, std::to_string(::getppid()));
  held.barrier.wait();
}

// Nobody is left to tell that the holder has died, and yet nothing stays held: not for who joins it, nor for who only
// waits for what it held.
TEST(NurseryDeath, LeavesNothingHeld) {
  for (const bool joins : {true, false}) {
    const Held held;
    held.items.put(7);
    auto [mine, theirs] = make_line();
    Process holder{hold_all, std::move(theirs), held};
    holder.start();
    const pid_t nursery = std::stoi(receive_text(mine));
    while (held.barrier.n_waiting() == 0) std::this_thread::yield();
    ASSERT_EQ(::kill(nursery, SIGKILL), 0);
    if (joins) {
      holder.join();
      EXPECT_THROW(held.barrier.wait(patience), BrokenBarrierError);
    }
    EXPECT_TRUE(held.lock.acquire(true, patience));
    EXPECT_TRUE(held.lock.abandoned());
    EXPECT_TRUE(held.permits.acquire(true, patience));
    EXPECT_EQ(held.items.get(true, patience), 7);
    holder.join();
  }
}

void die_holding(const Held& held) {
  held.lock.acquire();
  held.permits.acquire();
  held.items.get();
  ::raise(SIGKILL);
}

// What was made before the nursery died is no less looked after when a process dies that its successor has started.
TEST(NurseryDeath, TheNextOneKnowsWhatItsProcessesHold) {
  const Held held;
  held.items.put(7);
  Reported witness{StartMethod::forkserver};
  ::kill(witness.nursery, SIGKILL);
  witness.process.join();
  Process holder{die_holding, held};
  holder.start();
  holder.join();
  EXPECT_TRUE(held.lock.acquire(true, patience));
  EXPECT_TRUE(held.lock.abandoned());
  EXPECT_TRUE(held.permits.acquire(true, patience));
  EXPECT_EQ(held.items.get(true, patience), 7);
}

// Output that is buffered when a nursery is replaced comes out once.
TEST(NurseryDeath, DoublesNoOutput) {
  Program program{"replaced nursery"};
  EXPECT_EQ(program.read_rest(), "once\n");
  EXPECT_EQ(program.wait(), 0);
}
const bool replaced = add_role("replaced nursery", [](int argc, char** argv, const std::string&) {
  const Runtime runtime{argc, argv};
  Reported first{StartMethod::forkserver};
  ::kill(first.nursery, SIGKILL);
  first.process.join();
  std::printf("once\n");
  Reported second{StartMethod::forkserver};
  second.end();
  return 0;
});

// The Runtime ends in time although the nursery is stopped.
TEST(NurseryStopped, DoesNotHoldUpTheEnd) {
  Program program{"stopped nursery"};
  EXPECT_EQ(program.wait(), 0);
}
const bool stopped = add_role("stopped nursery", [](int argc, char** argv, const std::string&) {
  const Runtime runtime{argc, argv};
  Reported reported{StartMethod::forkserver};
  reported.end();
  ::kill(reported.nursery, SIGSTOP);
  return 0;
});

INSTANTIATE_TEST_SUITE_P(By, NurseryDeathEveryMethod, testing::Values(StartMethod::forkserver, StartMethod::spawn),
                         [](const auto& method) { return std::string(to_string(method.param)); });

}  // namespace
