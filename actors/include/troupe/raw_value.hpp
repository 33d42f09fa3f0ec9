#pragma once

/// \file
/// A value and an array in memory that several processes share, without a lock. shared_value.hpp has those with one.
///
///     troupe::RawValue<double> ratio{1.0 / 3};
///     troupe::RawArray<int> squares(100);           // of zeros
///     troupe::Process process{fill, squares};       // sees the same memory

#include <troupe/codec.hpp>
#include <troupe/error.hpp>
#include <troupe/shareable.hpp>
#include <troupe/shared_block.hpp>

#include <algorithm>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstring>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace troupe {

namespace detail {

template <class T>
constexpr void require_shareable() {
  static_assert(Shareable<T>,
                "troupe: this type cannot be shared between processes: it must be trivially copyable and hold no "
                "pointers, references or views. Remedy: hold what it points to in a std::array, or send it instead.");
}

/// Position `index` of `size`; negative ones count from the end. Errors: IndexError naming both.
std::size_t checked_index(std::ptrdiff_t index, std::size_t size);

/// The part [start, stop) of `size` items; negative ends count from the end, what lies outside is cut off.
struct SliceRange {
  std::size_t start = 0;
  std::size_t size = 0;
};
SliceRange clamped_slice(std::ptrdiff_t start, std::ptrdiff_t stop, std::size_t size) noexcept;
/// Throws ValueError: a slice keeps its length.
void check_slice_size(std::size_t given, std::size_t expected);
/// Bytes of `count` items. Errors: ValueError when count is negative, or too large for any memory.
std::ptrdiff_t bytes_of(std::ptrdiff_t count, std::size_t item_bytes);
/// Throws CodecError unless a block that came in a message holds at least `bytes`.
void check_block(const SharedBlock& block, std::size_t bytes, const std::string& type);
/// Throws ValueError: text of `given` bytes does not fit an array of `size`.
void check_text_size(std::size_t given, std::size_t size);

}  // namespace detail

/// One T in shared memory. Copies, and what arrives in another process, are the same value. The memory is free when
/// the last of all of them is gone (see SharedBlock). Thread: any; reads and writes are not ordered, and those of a T
/// of more than 8 bytes may overlap: use Value where that matters.
template <class T>
class RawValue {
 public:
  /// A new value. Errors: OSError without memory; AssertionError without a Runtime.
  explicit RawValue(const T& initial = T{}) : block_(sizeof(T)) {
    detail::require_shareable<T>();
    set(initial);
  }

  T get() const noexcept {
    if constexpr (is_atomic) {
      return std::atomic_ref<T>(**this).load(std::memory_order_relaxed);
    } else {
      return **this;
    }
  }
  void set(const T& value) const noexcept {
    if constexpr (is_atomic) {
      std::atomic_ref<T>(**this).store(value, std::memory_order_relaxed);
    } else {
      **this = value;
    }
  }
  /// Integers of other widths wrap, as everywhere in C++20.
  template <std::integral U>
    requires(std::integral<T> && !std::is_same_v<T, U>)
  void set(U value) const noexcept {
    set(static_cast<T>(value));
  }

  /// The memory itself; valid as long as a handle to the value is there.
  T& operator*() const noexcept { return *reinterpret_cast<T*>(block_.data()); }
  T* operator->() const noexcept { return &**this; }

  /// Whether both are the same value in memory.
  friend bool is_same(const RawValue& a, const RawValue& b) noexcept { return a.block_ == b.block_; }

 private:
  static constexpr bool is_atomic =
      (sizeof(T) == 1 || sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8) && alignof(T) == sizeof(T);

  friend struct Codec<RawValue<T>>;
  explicit RawValue(SharedBlock block) : block_(std::move(block)) {}

  SharedBlock block_;
};

/// The value itself travels as a handle. Errors: as those of SharedBlock.
template <class T>
struct Codec<RawValue<T>> {
  static void encode(const RawValue<T>& value, wire::Value::Builder out) { detail::encode_part(value.block_, out); }
  static RawValue<T> decode(wire::Value::Reader in) {
    auto block = detail::decode_part<SharedBlock>(in);
    detail::check_block(block, sizeof(T), detail::type_label<T>());
    return RawValue<T>(std::move(block));
  }
};

/// A fixed number of Ts in shared memory. Copies, and what arrives in another process, are the same array. Indices may
/// be negative and count from the end then. Thread: any; as RawValue.
template <class T>
class RawArray {
 public:
  using value_type = T;

