#include <troupe/ring.hpp>

#include "../support/forked.hpp"
#include "../support/one_piece.hpp"
#include "shared_ring.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <random>
#include <vector>

namespace troupe {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;
using Status = RingReader::Status;
using test::Forked;
using test::max_words;
using test::patience;
using test::rounds;
using test::Sample;
using test::SharedRing;

TEST(Ring, IsEmptyAtFirst) {
  const SharedRing ring;
  RingReader reader = ring.reader();
  Frame frame;
  EXPECT_EQ(reader.peek(frame), Status::empty);
  EXPECT_FALSE(reader.has_data());
  EXPECT_TRUE(ring.writer().is_drained());
}

TEST(Ring, GivesBackWhatWasWrittenUntilItIsPopped) {
  const SharedRing ring;
  RingWriter writer = ring.writer();
  RingReader reader = ring.reader();
  const std::array<std::uint64_t, 3> words{1, 2, 3};
  const std::array<SegmentRef, 2> segments{SegmentRef{64, 5, 7}, SegmentRef{128, 6, 8}};
  FrameHeader* header =
      writer.try_write(segments, words, {.task = 4, .busy = FrameNote::longest, .failed = 1});
  ASSERT_NE(header, nullptr);
  EXPECT_EQ(header->state, static_cast<std::uint32_t>(FrameState::queued));
  EXPECT_FALSE(writer.is_drained());
  Frame frame;
  for (int look = 0; look < 2; ++look) {
    ASSERT_EQ(reader.peek(frame), Status::frame);
    EXPECT_EQ(frame.header, header);
    EXPECT_EQ(frame.header->note.task, 4U);
    EXPECT_EQ(frame.header->note.busy, FrameNote::longest);
    EXPECT_EQ(frame.header->note.failed, 1U);
    EXPECT_TRUE(std::ranges::equal(frame.words, words));
    ASSERT_EQ(frame.segments.size(), 2U);
    EXPECT_EQ(frame.segments[1].ticket, 8U);
  }
  EXPECT_EQ(frame.bytes, frame_bytes(3, 2));
  reader.pop(frame);
  EXPECT_EQ(reader.peek(frame), Status::empty);
  EXPECT_TRUE(writer.is_drained());
}

// A frame that begins near the end of the ring's memory is built and read in one piece.
TEST(Ring, WrapsAroundAnywhere) {
  const SharedRing ring;
  RingWriter writer = ring.writer();
  RingReader reader = ring.reader();
  Sample sample;
  std::uint64_t written = 0;
  for (std::uint64_t number = 0; written < 20 * ring_bytes; ++number) {
    sample.make(number * 31);
    ASSERT_NE(writer.try_write(sample.segments, sample.words), nullptr);
    Frame frame;
    ASSERT_EQ(reader.peek(frame), Status::frame);
    ASSERT_TRUE(sample.is_in(frame)) << "frame " << number;
    written += frame.bytes;
    reader.pop(frame);
  }
}

TEST(Ring, FullMeansFullAndLosesNothing) {
  const SharedRing ring;
  RingWriter writer = ring.writer();
  RingReader reader = ring.reader();
  std::uint64_t written = 0;
  const auto try_write = [&] { return writer.try_write({}, std::array{written}) != nullptr; };
  while (try_write()) ++written;
  EXPECT_EQ(written, ring_bytes / frame_bytes(1, 0));
  EXPECT_FALSE(try_write());
  Frame frame;
  ASSERT_EQ(reader.peek(frame), Status::frame);
  reader.pop(frame);
  ASSERT_TRUE(try_write());
  ++written;
  EXPECT_FALSE(try_write());
  for (std::uint64_t expected = 1; expected < written; ++expected) {
    ASSERT_EQ(reader.peek(frame), Status::frame);
    ASSERT_EQ(frame.words[0], expected);
    reader.pop(frame);
  }
  EXPECT_EQ(reader.peek(frame), Status::empty);
}

TEST(Ring, FramesCrossBetweenProcessesInOrderAndWhole) {
  const SharedRing ring;
  const auto num_frames = static_cast<std::uint64_t>(rounds(2'000'000));
  Forked sender{[&] {
    RingWriter writer = ring.writer();
    Sample sample;
    for (std::uint64_t number = 0; number < num_frames; ++number) {
      sample.make(number);
      test::write(writer, sample);
    }
  }};
  RingReader reader = ring.reader();
  Sample expected;
  Frame frame;
  for (std::uint64_t number = 0; number < num_frames; ++number) {
    reader.wait_for_data(steady_clock::now() + patience);
    ASSERT_EQ(reader.peek(frame), Status::frame) << "frame " << number;
    expected.make(number);
    ASSERT_TRUE(expected.is_in(frame)) << "frame " << number;
    reader.pop(frame);
  }
  EXPECT_EQ(sender.wait(), 0);
  EXPECT_EQ(reader.peek(frame), Status::empty);
}

TEST(Ring, WaitsEndAtTheDeadline) {
  const SharedRing ring;
  RingWriter writer = ring.writer();
  RingReader reader = ring.reader();
  auto deadline = steady_clock::now() + 5ms;
  reader.wait_for_data(deadline);
  EXPECT_GE(steady_clock::now(), deadline);
  EXPECT_FALSE(RingReader::sleeps(*ring.control));
  while (writer.try_write({}, {}) != nullptr) {
  }
  deadline = steady_clock::now() + 5ms;
  writer.wait_for_room(64, deadline);
  EXPECT_GE(steady_clock::now(), deadline);
  reader.wait_for_data(Deadline{});  // there is some: returns
  Frame frame;
  ASSERT_EQ(reader.peek(frame), Status::frame);
  reader.pop(frame);
  writer.wait_for_room(64, Deadline::min());
  EXPECT_NE(writer.try_write({}, {}), nullptr);
}

// A reader that goes to sleep just when the frame comes must wake up, whatever else the processors do.
TEST(Ring, NoWakeUpIsLost) {
  const auto busy = [] {
    const sched_param none{};
    ::sched_setscheduler(0, SCHED_IDLE, &none);
    for (;;) test::busy_pause(1000);
  };
  Forked one_busy{busy};
  Forked another_busy{busy};
  const SharedRing there;
  const SharedRing back;
  const auto turns = static_cast<std::uint64_t>(rounds(200'000));
  const auto take = [](RingReader& reader, std::uint64_t expected) {
    reader.wait_for_data(steady_clock::now() + patience);
    Frame frame;
    if (reader.peek(frame) != Status::frame || frame.words[0] != expected) return false;
    reader.pop(frame);
    return true;
  };
  const auto give = [](RingWriter& writer, std::uint64_t number) {
    static_cast<void>(writer.try_write({}, std::array{number}));
    writer.ring();
  };
  Forked echo{[&] {
    RingReader reader = there.reader();
    RingWriter writer = back.writer();
    std::minstd_rand random{7};
    for (std::uint64_t turn = 0; turn < turns; ++turn) {
      ASSERT_TRUE(take(reader, turn)) << "turn " << turn;
      test::busy_pause(random() % 4096);
      give(writer, turn);
    }
  }};
  RingReader reader = back.reader();
  RingWriter writer = there.writer();
  std::minstd_rand random{11};
  for (std::uint64_t turn = 0; turn < turns; ++turn) {
    give(writer, turn);
    test::busy_pause(random() % 4096);
    ASSERT_TRUE(take(reader, turn)) << "turn " << turn;
  }
  EXPECT_EQ(echo.wait(), 0);
}

// The same for a writer that waits for room, with a reader that is slow and one that is quick.
TEST(Ring, NoRoomIsLost) {
  const SharedRing ring;
  const auto num_frames = static_cast<std::uint64_t>(rounds(20'000));
  const std::vector<std::uint64_t> words(max_words / 2, 5);
  Forked sender{[&] {
    RingWriter writer = ring.writer();
    for (std::uint64_t number = 0; number < num_frames; ++number) {
      writer.wait_for_room(frame_bytes(words.size(), 0), steady_clock::now() + patience);
      ASSERT_NE(writer.try_write({}, words), nullptr) << "frame " << number;
      writer.ring();
    }
  }};
  RingReader reader = ring.reader();
  Frame frame;
  std::minstd_rand random{3};
  for (std::uint64_t number = 0; number < num_frames; ++number) {
    reader.wait_for_data(steady_clock::now() + patience);
    ASSERT_EQ(reader.peek(frame), Status::frame) << "frame " << number;
    test::busy_pause(random() % 8192);
    reader.pop(frame);
  }
  EXPECT_EQ(sender.wait(), 0);
}

// The supervisor takes a task back, or the worker begins it; never both, never neither.
TEST(Ring, ExactlyOneSideWinsAFrame) {
  const SharedRing ring;
  constexpr std::size_t num_frames = ring_bytes / 64;
  struct Board {
    std::atomic<int> round;
    std::array<bool, num_frames> won;
  };
  const FileDescriptor file = create_memory_file("a board", 64 * 1024);
  const Mapping page{file.get(), 0, 64 * 1024, Mapping::Access::read_write, "a board"};
  auto& board = *reinterpret_cast<Board*>(page.data());
  const int num_rounds = rounds(200);
  const auto take = [&](std::size_t i, FrameState wanted) {
    auto* header = reinterpret_cast<FrameHeader*>(ring.data.data() + i * 64);
    auto state = static_cast<std::uint32_t>(FrameState::queued);
    return header->state.compare_exchange_strong(state, static_cast<std::uint32_t>(wanted));
  };
  const auto wait_for = [&](int round) {
    while (board.round.load() < round) ::sched_yield();
  };
  Forked worker{[&] {
    for (int round = 0; round < num_rounds; ++round) {
      wait_for(2 * round + 1);
      for (std::size_t i = 0; i < num_frames; ++i) board.won[i] = take(i, FrameState::running);
      board.round.fetch_add(1);
    }
  }};
  std::array<std::size_t, 2> wins{};
  for (int round = 0; round < num_rounds; ++round) {
    for (std::size_t i = 0; i < num_frames; ++i)
      new (ring.data.data() + i * 64) FrameHeader{.words = 0, .state{1}, .segments = 0, .stop{0}, .note{}};
    std::array<bool, num_frames> revoked{};
    board.round.fetch_add(1);
    for (std::size_t i = 0; i < num_frames; ++i) revoked[i] = take(i, FrameState::revoked);
    wait_for(2 * round + 2);
    for (std::size_t i = 0; i < num_frames; ++i) {
      ASSERT_NE(revoked[i], board.won[i]) << "frame " << i;
      ++wins[revoked[i] ? 0 : 1];
    }
  }
  EXPECT_EQ(worker.wait(), 0);
  EXPECT_EQ(wins[0] + wins[1], num_frames * static_cast<std::size_t>(num_rounds));
}

}  // namespace
}  // namespace troupe
