// Pipes whose other side is killed, terminated or stopped at every instruction, or writes nonsense into the shared
// memory.

#include <troupe/connection.hpp>
#include <troupe/error.hpp>
#include <troupe/pipe.hpp>

#include "lane.hpp"
#include "support/connections.hpp"
#include "support/forked.hpp"
#include "support/one_piece.hpp"
#include "support/pools.hpp"
#include "support/processes.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe;
using namespace troupe::test;

/// Steps a process `count` instructions far; false when it is done before.
bool step(Stepped& process, int count) {
  for (int i = 0; i < count; ++i)
    if (!process.step()) return false;
  return true;
}

/// Every so many-th instruction, from a changing one on, so that the cases take seconds and all are met in some runs.
/// Code that is not optimized has many more.
#ifdef NDEBUG
constexpr int stride = sanitized ? 97 : 7;
#else
constexpr int stride = 397;
#endif
int first_step() { return static_cast<int>(::getpid() % stride); }

class KilledAtEveryStep : public testing::Test {
 protected:
  void SetUp() override {
    Stepped probe{[] {}};
    if (!probe.is_traced()) GTEST_SKIP() << "processes may not be traced here";
    probe.run_on();
  }
  OnOneProcessor pinned_;
};

/// With one of three signals; who is stopped is continued.
class SignalledAtEveryStep : public KilledAtEveryStep, public testing::WithParamInterface<int> {
 protected:
  const int its_stride = GetParam() == SIGKILL ? stride : 3 * stride;

  /// Strikes; whether the process lives on.
  static bool strike(Stepped& process) {
    if (GetParam() == SIGKILL) {
      process.kill(SIGKILL);
    } else {
      process.release(GetParam());
    }
    if (GetParam() != SIGSTOP) {
      EXPECT_EQ(process.wait(), -GetParam());
      return false;
    }
    EXPECT_TRUE(wait_for_state(process.pid(), 'T'));
    process.kill(SIGCONT);
    return true;
  }
};

// The only sender dies: what was sent is there in whole, then comes the end. One that was stopped has sent it.
TEST_P(SignalledAtEveryStep, TheOnlySender) {
  for (int count = first_step();; count += its_stride) {
    auto [reader, writer] = Pipe(Duplex::no);
    Stepped sender{[&] {
      std::signal(SIGTERM, SIG_DFL);
      reader.close();
      writer.send_bytes("hello");
      Stepped::end_of_steps();
      ::pause();
    }};
    writer.close();
    const bool more = step(sender, count);
    const bool lives_on = strike(sender);
    std::string got;
    try {
      got = to_text(reader.recv_bytes());
      ASSERT_EQ(got, "hello") << "after " << count << " steps";
      if (lives_on) sender.kill(SIGKILL);
      reader.recv_bytes();
      FAIL() << "no end after " << count << " steps";
    } catch (const EOFError&) {
    }
    if (!more || lives_on) {
      EXPECT_EQ(got, "hello");
    }
    if (!more) break;
  }
}