  /// `count` zeros. Errors: ValueError if it is negative; OSError without memory; AssertionError without a Runtime.
  explicit RawArray(std::ptrdiff_t count) : block_(detail::bytes_of(count, sizeof(T))) {
    detail::require_shareable<T>();
  }
  /// A copy of these.
  RawArray(std::initializer_list<T> items) : RawArray(std::span<const T>(items)) {}
  template <std::ranges::input_range Range>
    requires std::convertible_to<std::ranges::range_reference_t<Range>, T> &&
             (!std::same_as<std::remove_cvref_t<Range>, RawArray>)
  explicit RawArray(Range&& items) : RawArray(copied(std::forward<Range>(items))) {}

  std::size_t size() const noexcept { return block_.size_bytes() / sizeof(T); }
  /// Errors: IndexError.
  T& operator[](std::ptrdiff_t index) const { return data()[detail::checked_index(index, size())]; }
  T get(std::ptrdiff_t index) const { return (*this)[index]; }
  template <class U>
  void set(std::ptrdiff_t index, const U& value) const {
    (*this)[index] = static_cast<T>(value);
  }

  /// The items themselves, unchecked; valid as long as a handle to the array is there.
  std::span<T> span() const noexcept { return {data(), size()}; }
  T* begin() const noexcept { return data(); }
  T* end() const noexcept { return data() + size(); }
  /// Items `start` up to, without, `stop`; as in Python what lies outside is left out.
  std::span<T> slice(std::ptrdiff_t start, std::ptrdiff_t stop) const noexcept {
    const auto range = detail::clamped_slice(start, stop, size());
    return span().subspan(range.start, range.size);
  }
  /// Overwrites a slice. Errors: ValueError if there are not exactly as many items; nothing is written then.
  template <std::ranges::forward_range Range>
  void set_slice(std::ptrdiff_t start, std::ptrdiff_t stop, const Range& items) const {
    const std::span<T> target = slice(start, stop);
    detail::check_slice_size(static_cast<std::size_t>(std::ranges::distance(items)), target.size());
    std::ranges::copy(items, target.begin());
  }
  void set_slice(std::ptrdiff_t start, std::ptrdiff_t stop, std::initializer_list<T> items) const {
    set_slice(start, stop, std::span<const T>(items));
  }

  /// An array of char as text: up to the first NUL byte.
  std::string value() const
    requires std::same_as<T, char>
  {
    return {begin(), std::find(begin(), end(), '\0')};
  }
  /// Puts text at the beginning, with a NUL byte behind it if there is room. Errors: ValueError if it is too long.
  void set_value(std::string_view text) const
    requires std::same_as<T, char>
  {
    detail::check_text_size(text.size(), size());
    std::ranges::copy(text, begin());
    if (text.size() < size()) begin()[text.size()] = '\0';
  }
  /// All bytes of an array of char.
  std::string raw() const
    requires std::same_as<T, char>
  {
    return {begin(), end()};
  }
  /// Puts bytes at the beginning, and changes nothing else. Errors: ValueError if they are too many.
  void set_raw(std::string_view bytes) const
    requires std::same_as<T, char>
  {
    detail::check_text_size(bytes.size(), size());
    std::ranges::copy(bytes, begin());
  }

  /// Whether both are the same array in memory.
  friend bool is_same(const RawArray& a, const RawArray& b) noexcept { return a.block_ == b.block_; }

 private:
  friend struct Codec<RawArray<T>>;
  explicit RawArray(SharedBlock block) : block_(std::move(block)) {}

  explicit RawArray(std::span<const T> items) : RawArray(static_cast<std::ptrdiff_t>(items.size())) {
    std::ranges::copy(items, begin());
  }
  template <class Range>
  static RawArray copied(Range&& items) {
    if constexpr (std::ranges::sized_range<Range>) {
      RawArray array(static_cast<std::ptrdiff_t>(std::ranges::size(items)));
      T* out = array.begin();
      for (auto&& item : items) *out++ = static_cast<T>(item);
      return array;
    } else {
      std::vector<T> all;
      for (auto&& item : items) all.push_back(static_cast<T>(item));
      return RawArray(std::span<const T>(all));
    }
  }
  T* data() const noexcept { return reinterpret_cast<T*>(block_.data()); }

  SharedBlock block_;
};

template <std::ranges::input_range Range>
RawArray(Range&&) -> RawArray<std::ranges::range_value_t<Range>>;

template <class T>
struct Codec<RawArray<T>> {
  static void encode(const RawArray<T>& array, wire::Value::Builder out) { detail::encode_part(array.block_, out); }
  static RawArray<T> decode(wire::Value::Reader in) {
    return RawArray<T>(detail::decode_part<SharedBlock>(in));
  }
};

}  // namespace troupe
