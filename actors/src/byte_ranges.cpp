#include "byte_ranges.hpp"

#include <troupe/error.hpp>

#include <algorithm>
#include <string>

namespace troupe {

std::span<const std::byte> part_of(std::span<const std::byte> bytes, std::ptrdiff_t offset,
                                   std::optional<std::ptrdiff_t> size) {
  const auto length = static_cast<std::ptrdiff_t>(bytes.size());
  if (offset < 0) throw ValueError("send_bytes: offset is negative");
  if (offset > length) throw ValueError("send_bytes: there are fewer bytes than offset");
  if (size && *size < 0) throw ValueError("send_bytes: size is negative");
  if (size && *size > length - offset) throw ValueError("send_bytes: there are fewer bytes than offset + size");
  return bytes.subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(size.value_or(length - offset)));
}

std::span<std::byte> place_in(std::span<std::byte> buffer, std::ptrdiff_t offset) {
  if (offset < 0) throw ValueError("recv_bytes_into: offset is negative");
  if (offset > static_cast<std::ptrdiff_t>(buffer.size()))
    throw ValueError("recv_bytes_into: offset is beyond the buffer");
  return buffer.subspan(static_cast<std::size_t>(offset));
}

std::size_t fill(std::span<std::byte> place, std::vector<std::byte> message) {
  if (message.size() > place.size()) {
    const std::string text = "a message of " + std::to_string(message.size()) + " bytes does not fit the buffer's " +
                             std::to_string(place.size());
    throw BufferTooShort(text, std::move(message));
  }
  std::ranges::copy(message, place.begin());
  return message.size();
}

std::optional<std::size_t> maximum_of(std::optional<std::ptrdiff_t> max_bytes) {
  if (!max_bytes) return std::nullopt;
  if (*max_bytes < 0) throw ValueError("recv_bytes: the maximum is negative");
  return static_cast<std::size_t>(*max_bytes);
}

}  // namespace troupe