// A receiver dies; the next process that receives with that end goes on with the next whole
// message. One that was stopped gets it.
TEST_P(SignalledAtEveryStep, OneOfSeveralReceivers) {
  for (int count = first_step();; count += its_stride) {
    auto [reader, writer] = Pipe(Duplex::no);
    auto [report, reporter] = Pipe(Duplex::no);
    writer.send_bytes("first");
    writer.send_bytes("second");
    Stepped receiver{[&] {
      std::signal(SIGTERM, SIG_DFL);
      const auto message = reader.recv_bytes();
      Stepped::end_of_steps();
      reporter.send_bytes(message);
      ::pause();
    }};
    const bool more = step(receiver, count);
    const bool lives_on = strike(receiver);
    std::string got;
    if (lives_on) {
      // It stops once more at the end of its steps, unless that was where it was stopped.
      ASSERT_TRUE(comes_true([&] {
        receiver.kill(SIGCONT);
        return report.poll(1ms);
      }));
      EXPECT_EQ(to_text(report.recv_bytes()), "first");
      got = to_text(reader.recv_bytes());
      EXPECT_EQ(got, "second");
    } else {
      got = to_text(reader.recv_bytes());
      ASSERT_TRUE(got == "first" || got == "second") << got;
      if (got == "first") {
        EXPECT_EQ(to_text(reader.recv_bytes()), "second");
      }
    }
    if (!more) {
      EXPECT_EQ(got, "second");
      break;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(P, SignalledAtEveryStep, testing::Values(SIGKILL, SIGTERM, SIGSTOP),
                         [](const auto& number) { return signal_name(number.param); });

// A sender is killed while another process still holds the sending end, and the receiver sleeps: what was sent wakes
// it.
TEST_F(KilledAtEveryStep, OneOfSeveralSendersWhileTheReceiverSleeps) {
  for (int count = first_step();; count += stride) {
    auto [reader, writer] = Pipe(Duplex::no);
    const Connection watched = reader.copy();
    std::vector<std::string> got;
    std::atomic<pid_t> thread = 0;
    std::jthread receiver{[&] {
      thread = ::gettid();
      do {
        got.push_back(to_text(reader.recv_bytes()));
      } while (got.back() != "end");
    }};
    ASSERT_TRUE(comes_true([&] { return thread != 0; }));
    ASSERT_TRUE(wait_for_state(thread, 'S'));
    bool more = false;
    {
      Stepped sender{[&] {
        writer.send_bytes("hello");
        Stepped::end_of_steps();
      }};
      more = step(sender, count);
      sender.kill(SIGKILL);
    }
    EXPECT_TRUE(comes_true([&] { return !watched.has_data(); })) << "nobody was woken after " << count << " steps";
    writer.send_bytes("end");
    receiver.join();
    if (got.size() == 2) {
      EXPECT_EQ(got[0], "hello");
    }
    ASSERT_LE(got.size(), 2);
    if (!more) {
      EXPECT_EQ(got.size(), 2);
      break;
    }
  }
}

// A sender is held up anywhere while the receiver takes the message and goes to sleep again: it is woken for the next.
TEST_F(KilledAtEveryStep, ASenderThatIsOnlyHeldUp) {
  for (int count = first_step();; count += stride) {
    auto [reader, writer] = Pipe(Duplex::no);
    std::atomic<pid_t> thread = 0;
    std::atomic<int> num_received = 0;
    std::jthread receiver{[&] {
      thread = ::gettid();
      try {
        for (;;) {
          reader.recv_bytes();
          ++num_received;
        }
      } catch (const EOFError&) {
      }
    }};
    ASSERT_TRUE(comes_true([&] { return thread != 0; }));
    ASSERT_TRUE(wait_for_state(thread, 'S'));
    Stepped sender{[&] {
      writer.send_bytes("hello");
      ::raise(SIGSTOP);
      writer.send_bytes("again");
      ::raise(SIGSTOP);
      ::pause();
    }};
    const Connection watched = reader.copy();
    const bool more = step(sender, count);
    ASSERT_TRUE(comes_true([&] { return !watched.has_data(); }));
    ASSERT_TRUE(wait_for_state(thread, 'S'));
    for (int stops = more ? 2 : 1; stops > 0; --stops)
      while (sender.step()) {
      }
    EXPECT_TRUE(comes_true([&] { return num_received == 2; })) << "not woken after " << count << " steps";
    writer.close();
    sender.kill(SIGKILL);
    static_cast<void>(sender.wait());
    receiver.join();
    if (!more) break;
  }
}

// The only receiver is killed while a sender waits for room: it goes on or is told.
TEST_F(KilledAtEveryStep, TheOnlyReceiverWhileASenderWaits) {
  // The first message is short, so that few instructions read it; what the sender waits with needs just its room.
  const std::string block(16384, 'x');
  const std::size_t used = 64 + 15 * (block.size() + 64);
  const std::string waiting(lane_bytes - used + 64 - 16, 'y');
  for (int count = first_step();; count += stride) {
    auto [reader, writer] = Pipe(Duplex::no);
    writer.send_bytes("short");
    for (int i = 0; i < 15; ++i) writer.send_bytes(block);
    bool more = false;
    {
      Stepped receiver{[&] {
        writer.close();
        reader.recv_bytes();
        Stepped::end_of_steps();
      }};
      reader.close();
      std::atomic<pid_t> thread = 0;
      std::jthread sender{[&] {
        thread = ::gettid();
        try {
          for (int i = 0; i < 3; ++i) writer.send_bytes(waiting);
          ADD_FAILURE() << "there was no room for that, after " << count << " steps";
        } catch (const OSError& error) {
          EXPECT_EQ(error.errno_value(), EPIPE);
        }
      }};
      ASSERT_TRUE(comes_true([&] { return thread != 0; }));
      ASSERT_TRUE(wait_for_state(thread, 'S'));
      more = step(receiver, count);
      receiver.kill(SIGKILL);
      static_cast<void>(receiver.wait());
    }
    if (!more) break;
  }
}

// --- Nonsense in the shared memory ---

struct Freed {
  void operator()(void* memory) const { std::free(memory); }
};

// A wake-up that comes when the sleeper is up already stays in the socket, and descriptors come behind it.
TEST(Lane, DescriptorsComeBehindWakeUpsThatNobodyNeeded) {
  auto [mine, theirs] = make_socket_pair("testing");
  LaneSocket sender{std::move(mine)};
  LaneSocket receiver{std::move(theirs)};
  LaneSocket::Bell bell{0};
  for (int i = 0; i < 2; ++i) {
    LaneSocket::arm(bell);
    sender.ring(bell);
    LaneSocket::disarm(bell);
  }
  const int number = STDERR_FILENO;
  sender.send_descriptors(5, {&number, 1});
  EXPECT_EQ(receiver.take_descriptors(5, 1).size(), 1U);
}

// The system says so in another way when the other side had not read all.
TEST(Lane, DescriptorsForNobodyAreABrokenPipe) {
  for (const bool all_is_read : {true, false}) {
    auto [mine, theirs] = make_socket_pair("testing");
    LaneSocket sender{std::move(mine)};
    const int number = STDERR_FILENO;
    if (!all_is_read) sender.send_descriptors(4, {&number, 1});
    theirs.reset();
    try {
      sender.send_descriptors(5, {&number, 1});
      ADD_FAILURE() << "no error";
    } catch (const OSError& error) {
      EXPECT_EQ(error.errno_value(), EPIPE);
    }
  }
}

class DamagedLane : public testing::Test {
 protected:
  void SetUp() override { std::memset(data_.get(), 0, lane_bytes); }

  /// What reading one message ends with: "message", "end" or "error".
  std::string read() {
    auto [here, there] = make_socket_pair("testing");
    there.reset();
    LaneReader reader{&control_, data_.get(), std::move(here)};
    std::vector<std::byte> bytes;
    std::vector<FileDescriptor> descriptors;
    Presence presence;
    try {
      return reader.read(bytes, std::nullopt, descriptors, presence) ? "message" : "too long";
    } catch (const EOFError&) {
      return "end";
    } catch (const OSError&) {
      return "error";
    }
  }
  void put_header(std::uint64_t bytes, std::uint32_t num_descriptors) {
    std::memcpy(data_.get(), &bytes, sizeof bytes);
    std::memcpy(data_.get() + 8, &num_descriptors, sizeof num_descriptors);
  }

  LaneControl control_{};
  std::unique_ptr<std::byte, Freed> data_{static_cast<std::byte*>(std::aligned_alloc(4096, lane_bytes))};
};

TEST_F(DamagedLane, PositionsThatCannotBeAreErrors) {
  EXPECT_EQ(read(), "end");
  for (const std::uint64_t tail : {std::uint64_t{1}, std::uint64_t{15}, std::uint64_t{lane_bytes + 1},
                                   std::uint64_t{1} << 63, ~std::uint64_t{0}}) {
    control_.tail = tail;
    EXPECT_EQ(read(), "error") << tail;
  }
  control_.tail = 128;
  control_.head = 8;
  EXPECT_EQ(read(), "error");
  control_.head = 64;
  EXPECT_EQ(read(), "message");
  control_.reading_until = 1000;
  control_.tail = 256;
  EXPECT_EQ(read(), "error");
}

TEST_F(DamagedLane, SizesThatCannotBeAreErrors) {
  for (const std::uint64_t bytes : {std::uint64_t{49}, std::uint64_t{lane_bytes}, std::uint64_t{1} << 40,
                                    std::uint64_t{1} << 62, ~std::uint64_t{0}}) {
    control_.head = 0;
    control_.reading_until = 0;
    control_.tail = 64;
    put_header(bytes, 0);
    EXPECT_EQ(read(), "error") << bytes;
  }
  control_.head = 0;
  control_.reading_until = 0;
  put_header(5, 1000);
  EXPECT_EQ(read(), "error");
}

TEST_F(DamagedLane, AReaderGoneMadIsAFullPipe) {
  auto [here, there] = make_socket_pair("testing");
  control_.head = 1000;  // beyond what was written
  LaneWriter writer{&control_, data_.get(), std::move(here)};
  there.reset();
  Presence presence;
  const std::string text = "hello";
  const Piece piece = std::as_bytes(std::span(text));
  EXPECT_THROW(writer.write({&piece, 1}, {}, presence), OSError);
}

}  // namespace
