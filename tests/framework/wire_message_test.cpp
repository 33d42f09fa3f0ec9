#include <troupe/codec.hpp>
#include <troupe/error.hpp>
#include <troupe/task_call.hpp>
#include <troupe/wire/task.capnp.h>
#include <troupe/wire_message.hpp>

#include "shared_ring.hpp"

#include <capnp/any.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace troupe {
namespace {

constexpr std::size_t first_words_given = 64;

/// A message as it is written, sent and read.
struct Message {
  explicit Message(Arena& its_arena) : arena(its_arena), writer(first, arena) {}

  wire::Value::Builder root() { return writer.initRoot<wire::Value>(); }
  /// Completes it: what travels in a frame.
  void send() {
    const auto used = writer.first_words();
    words.assign(used.begin(), used.end());
    segments = writer.take_segments();
  }
  /// Decodes what `send` took.
  template <class T>
  T receive() const {
    const ArenaView view{arena.file(), true};
    MessageReader reader{words, segments, &view};
    return decode<T>(reader.root<wire::Value>());
  }

  Arena& arena;
  std::vector<std::uint64_t> first = std::vector<std::uint64_t>(first_words_given);
  MessageWriter writer;
  std::vector<std::uint64_t> words;
  std::vector<SegmentRef> segments;
};

/// An arena whose free blocks are full of old data.
struct DirtyArena {
  DirtyArena() {
    std::vector<std::uint64_t> tickets;
    for (std::size_t bytes = 64 * 1024; bytes <= 8 * 1024 * 1024; bytes *= 2) {
      for (int i = 0; i < 4; ++i) {
        const auto block = arena.allocate(bytes, false);
        std::memset(block.data, 0xff, block.bytes);
        tickets.push_back(block.segment.ticket);
      }
    }
    for (const auto ticket : tickets) arena.release(ticket);
  }
  Arena arena{"dirty"};
};

TEST(MessageWriter, KeepsSmallMessagesInTheFirstSegment) {
  Arena arena{"arena"};
  Message message{arena};
  encode(std::string("small"), message.root());
  EXPECT_TRUE(message.writer.is_single());
  message.send();
  EXPECT_LE(message.words.size(), 8U);
  EXPECT_TRUE(message.segments.empty());
  EXPECT_EQ(message.receive<std::string>(), "small");
  EXPECT_EQ(arena.num_blocks_out(), 0U);
}

TEST(MessageWriter, PutsWhatDoesNotFitIntoAFewSharedBlocks) {
  Arena arena{"arena"};
  Message message{arena};
  std::vector<std::string> texts;
  for (int i = 0; i < 20'000; ++i) texts.push_back("text number " + std::to_string(i));
  encode(texts, message.root());
  EXPECT_FALSE(message.writer.is_single());
  message.send();
  EXPECT_LE(message.words.size(), first_words_given);
  EXPECT_GE(message.segments.size(), 2U);
  EXPECT_LE(message.segments.size(), 10U);
  EXPECT_EQ(message.receive<std::vector<std::string>>(), texts);
}

// A large list is copied once into memory that nobody cleared; around it, and behind its last item, nothing old shows.
TEST(MessageWriter, BlocksThatWereNotClearedHoldWhatWasWritten) {
  DirtyArena dirty;
  using Value = std::tuple<std::vector<double>, std::string, std::vector<std::byte>, std::vector<bool>,
                           std::vector<std::string>, std::string>;
  Value value;
  std::get<0>(value).resize(200'001);
  std::iota(std::get<0>(value).begin(), std::get<0>(value).end(), 0.5);
  std::get<1>(value) = std::string(100'003, 'x');
  std::get<2>(value).assign(70'001, std::byte{7});
  for (int i = 0; i < 600'001; ++i) std::get<3>(value).push_back(i % 3 == 0);
  std::get<4>(value).assign(5000, "between");
  std::get<5>(value) = std::string(300'000, '\0');
  for (int again = 0; again < 3; ++again) {
    Message message{dirty.arena};
    encode(value, message.root());
    message.send();
    EXPECT_EQ(message.receive<Value>(), value);
    const ArenaView view{dirty.arena.file(), true};
    for (const auto& segment : message.segments)
      EXPECT_EQ(std::ranges::count(view.words(segment), ~std::uint64_t{0}), 0) << "old data";
    for (const auto& segment : message.segments) dirty.arena.release(segment.ticket);
  }
}

TEST(MessageWriter, ClearsWhatStructsLieIn) {
  DirtyArena dirty;
  Message message{dirty.arena};
  auto list = message.root().initList(100'000);
  list[99'999].setInt64(5);
  message.send();
  const ArenaView view{dirty.arena.file(), true};
  MessageReader reader{message.words, message.segments, &view};
  const auto seen = reader.root<wire::Value>().getList();
  ASSERT_EQ(seen.size(), 100'000U);
  for (unsigned i = 0; i < 99'999; ++i) ASSERT_TRUE(seen[i].isNone()) << "item " << i;
  EXPECT_EQ(seen[99'999].getInt64(), 5);
}

// Each large list has a segment of its own only as long as the table of segments fits a frame.
TEST(MessageWriter, FitsAFrameWithAnyNumberOfBlobs) {
  Arena arena{"arena"};
  const test::SharedRing ring;
  constexpr std::size_t num_blobs = 1200;
  std::vector<std::vector<std::int32_t>> blobs;
  for (std::size_t i = 0; i < num_blobs; ++i) blobs.emplace_back(17'000, static_cast<std::int32_t>(i));
  Message message{arena};
  encode(blobs, message.root());
  message.send();
  EXPECT_GT(message.segments.size(), 512U);
  RingWriter writer = ring.writer();
  ASSERT_NE(writer.try_write(message.segments, message.words), nullptr);
  RingReader reader = ring.reader();
  Frame frame;
  ASSERT_EQ(reader.peek(frame), RingReader::Status::frame);
  EXPECT_LE(frame.bytes, max_frame_bytes);
  const ArenaView view{arena.file(), true};
  MessageReader received{frame.words, frame.segments, &view};
  EXPECT_EQ(decode<decltype(blobs)>(received.root<wire::Value>()), blobs);
}

TEST(MessageWriter, GivesBackTheBlocksOfAMessageThatIsNotSent) {
  Arena arena{"arena"};
  {
    Message message{arena};
    encode(std::vector<double>(100'000, 1.5), message.root());
    EXPECT_GE(arena.num_blocks_out(), 1U);
  }
  EXPECT_EQ(arena.num_blocks_out(), 0U);
  std::vector<SegmentRef> segments;
  {
    Message message{arena};
    encode(std::vector<double>(100'000, 1.5), message.root());
    message.send();
    segments = message.segments;
  }
  EXPECT_EQ(arena.num_blocks_out(), segments.size());
}

TEST(MessageWriter, LetsTheArenasErrorsThroughAndLeavesNothingBehind) {
  Arena arena{"arena", 1000};
  for (int i = 1; i < 1000; ++i) static_cast<void>(arena.allocate(8, false));
  const std::vector<std::vector<double>> two(2, std::vector<double>(10'000));
  for (int again = 0; again < 3; ++again) {
    Message message{arena};
    EXPECT_THROW(encode(two, message.root()), Full);
  }
  EXPECT_EQ(arena.num_blocks_out(), 999U);
  Message message{arena};
  EXPECT_NO_THROW(encode(two[0], message.root()));
}

TEST(MessageReader, RefusesSegmentsThatItCannotReach) {
  Arena arena{"arena"};
  const ArenaView view{arena.file(), false};
  const std::vector<std::uint64_t> words(4);
  const std::vector<SegmentRef> good{{arena_table_bytes, 1, 0}};
  EXPECT_NO_THROW((MessageReader{words, good, &view}));
  EXPECT_THROW((MessageReader{words, good, nullptr}), CodecError);
  const std::vector<SegmentRef> bad{{arena_table_bytes, 1, 0}, {arena_bytes, 1, 0}};
  EXPECT_THROW((MessageReader{words, bad, &view}), CodecError);
}

TEST(MessageReader, FindsNothingInAnEmptyMessage) {
  MessageReader reader{{}, {}, nullptr};
  EXPECT_THROW(static_cast<void>(reader.root<wire::Task>()), kj::Exception);
  const std::vector<std::uint64_t> zero(1);
  MessageReader null_root{zero, {}, nullptr};
  EXPECT_EQ(null_root.root<wire::Task>().getId(), 0U);
}

// A pool does not open results, so what is wrong with one is found by who asks for the value.
TEST(MessageReader, ResultsWhoseValueCannotBeReadEndInACodecError) {
  constexpr std::uint64_t root_of_a_word_and_a_pointer = (1ULL << 48U) | (1ULL << 32U);
  constexpr std::uint64_t far_outside = (1ULL << 48U) | (1ULL << 32U) | (1000U << 2U);
  for (const std::uint64_t which : {0U, 1U}) {
    const std::vector<std::uint64_t> words{root_of_a_word_and_a_pointer, which, far_outside};
    MessageReader reader{words, {}, nullptr};
    EXPECT_EQ(reader.root<wire::Result>().isFailure(), which == 1);
    EXPECT_THROW(decode_result<void>(reader), CodecError);
    EXPECT_THROW(decode_result<int>(reader), CodecError);
    EXPECT_THROW(decode_result<std::string>(reader), CodecError);
    std::vector<int> items;
    EXPECT_THROW(decode_chunk_result(reader, items), CodecError);
  }
}

// Eight kilobytes that claim to be eight megabytes: every pointer names the same bytes.
TEST(MessageReader, BoundsTheWorkThatPointersToTheSamePlaceCause) {
  constexpr std::uint64_t num_pointers = 1000;
  constexpr std::uint64_t blob_words = 1000;
  const auto list_pointer = [](std::uint64_t offset, std::uint64_t count, std::uint64_t element) {
    return (((count << 3U) | element) << 32U) | (offset << 2U) | 1U;
  };
  std::vector<std::uint64_t> words{list_pointer(0, num_pointers, 6)};
  for (std::uint64_t i = 0; i < num_pointers; ++i)
    words.push_back(list_pointer(num_pointers - i - 1, blob_words * 8, 2));
  words.resize(words.size() + blob_words);
  MessageReader reader{words, {}, nullptr};
  const auto list = reader.root<capnp::AnyPointer>().getAs<capnp::List<capnp::Data>>();
  unsigned num_read = 0;
  EXPECT_THROW(
      {
        for (; num_read < list.size(); ++num_read) static_cast<void>(list[num_read]);
      },
      kj::Exception);
  EXPECT_GT(num_read, 8U);
  EXPECT_LT(num_read, 100U);
}

bool is_clear(std::span<const std::uint64_t> words) {
  return std::ranges::all_of(words, [](std::uint64_t word) { return word == 0; });
}

TEST(Scratch, IsClearAtEveryUse) {
  for (const std::size_t used : {std::size_t{1}, std::size_t{100}, Scratch::num_words}) {
    Scratch scratch;
    ASSERT_TRUE(is_clear(scratch.words()));
    std::fill_n(scratch.words().begin(), used, 5);
    scratch.set_used(used);
  }
  {
    Scratch scratch;
    std::ranges::fill(scratch.words(), 6);  // and not told how much
  }
  try {
    Scratch scratch;
    std::ranges::fill(scratch.words(), 7);
    throw std::runtime_error("in between");
  } catch (const std::runtime_error&) {
  }
  Scratch scratch;
  EXPECT_TRUE(is_clear(scratch.words()));
}

TEST(Scratch, IsTheSameMemoryEachTimeOnOneThread) {
  const auto* first = Scratch{}.words().data();
  EXPECT_EQ(Scratch{}.words().data(), first);
  std::thread other{[&] { EXPECT_NE(Scratch{}.words().data(), first); }};
  other.join();
}

TEST(Scratch, NestedUsesHaveTheirOwn) {
  Scratch outer;
  std::ranges::fill(outer.words(), 1);
  for (int again = 0; again < 2; ++again) {
    Scratch inner;
    ASSERT_NE(inner.words().data(), outer.words().data());
    EXPECT_TRUE(is_clear(inner.words()));
    std::ranges::fill(inner.words(), 2);
    Scratch innermost;
    EXPECT_TRUE(is_clear(innermost.words()));
    std::ranges::fill(innermost.words(), 3);
  }
  EXPECT_TRUE(std::ranges::all_of(outer.words(), [](std::uint64_t word) { return word == 1; }));
}

}  // namespace
}  // namespace troupe
