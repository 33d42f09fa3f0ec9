#pragma once

/// \file
/// The frames of multiprocessing's streams: 4 bytes of length, big-endian and signed, then the payload; where the
/// length is beyond 2^31-1, -1 in its place and 8 bytes after it.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace troupe {

/// The bytes before a payload of that length.
struct FrameHead {
  std::array<std::byte, 12> bytes{};
  std::size_t size = 0;
  std::span<const std::byte> get() const noexcept { return std::span(bytes).first(size); }
};
FrameHead frame_head(std::uint64_t payload_bytes) noexcept;

/// Takes frames apart that come in pieces of any size, and never asks for more than one frame has. What it takes of
/// memory follows from what has come, not from the length that was announced. Thread: caller.
class FrameReader {
 public:
  enum class State : std::uint8_t {
    head,      ///< nothing of a frame has come
    inside,    ///< a part of a frame has come
    complete,  ///< `payload` has all of it
    too_long,  ///< longer than the given maximum; nothing more can be read
    garbage,   ///< this is no frame; nothing more can be read
  };

  /// Starts with the next frame, and reads its payload into `payload`.
  explicit FrameReader(std::vector<std::byte>& payload, std::optional<std::uint64_t> max_bytes = std::nullopt);

  State state() const noexcept { return state_; }
  /// Where the next bytes belong; never empty in head and inside.
  std::span<std::byte> room();
  /// Says that so many bytes of `room` have been filled.
  void advance(std::size_t bytes);

 private:
  void begin_payload(std::uint64_t bytes);

  std::vector<std::byte>* payload_;
  std::optional<std::uint64_t> max_bytes_;
  State state_ = State::head;
  std::array<std::byte, 12> head_{};
  std::size_t head_size_ = 4;
  std::size_t head_filled_ = 0;
  std::uint64_t length_ = 0;
  std::uint64_t filled_ = 0;
};

}  // namespace troupe
