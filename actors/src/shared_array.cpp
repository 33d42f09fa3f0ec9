#include <troupe/shared_array.hpp>

#include <limits>
#include <string>

namespace troupe::detail {

std::ptrdiff_t bytes_of_shape(std::span<const std::ptrdiff_t> shape, std::size_t item_bytes) {
  std::ptrdiff_t items = 1;
  for (const std::ptrdiff_t extent : shape) {
    if (extent < 0) throw ValueError("a shared array cannot have " + std::to_string(extent) + " items");
    if (__builtin_mul_overflow(items, extent, &items))
      throw ValueError("a shared array of this shape is larger than any memory");
  }
  return bytes_of(items, item_bytes);
}

void check_view(std::size_t bytes, std::size_t item_bytes, std::int64_t offset, std::span<const std::ptrdiff_t> shape,
                std::span<const std::ptrdiff_t> strides) {
  bool overflow = false;
  bool empty = false;
  std::int64_t first = offset;
  std::int64_t last = offset;
  std::int64_t items = 1;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    std::int64_t reach = 0;
    if (shape[i] < 0) throw CodecError("a shared array has a negative extent");
    if (shape[i] == 0) {
      empty = true;
      continue;
    }
    overflow |= __builtin_mul_overflow(items, shape[i], &items);
    overflow |= __builtin_mul_overflow(shape[i] - 1, strides[i], &reach);
    overflow |= __builtin_add_overflow(reach < 0 ? first : last, reach, &(reach < 0 ? first : last));
  }
  const auto size = static_cast<std::int64_t>(bytes / item_bytes);
  const bool inside = empty ? offset >= 0 && offset <= size : first >= 0 && last < size;
  if (overflow || !inside)
    throw CodecError("a shared array reaches outside its block of " + std::to_string(bytes) + " bytes");
}

SteppedRange stepped_slice(std::ptrdiff_t start, std::ptrdiff_t stop, std::ptrdiff_t step, std::size_t size) {
  if (step < 1) throw ValueError("a slice of a shared array cannot have step " + std::to_string(step));
  const SliceRange range = clamped_slice(start, stop, size);
  const auto stride = static_cast<std::size_t>(step);
  return {.start = range.start, .size = range.size == 0 ? 0 : (range.size - 1) / stride + 1};
}

void fail_strided() { throw ValueError("the items of this view do not lie side by side: use its rows, or operator()"); }

void fail_dimension(std::size_t dimension, std::size_t rank) {
  throw IndexError("a shared array of " + std::to_string(rank) + " dimensions has no dimension " +
                   std::to_string(dimension));
}

}  // namespace troupe::detail
