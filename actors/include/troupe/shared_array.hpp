#pragma once

/// \file
/// Large arrays of one or more dimensions that processes work on together.
///
///     troupe::SharedArray<double, 2> image{480, 640};
///     pool.map(troupe::bind(blur_row, image), std::views::iota(0, 480));   // the handle travels, the memory does not

#include <troupe/codec.hpp>
#include <troupe/error.hpp>
#include <troupe/raw_value.hpp>
#include <troupe/shareable.hpp>
#include <troupe/shared_block.hpp>

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>

namespace troupe {

namespace detail {

/// Bytes of an array of this shape. Errors: ValueError for a negative extent, or when no memory is so large.
std::ptrdiff_t bytes_of_shape(std::span<const std::ptrdiff_t> shape, std::size_t item_bytes);
/// Throws CodecError unless each item of such a view lies inside a block of `bytes`.
void check_view(std::size_t bytes, std::size_t item_bytes, std::int64_t offset,
                std::span<const std::ptrdiff_t> shape, std::span<const std::ptrdiff_t> strides);
/// The part start, start + step, ... before `stop` of a dimension. Errors: ValueError for a step below 1.
struct SteppedRange {
  std::size_t start = 0;
  std::size_t size = 0;
};
SteppedRange stepped_slice(std::ptrdiff_t start, std::ptrdiff_t stop, std::ptrdiff_t step, std::size_t size);
[[noreturn]] void fail_strided();
[[noreturn]] void fail_dimension(std::size_t dimension, std::size_t rank);

}  // namespace detail

/// An array of `Rank` dimensions in shared memory, or a view of a part of one. Copies, views, and what arrives in
/// another process, are the same memory, which is free when the last of them is gone (see SharedBlock). Sending one
/// costs the same whatever its size. A new array is in row order: items of the last dimension lie side by side.
/// Thread: any; nothing is ordered, so give each task its own part, or guard it with a lock.
template <class T, std::size_t Rank = 1>
class SharedArray {
 public:
  static_assert(Rank >= 1, "troupe: an array has at least one dimension; RawValue has none");
  using value_type = T;
  using Extents = std::array<std::ptrdiff_t, Rank>;

  /// Zeros, so many in each dimension.
  /// Errors: ValueError if one is negative; OSError without memory; AssertionError without a Runtime.
  template <std::integral... Extent>
    requires(sizeof...(Extent) == Rank)
  explicit SharedArray(Extent... extents) : SharedArray(Extents{static_cast<std::ptrdiff_t>(extents)...}) {}
  explicit SharedArray(const Extents& shape) : block_(detail::bytes_of_shape(shape, sizeof(T))), shape_(shape) {
    detail::require_shareable<T>();
    data_ = reinterpret_cast<T*>(block_.data());
    std::ptrdiff_t stride = 1;
    for (std::size_t i = Rank; i-- > 0; stride *= shape_[i]) strides_[i] = stride;
  }

  static constexpr std::size_t rank() noexcept { return Rank; }
  const Extents& shape() const noexcept { return shape_; }
  std::ptrdiff_t extent(std::size_t dimension) const noexcept { return shape_[dimension]; }
  /// Items from one index to the next, by dimension.
  const Extents& strides() const noexcept { return strides_; }
  /// All items.
  std::size_t size() const noexcept {
    std::size_t count = 1;
    for (const std::ptrdiff_t extent : shape_) count *= static_cast<std::size_t>(extent);
    return count;
  }

  /// One item; the indices are not checked.
  template <std::integral... Index>
    requires(sizeof...(Index) == Rank)
  T& operator()(Index... indices) const noexcept {
    std::size_t dimension = 0;
    std::ptrdiff_t offset = 0;
    ((offset += static_cast<std::ptrdiff_t>(indices) * strides_[dimension++]), ...);
    return data_[offset];
  }
  /// One item; negative indices count from the end. Errors: IndexError.
  template <std::integral... Index>
    requires(sizeof...(Index) == Rank)
  T& at(Index... indices) const {
    std::size_t dimension = 0;
    const auto check = [&](std::ptrdiff_t index) {
      return static_cast<std::ptrdiff_t>(
          detail::checked_index(index, static_cast<std::size_t>(shape_[dimension++])));
    };
    const Extents checked{check(static_cast<std::ptrdiff_t>(indices))...};
    return data_[offset_of(checked)];
  }

