#include <troupe/raw_value.hpp>

#include <limits>

namespace troupe::detail {

std::size_t checked_index(std::ptrdiff_t index, std::size_t size) {
  const std::ptrdiff_t from_start = index < 0 ? index + static_cast<std::ptrdiff_t>(size) : index;
  if (from_start < 0 || from_start >= static_cast<std::ptrdiff_t>(size))
    throw IndexError("index " + std::to_string(index) + " is out of range: there are " + std::to_string(size) +
                     " items");
  return static_cast<std::size_t>(from_start);
}

SliceRange clamped_slice(std::ptrdiff_t start, std::ptrdiff_t stop, std::size_t size) noexcept {
  const auto all = static_cast<std::ptrdiff_t>(size);
  const auto place = [all](std::ptrdiff_t end) {
    return std::clamp<std::ptrdiff_t>(end < 0 ? end + all : end, 0, all);
  };
  const std::ptrdiff_t first = place(start);
  return {.start = static_cast<std::size_t>(first),
          .size = static_cast<std::size_t>(std::max<std::ptrdiff_t>(place(stop) - first, 0))};
}

void check_slice_size(std::size_t given, std::size_t expected) {
  if (given != expected)
    throw ValueError("a slice of " + std::to_string(expected) + " items of a shared array cannot become " +
                     std::to_string(given) + ": its length is fixed");
}

std::ptrdiff_t bytes_of(std::ptrdiff_t count, std::size_t item_bytes) {
  if (count < 0) throw ValueError("a shared array cannot have " + std::to_string(count) + " items");
  if (static_cast<std::size_t>(count) > std::numeric_limits<std::ptrdiff_t>::max() / item_bytes)
    throw ValueError("a shared array of " + std::to_string(count) + " items of " + std::to_string(item_bytes) +
                     " bytes is larger than any memory");
  return count * static_cast<std::ptrdiff_t>(item_bytes);
}

void check_block(const SharedBlock& block, std::size_t bytes, const std::string& type) {
  if (block.size_bytes() < bytes)
    throw CodecError("expected shared memory for " + type + ", which takes " + std::to_string(bytes) +
                     " bytes, found a block of " + std::to_string(block.size_bytes()));
}

void check_text_size(std::size_t given, std::size_t size) {
  if (given > size)
    throw ValueError(std::to_string(given) + " bytes do not fit a shared array of " + std::to_string(size));
}

}  // namespace troupe::detail
