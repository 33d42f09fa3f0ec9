#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

namespace troupe {

/// What send_bytes is to send. Errors: ValueError when it reaches outside of `bytes`.
std::span<const std::byte> part_of(std::span<const std::byte> bytes, std::ptrdiff_t offset,
                                   std::optional<std::ptrdiff_t> size);
/// Where recv_bytes_into is to write. Errors: ValueError for an offset outside of `buffer`.
std::span<std::byte> place_in(std::span<std::byte> buffer, std::ptrdiff_t offset);
/// Puts a message there. Errors: BufferTooShort, which has the message.
std::size_t fill(std::span<std::byte> place, std::vector<std::byte> message);
/// The maximum of recv_bytes. Errors: ValueError for a negative one.
std::optional<std::size_t> maximum_of(std::optional<std::ptrdiff_t> max_bytes);

}  // namespace troupe
