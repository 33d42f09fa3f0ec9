#pragma once

/// \file
/// A ring as processes share it, and frames whose content tells whether they arrived whole.

#include <troupe/ring.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <random>
#include <vector>

namespace troupe::test {

/// Long enough for the slowest machine; a test that needs it all has failed.
inline constexpr auto patience = std::chrono::seconds{20};
inline constexpr std::size_t max_words = max_frame_bytes / sizeof(std::uint64_t);
inline constexpr std::size_t max_segments = max_frame_bytes / sizeof(SegmentRef);

/// A ring as processes share it.
struct SharedRing {
  FileDescriptor file = create_memory_file("a ring", 4096 + ring_bytes);
  Mapping page{file.get(), 0, 4096, Mapping::Access::read_write, "a ring"};
  Mapping data = Mapping::twice_in_a_row(file.get(), 4096, ring_bytes, "a ring");
  RingControl* control = reinterpret_cast<RingControl*>(page.data());

  RingWriter writer() const { return {control, data.data()}; }
  RingReader reader() const { return {control, data.data()}; }
};

inline std::uint64_t mix(std::uint64_t value) {
  value = (value ^ (value >> 30U)) * 0xbf58476d1ce4e5b9U;
  return value ^ (value >> 27U);
}

/// A frame whose content follows from its number, so that the other side knows what must be in it.
struct Sample {
  std::vector<std::uint64_t> words;
  std::vector<SegmentRef> segments;

  void make(std::uint64_t number) {
    std::minstd_rand random{static_cast<unsigned>(number % 2'000'000'000 + 1)};
    const auto up_to = [&](std::size_t limit) { return random() % (limit + 1); };
    words.resize(up_to(4096) == 0 ? up_to(max_words) : up_to(64) == 0 ? up_to(1024) : up_to(16));
    segments.resize(up_to(256) == 0 ? up_to(max_segments / 8) : up_to(16) == 0 ? up_to(3) : 0);
    for (std::size_t i = 0; i < words.size(); ++i) words[i] = mix(number + i);
    for (std::size_t i = 0; i < segments.size(); ++i) segments[i] = {mix(number), i, number};
  }
  bool is_in(const Frame& frame) const {
    return std::ranges::equal(words, frame.words) &&
           std::ranges::equal(segments, frame.segments, [](const SegmentRef& a, const SegmentRef& b) {
             return a.offset == b.offset && a.words == b.words && a.ticket == b.ticket;
           });
  }
};

/// Writes the frame, waiting for room when need be.
inline void write(RingWriter& writer, const Sample& sample) {
  while (writer.try_write(sample.segments, sample.words) == nullptr)
    writer.wait_for_room(frame_bytes(sample.words.size(), sample.segments.size()), no_deadline);
  writer.ring();
}

}  // namespace troupe::test
