#include <troupe/bell.hpp>

#include "../support/forked.hpp"
#include "../support/one_piece.hpp"
#include "../support/processes.hpp"

#include <troupe/file_descriptor.hpp>

#include <gmock/gmock.h>

#include <algorithm>
#include <chrono>
#include <poll.h>
#include <random>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <thread>

namespace troupe {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;
using test::Forked;
using test::OnOneProcessor;
using test::patience;
using test::rounds;
using test::Stepped;

/// A word that processes share, and the eventfd beside it.
struct SharedBell {
  FileDescriptor file = create_memory_file("a bell", 4096);
  Mapping page{file.get(), 0, 4096, Mapping::Access::read_write, "a bell"};
  FileDescriptor eventfd{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  Bell::Word* word = reinterpret_cast<Bell::Word*>(page.data());
  std::atomic<std::uint32_t>* data = reinterpret_cast<std::atomic<std::uint32_t>*>(page.data() + 64);
  Bell bell{word, eventfd.get()};

  /// How often the eventfd was written since last asked.
  std::uint64_t count_events() const {
    std::uint64_t count = 0;
    return ::read(eventfd.get(), &count, sizeof count) == sizeof count ? count : 0;
  }
};

/// A thread that sleeps on a bell.
class SleepingThread {
 public:
  explicit SleepingThread(Bell bell) {
    thread_ = std::thread{[this, bell]() mutable {
      bell.arm(Bell::Sleeper::thread);
      const auto deadline = steady_clock::now() + patience;
      tid_ = static_cast<pid_t>(::syscall(SYS_gettid));
      while (!told_to_wake_ && steady_clock::now() < deadline) bell.sleep(deadline);
      in_time_ = steady_clock::now() < deadline;
      awake_ = true;
    }};
    while (tid_ == 0) std::this_thread::yield();
    EXPECT_TRUE(test::wait_for_state(tid_, 'S'));
  }
  ~SleepingThread() { join(); }

  /// From now on the thread stays awake when it is woken.
  void may_wake() { told_to_wake_ = true; }
  bool is_awake() const { return awake_; }
  /// Waits for its end: whether it was woken, and not by the clock.
  bool join() {
    if (thread_.joinable()) thread_.join();
    return in_time_;
  }

