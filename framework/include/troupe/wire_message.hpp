#pragma once

/// \file
/// Building and reading one Cap'n Proto message in a ring's frame and an arena. Part of the codec's headers: its
/// templates see the builders.

#include <troupe/arena.hpp>
#include <troupe/message.hpp>
#include <troupe/ring.hpp>

#include <capnp/message.h>

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace troupe {

/// A message builder whose first segment is given memory (a ring, or a thread's scratch) and whose further segments
/// are blocks of an arena. A packed list that is copied in whole gets a block of its own size, not cleared before.
/// Thread: caller. The blocks belong to the writer until `take_segments`.
class MessageWriter final : public capnp::MessageBuilder {
 public:
  /// `first` must be cleared and stay valid as long as this object.
  MessageWriter(std::span<std::uint64_t> first, Arena& arena) noexcept : first_(first), arena_(&arena) {}
  ~MessageWriter() noexcept(false) override;

  kj::ArrayPtr<capnp::word> allocateSegment(unsigned minimum_words) override;

  /// The words of the first segment that are in use. Call after the message is complete.
  std::span<const std::uint64_t> first_words();
  /// The further segments as they go into a frame. Call after the message is complete; from then on the blocks belong
  /// to the caller.
  std::vector<SegmentRef> take_segments();
  /// Whether everything fits the first segment.
  bool is_single() const noexcept { return blocks_.empty(); }

 private:
  std::span<std::uint64_t> first_;
  bool first_given_ = false;
  Arena* arena_;
  std::size_t next_words_ = 2 * 1024;  // size of the next block that many small objects share
  std::vector<Arena::Block> blocks_;
};

/// Reads a message in place. Cap'n Proto checks every pointer against the segments; `traversal` bounds the work that
/// pointers to the same place could cause. Thread: caller. Valid while frame and arena are.
class MessageReader {
 public:
  /// Errors: CodecError when a segment lies outside `arena` or there are segments and no arena.
  MessageReader(std::span<const std::uint64_t> words, std::span<const SegmentRef> segments, const ArenaView* arena);

  template <class T>
  typename T::Reader root() {
    return reader_.getRoot<T>();
  }

 private:
  using Segment = kj::ArrayPtr<const capnp::word>;
  kj::ArrayPtr<const Segment> fill(std::span<const std::uint64_t> words, std::span<const SegmentRef> segments,
                                   const ArenaView* arena);
  static capnp::ReaderOptions limits(std::size_t words, std::span<const SegmentRef> segments);

  Segment first_;
  std::vector<Segment> all_;  // used when there is more than the first
  capnp::SegmentArrayMessageReader reader_;
};

/// The memory in which this thread builds small messages: cleared before and after each use.
/// Thread: caller. Nested uses (an encoder that submits a task itself) get memory of their own.
class Scratch {
 public:
  static constexpr std::size_t num_words = 1024;

  Scratch();
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  std::span<std::uint64_t> words() noexcept { return words_; }
  /// Tells how much of it was used, so that only that much is cleared. Not told: all of it.
  void set_used(std::size_t words) noexcept { used_ = words; }

 private:
  std::span<std::uint64_t> words_;
  std::size_t used_ = num_words;
  bool from_thread_;
};

}  // namespace troupe
