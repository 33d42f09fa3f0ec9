#include <troupe/barrier.hpp>

#include <troupe/error.hpp>
#include <troupe/process.hpp>

#include "support/processes.hpp"
#include "support/sync_flavours.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe;
using test::comes_to_wait;
using test::patience;

void wait_patiently(const Barrier& barrier) { barrier.wait(); }

// A party that dies while it waits breaks the barrier for the others.
TEST(Barrier, BreaksWhenAPartyDies) {
  const Barrier barrier{3};
  Process dies{wait_patiently, barrier};
  dies.start();
  ASSERT_TRUE(comes_to_wait(barrier, 1));
  std::thread waits{[&] { EXPECT_THROW(barrier.wait(patience), BrokenBarrierError); }};
  ASSERT_TRUE(comes_to_wait(barrier, 2));
  dies.kill();
  waits.join();
  EXPECT_TRUE(barrier.broken());
  EXPECT_EQ(barrier.n_waiting(), 0);
  barrier.reset();
  EXPECT_FALSE(barrier.broken());
}

// One that died before it came is not missed by anybody but those who wait.
TEST(Barrier, IsForAnyParties) {
  const Barrier barrier{2};
  Process never_comes{[](const Barrier&) { ::raise(SIGKILL); }, barrier};
  never_comes.start();
  never_comes.join();
  Process comes{wait_patiently, barrier};
  comes.start();
  EXPECT_GE(barrier.wait(patience), 0);
  comes.join();
  EXPECT_EQ(comes.exitcode(), 0);
}

TEST(Barrier, NeedsAParty) {
  EXPECT_THROW(Barrier{0}, ValueError);
  EXPECT_THROW(Barrier{-1}, ValueError);
  EXPECT_THROW(Barrier{3577}, ValueError);
  EXPECT_NO_THROW(Barrier{3576});
}

// An action with captures goes along under fork, and says that it cannot otherwise.
TEST(Barrier, TakesAnyActionUnderFork) {
  auto [mine, theirs] = test::make_line();
  const Barrier barrier{2, [&line = theirs] { test::send_text(line, "all here"); }};
  Process sent{wait_patiently, barrier};
  EXPECT_THROW(sent.start(), CodecError);
  Process forked{ProcessOptions{.start_method = StartMethod::fork}, [&] { barrier.wait(); }};
  forked.start();
  barrier.wait();
  EXPECT_EQ(test::receive_text(mine), "all here");
  forked.join();
}

// The action may look at the barrier, and break it.
TEST(Barrier, MayBeAbortedByItsAction) {
  const Barrier* self = nullptr;
  const Barrier barrier{1, [&self] { self->abort(); }};
  self = &barrier;
  EXPECT_THROW(barrier.wait(), BrokenBarrierError);
  EXPECT_TRUE(barrier.broken());
}

// A wait that ends while the action runs has ended well: all had come.
TEST(Barrier, DoesNotTimeOutDuringItsAction) {
  const Barrier barrier{2, [] { std::this_thread::sleep_for(150ms); }};
  Process other{[](const Barrier& meeting) { meeting.wait(50ms); }, barrier};
  other.start();
  ASSERT_TRUE(comes_to_wait(barrier, 1));
  barrier.wait();
  other.join();
  EXPECT_EQ(other.exitcode(), 0);
}

}  // namespace
