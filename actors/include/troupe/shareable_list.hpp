#pragma once

/// \file
/// A list of mixed items in named shared memory.
///
///     troupe::ShareableList list{"howdy", 42, 3.5, nullptr};
///     list.set(1, "text");                                          // up to 8 bytes: what the slot can hold
///     troupe::ShareableList same = troupe::ShareableList::attach(list.shm().name());

#include <troupe/codec_core.hpp>
#include <troupe/shared_memory.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

namespace troupe {

/// What an item of a ShareableList can be: none, bool, 64-bit integer, double, text, bytes.
class ShareableItem {
 public:
  using Bytes = std::vector<std::byte>;
  using Variant = std::variant<std::monostate, bool, std::int64_t, double, std::string, Bytes>;

  ShareableItem() = default;
  ShareableItem(std::nullptr_t) noexcept {}                                  // NOLINT(google-explicit-constructor)
  ShareableItem(bool value) noexcept : value_(value) {}                      // NOLINT(google-explicit-constructor)
  template <std::integral Int>
    requires(!std::same_as<Int, bool>)
  ShareableItem(Int value) : value_(static_cast<std::int64_t>(value)) {  // NOLINT(google-explicit-constructor)
    if (std::is_unsigned_v<Int> && *std::get_if<std::int64_t>(&value_) < 0) fail_range(std::to_string(value));
  }
  template <std::floating_point Float>
  ShareableItem(Float value) noexcept : value_(static_cast<double>(value)) {}  // NOLINT(google-explicit-constructor)
  ShareableItem(std::string text) : value_(std::move(text)) {}               // NOLINT(google-explicit-constructor)
  ShareableItem(std::string_view text) : value_(std::string(text)) {}        // NOLINT(google-explicit-constructor)
  ShareableItem(const char* text) : value_(std::string(text)) {}             // NOLINT(google-explicit-constructor)
  ShareableItem(Bytes bytes) : value_(std::move(bytes)) {}                   // NOLINT(google-explicit-constructor)

  const Variant& value() const noexcept { return value_; }
  bool is_none() const noexcept { return std::holds_alternative<std::monostate>(value_); }
  /// The value as a T of Variant, or any number for a number. Errors: TypeError if it is something else; ValueError for
  /// an integer that T has no place for.
  template <class T>
  T as() const {
    if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) {
      if (const auto* number = std::get_if<std::int64_t>(&value_)) {
        const auto result = static_cast<T>(*number);
        if constexpr (std::is_integral_v<T>)
          if (static_cast<std::int64_t>(result) != *number || (std::is_unsigned_v<T> && *number < 0))
            fail_range(std::to_string(*number));
        return result;
      }
      if (const auto* number = std::get_if<double>(&value_)) return static_cast<T>(*number);
    } else {
      if (const auto* same = std::get_if<T>(&value_)) return *same;
    }
    fail_type();
  }
  /// As Python writes it: `'text'`, `b'...'`, `None`, `True`, `42`.
  std::string to_string() const;

  /// Numbers are compared by value, as in Python; else type and value.
  friend bool operator==(const ShareableItem& a, const ShareableItem& b);

 private:
  [[noreturn]] void fail_type() const;
  [[noreturn]] static void fail_range(const std::string& number);

  Variant value_;
};

/// A list of fixed length in a SharedMemory of its own. Each item has a slot: 8 bytes, or for a text or bytes of n
/// bytes 8 x (n / 8 + 1); an item may change its type, but not grow out of its slot. Text and bytes lose NUL bytes at
/// their end. Copies, and what arrives in another process, are the same list. The layout is troupe's own, not that of
/// multiprocessing. Thread: any, as far as the handle goes; items are not guarded: an item that is read while another
/// process writes it may be a mixture.
class ShareableList {
 public:
  /// A new list of these, under a name of its own or `name`. Errors: as SharedMemory::create.
  ShareableList(std::initializer_list<ShareableItem> items, std::string_view name = {})
      : ShareableList(std::span<const ShareableItem>(items.begin(), items.size()), name) {}
  explicit ShareableList(std::span<const ShareableItem> items, std::string_view name = {});
  /// An independent list with the same items.
  static ShareableList copy_of(const ShareableList& other, std::string_view name = {});
  /// Opens the list that has this name. Errors: as SharedMemory::attach; ValueError if it is no list.
  static ShareableList attach(std::string_view name);

  std::size_t size() const noexcept;
  /// Negative indices count from the end. Errors: IndexError.
  ShareableItem get(std::ptrdiff_t index) const;
  ShareableItem operator[](std::ptrdiff_t index) const { return get(index); }
  /// Errors: IndexError; ValueError when the item exceeds its slot, which then keeps what it had.
  void set(std::ptrdiff_t index, const ShareableItem& item) const;
  /// All items.
  std::vector<ShareableItem> items() const;
  /// How many items are equal to this.
  std::size_t count(const ShareableItem& item) const;
  /// Where the first such item is. Errors: ValueError if there is none.
  std::size_t index(const ShareableItem& item) const;

  /// Where it lies: to close and unlink it.
  const SharedMemory& shm() const noexcept { return memory_; }
  /// "ShareableList(['howdy', 42], name='psm_1a2b')".
  std::string to_string() const;

 private:
  friend struct Codec<ShareableList>;
  /// Where an item lies; from the list's own memory once, so that nobody can move it afterwards.
  struct Slot {
    std::size_t offset = 0;
    std::size_t capacity = 0;
  };
  explicit ShareableList(SharedMemory memory);
  std::byte* head_of(std::ptrdiff_t index, Slot& slot) const;

  SharedMemory memory_;
  std::shared_ptr<const std::vector<Slot>> slots_;
};

/// The name travels. Errors: OSError with ENOENT when it is gone.
template <>
struct Codec<ShareableList> {
  static void encode(const ShareableList& list, wire::Value::Builder out) {
    Codec<SharedMemory>::encode(list.memory_, out);
  }
  static ShareableList decode(wire::Value::Reader in) { return ShareableList{Codec<SharedMemory>::decode(in)}; }
};

}  // namespace troupe