 private:
  std::atomic<bool> told_to_wake_{false};
  std::atomic<bool> awake_{false};
  std::atomic<bool> in_time_{false};
  std::atomic<pid_t> tid_{0};
  std::thread thread_;
};

TEST(Bell, WakesAThreadThatSleeps) {
  SharedBell shared;
  SleepingThread sleeper{shared.bell};
  EXPECT_FALSE(shared.bell.is_disarmed());
  sleeper.may_wake();
  EXPECT_FALSE(sleeper.is_awake());
  shared.bell.ring();
  EXPECT_TRUE(sleeper.join());
  EXPECT_TRUE(shared.bell.is_disarmed());
  EXPECT_EQ(shared.count_events(), 0U);
}

TEST(Bell, WakesAThreadOfAnotherProcess) {
  SharedBell shared;
  SleepingThread sleeper{shared.bell};
  sleeper.may_wake();
  Forked child{[&] { shared.bell.ring(); }};
  EXPECT_EQ(child.wait(), 0);
  EXPECT_TRUE(sleeper.join());
}

// The mark of a process that is killed while it rings can be taken away by another ring that ends just then.
TEST(Bell, RouseWakesAThreadThatIsNotAnnouncedAnyMore) {
  SharedBell shared;
  SleepingThread sleeper{shared.bell};
  sleeper.may_wake();
  shared.bell.disarm();
  shared.bell.ring();
  EXPECT_FALSE(sleeper.is_awake());
  shared.bell.rouse();
  EXPECT_TRUE(sleeper.join());
}

// Ringing costs a system call only when somebody sleeps; the pool rings for every result.
TEST(Bell, DoesNothingWhenNobodySleeps) {
  SharedBell shared;
  for (int i = 0; i < 1000; ++i) shared.bell.ring();
  EXPECT_TRUE(shared.bell.is_disarmed());
  EXPECT_EQ(shared.count_events(), 0U);
  shared.bell.arm(Bell::Sleeper::event_loop);
  shared.bell.disarm();
  shared.bell.ring();
  EXPECT_EQ(shared.count_events(), 0U);
}

TEST(Bell, SignalsAnEventLoopOncePerArming) {
  SharedBell shared;
  for (int i = 0; i < 3; ++i) {
    shared.bell.arm(Bell::Sleeper::event_loop);
    EXPECT_EQ(shared.count_events(), 0U);
    for (int ring = 0; ring < 5; ++ring) shared.bell.ring();
    EXPECT_EQ(shared.count_events(), 1U);
    EXPECT_TRUE(shared.bell.is_disarmed());
  }
}

TEST(Bell, DoesNotSleepWhenRungBetweenArmingAndSleeping) {
  SharedBell shared;
  shared.bell.arm(Bell::Sleeper::thread);
  shared.bell.ring();
  const auto start = steady_clock::now();
  shared.bell.sleep(start + patience);
  EXPECT_LT(steady_clock::now() - start, patience);
}

TEST(Bell, SleepsUntilTheDeadlineAtMost) {
  SharedBell shared;
  for (const Deadline past : {Deadline{}, Deadline::min(), steady_clock::now() - 1h}) {
    shared.bell.arm(Bell::Sleeper::thread);
    shared.bell.sleep(past);  // returns
  }
  const auto deadline = steady_clock::now() + 20ms;
  while (steady_clock::now() < deadline) shared.bell.sleep(deadline);
  EXPECT_GE(steady_clock::now(), deadline);
}

// The bell of a pool is rung by many workers, any of which may be killed while it rings: the next one must get through.
TEST(Bell, RungByAProcessKilledAtAnyInstructionStillWakesForTheNextRing) {
  const OnOneProcessor quick;
  int rounds_awake = 0;
  for (int steps = 0; rounds_awake < 60; steps += rounds_awake == 0 && test::sanitized ? 23 : 1) {
    SharedBell shared;
    SleepingThread sleeper{shared.bell};
    Stepped killed{[&] { shared.bell.ring(); }};
    if (!killed.is_traced()) GTEST_SKIP() << "processes may not be traced here";
    sleeper.may_wake();
    for (int i = 0; i < steps; ++i) ASSERT_TRUE(killed.step());
    killed.kill(SIGKILL);
    EXPECT_EQ(killed.wait(), -SIGKILL);
    if (shared.bell.is_disarmed() || rounds_awake > 0) ++rounds_awake;
    shared.bell.ring();
    ASSERT_TRUE(sleeper.join()) << "lost after " << steps << " instructions";
  }
}

TEST(Bell, RungByAProcessKilledAtAnyInstructionStillSignalsForTheNextRing) {
  const OnOneProcessor quick;
  int rounds_rung = 0;
  for (int steps = 0; rounds_rung < 60; steps += rounds_rung == 0 && test::sanitized ? 23 : 1) {
    SharedBell shared;
    shared.bell.arm(Bell::Sleeper::event_loop);
    Stepped killed{[&] { shared.bell.ring(); }};
    if (!killed.is_traced()) GTEST_SKIP() << "processes may not be traced here";
    for (int i = 0; i < steps; ++i) ASSERT_TRUE(killed.step());
    killed.kill(SIGKILL);
    EXPECT_EQ(killed.wait(), -SIGKILL);
    if (shared.bell.is_disarmed() || rounds_rung > 0) ++rounds_rung;
    shared.bell.ring();
    ASSERT_GE(shared.count_events(), 1U) << "lost after " << steps << " instructions";
  }
}

// Two processes hand a turn to and fro, both asleep most of the time; one lost ring would stop them.
TEST(Bell, LosesNoRing) {
  SharedBell here;
  SharedBell there;
  const std::uint32_t turns = static_cast<std::uint32_t>(rounds(30'000));
  const auto wait_for = [](SharedBell& mine, std::uint32_t turn) {
    const auto deadline = steady_clock::now() + patience;
    while (mine.data->load(std::memory_order_acquire) < turn) {
      mine.bell.arm(Bell::Sleeper::thread);
      if (mine.data->load(std::memory_order_acquire) < turn) mine.bell.sleep(deadline);
      mine.bell.disarm();
      if (steady_clock::now() > deadline) return false;
    }
    return true;
  };
  const auto play = [&](SharedBell& mine, SharedBell& others, bool begins) {
    std::minstd_rand random{begins ? 1U : 2U};
    for (std::uint32_t turn = 1; turn <= turns; ++turn) {
      ASSERT_TRUE(begins || wait_for(mine, turn)) << "turn " << turn;
      test::busy_pause(random() % 3000);
      others.data->store(turn, std::memory_order_release);
      others.bell.ring();
      ASSERT_TRUE(!begins || wait_for(mine, turn)) << "turn " << turn;
    }
  };
  Forked child{[&] { play(there, here, false); }};
  play(here, there, true);
  EXPECT_EQ(child.wait(), 0);
}

TEST(Futex, WaitsOnlyWhileTheWordIsAsExpected) {
  std::atomic<std::uint32_t> word{5};
  futex_wait(&word, 4, steady_clock::now() + patience);  // returns at once
  const auto deadline = steady_clock::now() + 5ms;
  while (steady_clock::now() < deadline) futex_wait(&word, 5, deadline);
  futex_wake(&word, 1);  // nobody there
}

TEST(SpinWait, SeesAConditionThatComesTrueMeanwhile) {
  SpinWait spin;
  EXPECT_TRUE(spin([] { return true; }));
  int looks = 0;
  EXPECT_TRUE(spin([&] { return ++looks == 40; }));
  EXPECT_EQ(looks, 40);
}

TEST(SpinWait, GivesUpWhenTheConditionStaysFalse) {
  SpinWait spin;
  for (int i = 0; i < 100; ++i) {
    const auto start = steady_clock::now();
    EXPECT_FALSE(spin([] { return false; }));
    EXPECT_LT(steady_clock::now() - start, patience);
  }
}

// Two sides that wake each other from short sleeps would sleep for ever if only looks that succeed made looks longer.
TEST(SpinWait, LooksLongAfterShortWaitsAndShortAfterLongOnes) {
  SpinWait spin;
  EXPECT_EQ(spin.limit(), SpinWait::longest);
  const auto after_long_wait = [&] {
    spin([] { return false; });
    for (const auto end = steady_clock::now() + SpinWait::longest; steady_clock::now() < end;) {
    }
    spin.found_later();
  };
  for (auto before = spin.limit(); before > SpinWait::shortest; before = spin.limit()) {
    after_long_wait();
    ASSERT_LT(spin.limit(), before);
  }
  after_long_wait();
  EXPECT_EQ(spin.limit(), SpinWait::shortest);
  // A wait that a long look would have outlasted; often enough that nobody else has the processor all the time.
  for (int i = 0; i < 1000 && spin.limit() < SpinWait::longest; ++i) {
    spin([] { return false; });
    spin.found_later();
  }
  EXPECT_EQ(spin.limit(), SpinWait::longest);
}

}  // namespace
}  // namespace troupe
