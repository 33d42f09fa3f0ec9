#pragma once

/// \file
/// One direction of a channel: a ring of frames in shared memory, one writer process, one reader process.
///
/// A frame is a header, a table of segments that lie in an arena, and the words of the message's first segment. The
/// ring's memory is mapped twice in a row, so a frame never wraps and is built and read in place. Nothing read from
/// the ring is trusted: positions and sizes are checked before use, and a writer that went mad costs its own channel.

#include <troupe/bell.hpp>
#include <troupe/file_descriptor.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace troupe {

/// How far a frame has come. Only the transitions named in docs/semantics.md "Tasks" happen, all by compare-and-swap.
enum class FrameState : std::uint32_t { queued = 1, running = 2, done = 3, revoked = 4 };

/// A message segment that lies in an arena instead of the ring.
struct SegmentRef {
  std::uint64_t offset = 0;  ///< bytes from the start of the arena
  std::uint64_t words = 0;   ///< length in words of 8 bytes
  std::uint64_t ticket = 0;  ///< names the block when it is given back
};

/// What a frame says of itself, for a reader who would not open its message for that. Results have one.
struct FrameNote {
  static constexpr std::uint64_t longest = ~std::uint64_t{0} >> 1U;
  std::uint64_t task = 0;        ///< id of the task that this is the result of
  std::uint64_t busy : 63 = 0;   ///< nanoseconds that it ran, on the worker's monotonic clock
  std::uint64_t failed : 1 = 0;  ///< whether the result is a failure
};

/// Starts every frame. 32 bytes, followed by `segments` SegmentRefs, followed by `words` words.
struct FrameHeader {
  std::uint32_t words = 0;
  std::atomic<std::uint32_t> state{0};
  std::uint32_t segments = 0;
  std::atomic<std::uint32_t> stop{0};  ///< set when the frame's work is not wanted any more
  FrameNote note;
};
static_assert(sizeof(FrameHeader) == 32 && sizeof(SegmentRef) == 24);

/// The part of a ring that both sides write: positions and who sleeps. Lies in shared memory, zero at first.
struct RingControl {
  alignas(64) std::atomic<std::uint64_t> head;  ///< bytes read so far; written by the reader
  alignas(64) std::atomic<std::uint64_t> tail;  ///< bytes written so far; written by the writer
  alignas(64) Bell::Word data_bell;             ///< armed by a reader that found the ring empty
  alignas(64) Bell::Word room_bell;             ///< armed by a writer that found the ring full
};

/// Largest frame. Longer messages keep their first segment here and the rest in an arena.
inline constexpr std::size_t max_frame_bytes = 64 * 1024;
/// Bytes of one ring; holds four of the largest frames, and a few thousand small tasks.
inline constexpr std::size_t ring_bytes = 256 * 1024;

/// A frame as its reader sees it; valid until it is popped.
struct Frame {
  FrameHeader* header = nullptr;
  std::span<const SegmentRef> segments;
  std::span<const std::uint64_t> words;
  std::size_t bytes = 0;  ///< the whole frame
};

/// Frames start at cache lines, so that the two sides never write to the same one.
inline constexpr std::size_t frame_alignment = 64;

/// Bytes that a frame takes in the ring.
constexpr std::size_t frame_bytes(std::size_t words, std::size_t segments) {
  return (sizeof(FrameHeader) + segments * sizeof(SegmentRef) + words * sizeof(std::uint64_t) + frame_alignment - 1) /
         frame_alignment * frame_alignment;
}

/// The writing end. Thread: caller.
class RingWriter {
 public:
  RingWriter() = default;
  /// `data` is the doubly mapped memory of ring_bytes bytes. Goes on where the positions in `control` stand.
  RingWriter(RingControl* control, std::byte* data) noexcept
      : control_(control), data_(data), tail_(control->tail.load()), head_(control->head.load()) {}

  /// Where a frame of up to `bytes` may be built, null while there is no room. Never blocks.
  std::byte* try_reserve(std::size_t bytes) noexcept {
    if (tail_ + bytes - head_ > ring_bytes) {
      const std::uint64_t head = control_->head.load(std::memory_order_acquire);
      // A head beyond the tail is a reader gone mad; it counts as a full ring.
      if (head > tail_ || tail_ + bytes - head > ring_bytes) return nullptr;
      head_ = head;
    }
    return data_ + tail_ % ring_bytes;
  }
  /// Publishes the frame of `bytes` built at try_reserve's place. Does not ring.
  void commit(std::size_t bytes) noexcept {
    tail_ += bytes;
    control_->tail.store(tail_, std::memory_order_release);
  }
  /// Says once more what was published, to a reader that sleeps although there is something: others have written where
  /// they must not.
  void publish_again() noexcept {
    commit(0);
    ring();
  }
  /// Copies a complete frame into the ring; false while there is no room. Does not ring.
  FrameHeader* try_write(std::span<const SegmentRef> segments, std::span<const std::uint64_t> words,
                         FrameNote note = {}) noexcept;
  /// Wakes the reader if it sleeps.
  void ring() noexcept { Bell{&control_->data_bell}.ring(); }
  /// Blocks until the reader made room or `deadline` is over.
  void wait_for_room(std::size_t bytes, Deadline deadline) noexcept;
  /// Whether the reader has taken everything.
  bool is_drained() const noexcept { return control_->head.load(std::memory_order_acquire) == tail_; }

 private:
  RingControl* control_ = nullptr;
  std::byte* data_ = nullptr;
  std::uint64_t tail_ = 0;  // what control_->tail says
  std::uint64_t head_ = 0;  // what control_->head said when there last was room
};

/// The reading end. Thread: caller, but `has_data` is for any thread.
class RingReader {
 public:
  enum class Status : std::uint8_t { empty, frame, corrupt };

  RingReader() = default;
  RingReader(RingControl* control, std::byte* data) noexcept
      : control_(control), data_(data), head_(control->head.load()) {}

  /// Starts over with an empty ring, after both positions were set to 0.
  void rewind() noexcept { head_ = 0; }
  /// Looks at the oldest frame without taking it. Never blocks. `corrupt`: what is there cannot be a frame.
  Status peek(Frame& frame) noexcept;
  /// Gives the memory of the oldest frame back to the writer, and wakes it if it waits for room.
  void pop(const Frame& frame) noexcept;
  /// Whether something can be peeked at.
  bool has_data() const noexcept {
    return control_->tail.load(std::memory_order_acquire) != control_->head.load(std::memory_order_relaxed);
  }
  /// Sleeps until there is data or `deadline` is over. Blocks.
  void wait_for_data(Deadline deadline) noexcept;
  /// Whether the reader sleeps, as its writer sees it.
  static bool sleeps(const RingControl& control) noexcept {
    return control.data_bell.load(std::memory_order_relaxed) != 0;
  }

 private:
  RingControl* control_ = nullptr;
  std::byte* data_ = nullptr;
  std::uint64_t head_ = 0;  // what control_->head says
};

}  // namespace troupe
