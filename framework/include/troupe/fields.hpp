#pragma once

/// \file
/// TROUPE_FIELDS: how a class that is no aggregate, or wants its fields to travel by name, says what its fields are.
///
///     class Account {
///      public:
///       Account() = default;
///       ...
///      private:
///       std::string owner_;
///       long cents_ = 0;
///       TROUPE_FIELDS(owner_, cents_)
///     };
///
/// Works in any section and for private members; members of base classes may be listed too. The class needs a default
/// constructor, which need not be public. Names travel with the values and the receiver matches them, so the order may
/// differ between two versions of a program; fields that the receiver does not know are ignored, missing ones are a
/// CodecError.

#include <array>
#include <cstddef>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

namespace troupe {

/// The codec's way to the listed fields; a friend of every class with TROUPE_FIELDS.
struct FieldAccess {
  /// Whether T itself lists its fields; a list inherited from its base would leave out what T adds.
  template <class T>
  static constexpr auto listed(int) -> decltype(std::is_same_v<decltype(std::declval<T&>().troupe_self()), T*>) {
    return std::is_same_v<decltype(std::declval<T&>().troupe_self()), T*>;
  }
  template <class T>
  static constexpr bool listed(...) {
    return false;
  }
  template <class T>
  static auto tie(T& object) {
    return object.troupe_tie_fields();
  }
  template <class T>
  static constexpr std::string_view names() {
    return T::troupe_field_names();
  }
  template <class T>
  static T make() {
    return T();
  }
};

namespace detail {

/// Cuts "owner_, cents_" into its names.
template <std::size_t Size>
consteval std::array<std::string_view, Size> split_names(std::string_view all) {
  std::array<std::string_view, Size> names{};
  for (auto& name : names) {
    const std::size_t comma = all.find(',');
    name = all.substr(0, comma);
    while (name.starts_with(' ')) name.remove_prefix(1);
    while (name.ends_with(' ')) name.remove_suffix(1);
    all.remove_prefix(comma == std::string_view::npos ? all.size() : comma + 1);
  }
  return names;
}

}  // namespace detail
}  // namespace troupe

/// Lists the fields of a class that travel, inside the class.
#define TROUPE_FIELDS(...)                                           \
  friend struct ::troupe::FieldAccess;                               \
  auto troupe_self() { return this; }                                \
  auto troupe_tie_fields() { return ::std::tie(__VA_ARGS__); }       \
  auto troupe_tie_fields() const { return ::std::tie(__VA_ARGS__); } \
  static constexpr ::std::string_view troupe_field_names() { return #__VA_ARGS__; }
