#include "frame.hpp"

#include <algorithm>
#include <limits>

namespace troupe {

namespace {

constexpr std::size_t short_head = 4;
constexpr std::size_t long_head = 12;
constexpr std::uint64_t longest_short = std::numeric_limits<std::int32_t>::max();
constexpr std::uint32_t long_mark = 0xffffffff;
/// Of the memory for a payload so much is taken before anything of it is there; as much as there is, from then on.
constexpr std::size_t taken_ahead = std::size_t{64} * 1024;

void put(std::span<std::byte> out, std::uint64_t number) noexcept {
  for (std::size_t i = out.size(); i-- > 0; number >>= 8) out[i] = static_cast<std::byte>(number & 0xff);
}

std::uint64_t get(std::span<const std::byte> in) noexcept {
  std::uint64_t number = 0;
  for (const std::byte byte : in) number = number << 8 | std::to_integer<std::uint64_t>(byte);
  return number;
}

}  // namespace

FrameHead frame_head(std::uint64_t payload_bytes) noexcept {
  FrameHead head;
  if (payload_bytes <= longest_short) {
    put(std::span(head.bytes).first(short_head), payload_bytes);
    head.size = short_head;
  } else {
    put(std::span(head.bytes).first(short_head), long_mark);
    put(std::span(head.bytes).subspan(short_head), payload_bytes);
    head.size = long_head;
  }
  return head;
}

FrameReader::FrameReader(std::vector<std::byte>& payload, std::optional<std::uint64_t> max_bytes)
    : payload_(&payload), max_bytes_(max_bytes) {
  payload.clear();
}

std::span<std::byte> FrameReader::room() {
  if (head_filled_ < head_size_) return std::span(head_).subspan(head_filled_, head_size_ - head_filled_);
  if (filled_ == payload_->size()) {
    const std::uint64_t more =
        std::min<std::uint64_t>(length_ - filled_, std::max<std::uint64_t>(filled_, taken_ahead));
    payload_->resize(static_cast<std::size_t>(filled_ + more));
  }
  return std::span(*payload_).subspan(static_cast<std::size_t>(filled_));
}

void FrameReader::advance(std::size_t bytes) {
  if (bytes == 0) return;
  state_ = State::inside;
  if (head_filled_ == head_size_) {
    filled_ += bytes;
    if (filled_ == length_) state_ = State::complete;
    return;
  }
  head_filled_ += bytes;
  if (head_filled_ < head_size_) return;
  const auto begin = get(std::span(head_).first(short_head));
  if (head_size_ == long_head) return begin_payload(get(std::span(head_).subspan(short_head)));
  if (begin == long_mark) {
    head_size_ = long_head;
  } else if (begin > longest_short) {
    state_ = State::garbage;
  } else {
    begin_payload(begin);
  }
}

void FrameReader::begin_payload(std::uint64_t bytes) {
  length_ = bytes;
  if (max_bytes_ && bytes > *max_bytes_) {
    state_ = State::too_long;
  } else if (bytes > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    state_ = State::garbage;
  } else if (bytes == 0) {
    state_ = State::complete;
  }
}

}  // namespace troupe
