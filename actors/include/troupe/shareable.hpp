#pragma once

/// \file
/// What may lie in memory that several processes share: values that mean the same in all of them.

#include <boost/pfr.hpp>

#include <array>
#include <cstddef>
#include <functional>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

namespace troupe {

namespace detail {

template <class T>
inline constexpr bool is_view = false;
template <class T, std::size_t Extent>
inline constexpr bool is_view<std::span<T, Extent>> = true;
template <class T, class Traits>
inline constexpr bool is_view<std::basic_string_view<T, Traits>> = true;
template <class T>
inline constexpr bool is_view<std::reference_wrapper<T>> = true;

/// How many fields an aggregate has, as far as braces tell; 0 where they do not.
template <class T>
consteval std::size_t num_braced_fields() {
  if constexpr (requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}}; }) return 0;
  if constexpr (requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}}; }) return 12;
  if constexpr (requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}}; }) return 11;
  if constexpr (requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}}; }) return 10;
  if constexpr (requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}}; }) return 9;
  if constexpr (requires { T{{}, {}, {}, {}, {}, {}, {}, {}}; }) return 8;
  if constexpr (requires { T{{}, {}, {}, {}, {}, {}, {}}; }) return 7;
  if constexpr (requires { T{{}, {}, {}, {}, {}, {}}; }) return 6;
  if constexpr (requires { T{{}, {}, {}, {}, {}}; }) return 5;
  if constexpr (requires { T{{}, {}, {}, {}}; }) return 4;
  if constexpr (requires { T{{}, {}, {}}; }) return 3;
  if constexpr (requires { T{{}, {}}; }) return 2;
  if constexpr (requires { T{{}}; }) return 1;
  return 0;
}

template <class T>
inline constexpr bool is_std_array = false;
template <class T, std::size_t Size>
inline constexpr bool is_std_array<std::array<T, Size>> = true;

/// Whether Boost.PFR tells the fields of T: not when one is a C array, which it takes for so many fields.
template <class T>
consteval bool has_known_fields() {
  if constexpr (std::is_class_v<T> && std::is_aggregate_v<T>) {
    constexpr std::size_t count = num_braced_fields<T>();
    if constexpr (count > 0) return boost::pfr::tuple_size_v<T> == count;
  }
  return false;
}

template <class T>
consteval bool is_shareable();

template <class T, std::size_t... I>
consteval bool fields_are_shareable(std::index_sequence<I...>) {
  return (is_shareable<boost::pfr::tuple_element_t<I, T>>() && ...);
}

template <class T>
consteval bool is_shareable() {
  using Plain = std::remove_cv_t<T>;
  if constexpr (std::is_pointer_v<Plain> || std::is_member_pointer_v<Plain> || std::is_null_pointer_v<Plain> ||
                std::is_reference_v<Plain> || is_view<Plain> || !std::is_trivially_copyable_v<Plain>) {
    return false;
  } else if constexpr (std::is_array_v<Plain>) {
    return is_shareable<std::remove_extent_t<Plain>>();
  } else if constexpr (is_std_array<Plain>) {
    return is_shareable<typename Plain::value_type>();
  } else if constexpr (has_known_fields<Plain>()) {
    return fields_are_shareable<Plain>(std::make_index_sequence<boost::pfr::tuple_size_v<Plain>>{});
  } else {
    return true;
  }
}

}  // namespace detail

/// Types whose values can be shared: trivially copyable, without pointers, references and views, which would lead
/// nowhere in another process. The fields of aggregates are looked at (up to 12, unless one is a C array); what private
/// members hold the compiler cannot see, and the user has to know.
template <class T>
concept Shareable = detail::is_shareable<T>() && alignof(T) <= 16;

}  // namespace troupe