  /// What is at `index` of the first dimension: a view with one dimension less, or an item. Errors: IndexError.
  SharedArray<T, Rank - 1> operator[](std::ptrdiff_t index) const
    requires(Rank > 1)
  {
    SharedArray<T, Rank - 1> view;
    view.block_ = block_;
    view.data_ = data_ + offset_in_first(index);
    std::copy(shape_.begin() + 1, shape_.end(), view.shape_.begin());
    std::copy(strides_.begin() + 1, strides_.end(), view.strides_.begin());
    return view;
  }
  T& operator[](std::ptrdiff_t index) const
    requires(Rank == 1)
  {
    return data_[offset_in_first(index)];
  }

  /// A view of a part: every `step`-th index of `dimension` from `start` up to, without, `stop`. As in Python negative
  /// ends count from the end and what lies outside is left out. Errors: ValueError for a step below 1; IndexError for a
  /// dimension that there is not.
  SharedArray slice(std::size_t dimension, std::ptrdiff_t start, std::ptrdiff_t stop, std::ptrdiff_t step = 1) const {
    if (dimension >= Rank) detail::fail_dimension(dimension, Rank);
    const auto range = detail::stepped_slice(start, stop, step, static_cast<std::size_t>(shape_[dimension]));
    SharedArray view = *this;
    view.data_ += static_cast<std::ptrdiff_t>(range.start) * strides_[dimension];
    view.shape_[dimension] = static_cast<std::ptrdiff_t>(range.size);
    view.strides_[dimension] *= step;
    return view;
  }

  /// Whether the items lie side by side in row order.
  bool is_contiguous() const noexcept {
    std::ptrdiff_t expected = 1;
    for (std::size_t i = Rank; i-- > 0; expected *= shape_[i])
      if (shape_[i] > 1 && strides_[i] != expected) return false;
    return true;
  }
  /// All items in row order; valid as long as a handle to the memory is there. Errors: ValueError for a view whose
  /// items do not lie side by side.
  std::span<T> span() const {
    if (!is_contiguous()) detail::fail_strided();
    return {data_, size()};
  }

  /// Whether both are views of the same memory.
  friend bool is_same(const SharedArray& a, const SharedArray& b) noexcept { return a.block_ == b.block_; }

 private:
  template <class U, std::size_t OtherRank>
  friend class SharedArray;
  friend struct Codec<SharedArray<T, Rank>>;
  SharedArray() = default;

  std::ptrdiff_t offset_of(const Extents& indices) const noexcept {
    std::ptrdiff_t offset = 0;
    for (std::size_t i = 0; i < Rank; ++i) offset += indices[i] * strides_[i];
    return offset;
  }
  std::ptrdiff_t offset_in_first(std::ptrdiff_t index) const {
    return static_cast<std::ptrdiff_t>(detail::checked_index(index, static_cast<std::size_t>(shape_[0]))) * strides_[0];
  }

  SharedBlock block_;
  T* data_ = nullptr;
  Extents shape_{};
  Extents strides_{};
};

/// The handle travels, with shape and strides. Errors: as those of SharedBlock; CodecError when a view reaches outside
/// its block.
template <class T, std::size_t Rank>
struct Codec<SharedArray<T, Rank>> {
  using Array = SharedArray<T, Rank>;
  using Wire = std::tuple<SharedBlock, std::int64_t, typename Array::Extents, typename Array::Extents>;

  static void encode(const Array& array, wire::Value::Builder out) {
    const std::int64_t offset = array.data_ - reinterpret_cast<T*>(array.block_.data());
    detail::encode_part(Wire{array.block_, offset, array.shape_, array.strides_}, out);
  }
  static Array decode(wire::Value::Reader in) {
    auto [block, offset, shape, strides] = detail::decode_part<Wire>(in);
    detail::check_view(block.size_bytes(), sizeof(T), offset, shape, strides);
    Array array;
    array.block_ = std::move(block);
    array.data_ = reinterpret_cast<T*>(array.block_.data()) + offset;
    array.shape_ = shape;
    array.strides_ = strides;
    return array;
  }
};

}  // namespace troupe
