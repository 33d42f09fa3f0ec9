// What a ring does when the other side was killed or has gone mad.

#include <troupe/ring.hpp>

#include "../support/forked.hpp"
#include "../support/one_piece.hpp"
#include "shared_ring.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <utility>

namespace troupe {
namespace {

using std::chrono::steady_clock;
using Status = RingReader::Status;
using test::Forked;
using test::max_segments;
using test::max_words;
using test::OnOneProcessor;
using test::patience;
using test::rounds;
using test::Sample;
using test::SharedRing;
using test::Stepped;

// A ring in memory that ends where the second mapping does, so that a sanitizer sees every step beyond.
class DamagedRing : public testing::Test {
 protected:
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };

  void put_header(std::size_t at, std::uint32_t words, std::uint32_t segments) {
    FrameHeader header;
    header.words = words;
    header.segments = segments;
    std::memcpy(data_.get() + at, static_cast<void*>(&header), sizeof header);
  }
  Status look() {
    RingReader reader{&control_, data_.get()};
    Frame frame;
    const Status status = reader.peek(frame);
    if (status != Status::frame) return status;
    std::uint64_t sum = 0;  // reads everything that the frame names
    for (const std::uint64_t word : frame.words) sum += word;
    for (const SegmentRef& segment : frame.segments) sum += segment.offset;
    last_sum_ = sum;
    return status;
  }

  RingControl control_{};
  std::unique_ptr<std::byte, Free> data_{static_cast<std::byte*>(std::aligned_alloc(4096, 2 * ring_bytes))};
  volatile std::uint64_t last_sum_ = 0;
};

TEST_F(DamagedRing, PositionsThatCannotBeAreCorrupt) {
  std::memset(data_.get(), 0, 2 * ring_bytes);
  control_.head = 1024;
  for (const std::uint64_t tail : {std::uint64_t{0}, std::uint64_t{960}, std::uint64_t{1023}, std::uint64_t{1025},
                                   std::uint64_t{1039}, std::uint64_t{1040}, 1024 + ring_bytes + 1,
                                   2 * ring_bytes + 1024, std::uint64_t{1} << 63U, ~std::uint64_t{0}}) {
    control_.tail = tail;
    EXPECT_EQ(look(), Status::corrupt) << "tail " << tail;
  }
  control_.tail = 1024 + 64;
  EXPECT_EQ(look(), Status::frame);
  for (const std::uint64_t head : {std::uint64_t{1}, std::uint64_t{8}, ring_bytes - 1, ~std::uint64_t{0} - 70}) {
    control_.head = head;
    control_.tail = head + 128;
    EXPECT_EQ(look(), Status::corrupt) << "head " << head;
  }
}

TEST_F(DamagedRing, SizesThatCannotBeAreCorrupt) {
  std::memset(data_.get(), 0, 2 * ring_bytes);
  constexpr auto most_words = static_cast<std::uint32_t>(max_words);
  constexpr auto most_segments = static_cast<std::uint32_t>(max_segments);
  for (const std::size_t head : {std::size_t{0}, std::size_t{64}, ring_bytes - 64}) {
    control_.head = head;
    control_.tail = head + ring_bytes;
    for (const auto& [words, segments] : {std::pair{most_words + 1, 0U}, {0U, most_segments + 1}, {~0U, 0U},
                                          {0U, ~0U}, {~0U, ~0U}, {0x80000000U, 0x80000000U}}) {
      put_header(head, words, segments);
      EXPECT_EQ(look(), Status::corrupt) << words << " words, " << segments << " segments";
    }
    put_header(head, most_words, most_segments);
    EXPECT_EQ(look(), Status::frame);
    control_.tail = head + 128;
    EXPECT_EQ(look(), Status::corrupt) << "a frame beyond the tail";
    put_header(head, (128 - sizeof(FrameHeader)) / 8, 0);
    EXPECT_EQ(look(), Status::frame);
    put_header(head, (128 - sizeof(FrameHeader)) / 8 + 1, 0);
    EXPECT_EQ(look(), Status::corrupt) << "a word beyond the tail";
  }
}

TEST_F(DamagedRing, AHeadBeyondTheTailIsAFullRing) {
  RingWriter writer{&control_, data_.get()};
  while (writer.try_write({}, {}) != nullptr) {
  }
  for (const std::uint64_t head : {ring_bytes + 64, ring_bytes + 4096, 3 * ring_bytes, ~std::uint64_t{0}}) {
    control_.head = head;
    for (int again = 0; again < 3; ++again) {
      EXPECT_EQ(writer.try_write({}, {}), nullptr) << "head " << head;
      EXPECT_EQ(writer.try_reserve(max_frame_bytes), nullptr) << "head " << head;
    }
  }
  control_.head = 64;
  EXPECT_NE(writer.try_write({}, {}), nullptr);
}

TEST(RingFaults, AWriterStoppedAtAnyInstructionHasWrittenAllOfAFrameOrNothing) {
  const OnOneProcessor quick;
  const SharedRing ring;
  Sample sample;
  for (std::uint64_t number = 0; sample.words.size() < 5 || sample.segments.empty(); ++number) sample.make(number);
  Stepped sender{[&] {
    RingWriter writer = ring.writer();
    static_cast<void>(writer.try_write(sample.segments, sample.words));
    writer.ring();
  }};
  if (!sender.is_traced()) GTEST_SKIP() << "processes may not be traced here";
  for (int steps_after = 0; steps_after < 50;) {
    ASSERT_TRUE(sender.step());
    RingReader reader = ring.reader();
    Frame frame;
    const Status status = reader.peek(frame);
    if (status == Status::frame) {
      ASSERT_TRUE(sample.is_in(frame));
      ++steps_after;
    } else {
      ASSERT_EQ(status, Status::empty);
      ASSERT_EQ(steps_after, 0);
    }
  }
}

// Each writer goes on where the one before was killed, as a worker's replacement might.
TEST(RingFaults, SurvivesWritersKilledAtRandom) {
  const SharedRing ring;
  RingReader reader = ring.reader();
  Sample expected;
  Frame frame;
  std::uint64_t next = 0;
  std::minstd_rand random{17};
  for (int round = 0; round < rounds(300); ++round) {
    Forked sender{[&, first = next] {
      RingWriter writer = ring.writer();
      Sample sample;
      for (std::uint64_t number = first;; ++number) {
        sample.make(number);
        test::write(writer, sample);
      }
    }};
    const auto take_all = [&] {
      while (reader.peek(frame) == Status::frame) {
        expected.make(next);
        ASSERT_TRUE(expected.is_in(frame)) << "frame " << next;
        reader.pop(frame);
        ++next;
      }
    };
    reader.wait_for_data(steady_clock::now() + patience);
    for (auto looks = random() % 200; looks > 0; --looks) ASSERT_NO_FATAL_FAILURE(take_all());
    sender.kill(SIGKILL);
    EXPECT_EQ(sender.wait(), -SIGKILL);
    ASSERT_NO_FATAL_FAILURE(take_all());
    ASSERT_EQ(reader.peek(frame), Status::empty) << "round " << round;
  }
  EXPECT_GT(next, 0U);
}

}  // namespace
}  // namespace troupe
