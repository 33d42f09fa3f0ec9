#pragma once

/// \file
/// Codecs of single values: numbers, enumerators, strings, durations, nothing. Include <troupe/codec.hpp>.
///
/// Numbers convert when nothing is lost: 3 arrives as 3.0 and 3.0 as 3, true as 1, 300 never as unsigned char, 3.5
/// never as int. Only float64 to float may round, as in C++.

#include <troupe/codec_core.hpp>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <ratio>
#include <string>
#include <string_view>
#include <variant>

namespace troupe {

namespace detail {

/// Numbers that a Value holds exactly: all but long double and 128-bit integers.
template <class T>
concept Number = std::is_arithmetic_v<T> && sizeof(T) <= 8;

template <class T>
concept Enumerator = std::is_enum_v<T> && sizeof(T) <= 8;

/// Whether `source` is a value of T, or rounds to one where T is float.
template <Number T>
constexpr bool fits(std::int64_t source) noexcept {
  if constexpr (std::is_floating_point_v<T>) {
    // Every magnitude up to 2^digits is exact; beyond, those whose round trip is. 2^63 itself cannot be cast back.
    const T there = static_cast<T>(source);
    return there < static_cast<T>(9223372036854775808.0) && static_cast<std::int64_t>(there) == source;
  } else if constexpr (std::is_signed_v<T>) {
    return source >= std::int64_t{std::numeric_limits<T>::min()} &&
           source <= std::int64_t{std::numeric_limits<T>::max()};
  } else {
    return source >= 0 && static_cast<std::uint64_t>(source) <= std::uint64_t{std::numeric_limits<T>::max()};
  }
}
template <Number T>
constexpr bool fits(std::uint64_t source) noexcept {
  if constexpr (std::is_floating_point_v<T>) {
    const T there = static_cast<T>(source);
    return there < static_cast<T>(18446744073709551616.0) && static_cast<std::uint64_t>(there) == source;
  } else {
    return source <= static_cast<std::uint64_t>(std::numeric_limits<T>::max());
  }
}
template <Number T>
constexpr bool fits(bool) noexcept {
  return true;
}
template <Number T>
bool fits(double source) noexcept {
  if constexpr (std::is_same_v<T, double>) {
    return true;
  } else if constexpr (std::is_same_v<T, float>) {
    return !std::isfinite(source) || std::isfinite(static_cast<float>(source));
  } else if constexpr (std::is_signed_v<T>) {
    return source >= -9223372036854775808.0 && source < 9223372036854775808.0 && std::trunc(source) == source &&
           fits<T>(static_cast<std::int64_t>(source));
  } else {
    return source >= 0.0 && source < 18446744073709551616.0 && std::trunc(source) == source &&
           fits<T>(static_cast<std::uint64_t>(source));
  }
}

/// "expected unsigned char (0..255), found int64 300". `low` and `high` are empty for floating point.
[[noreturn]] void fail_number(const std::string& type, const std::string& low, const std::string& high,
                              wire::Value::Reader found);

template <Number T>
[[noreturn]] void fail_number(wire::Value::Reader found) {
  if constexpr (std::is_floating_point_v<T>) {
    fail_number(type_label<T>(), {}, {}, found);
  } else {
    fail_number(type_label<T>(), std::to_string(std::numeric_limits<T>::min()),
                std::to_string(std::numeric_limits<T>::max()), found);
  }
}

}  // namespace detail

template <detail::Number T>
struct Codec<T> {
  using Parts = detail::TypeList<>;

  static void encode(const T& value, wire::Value::Builder out) {
    if constexpr (std::is_same_v<T, bool>) {
      out.setBool(value);
    } else if constexpr (std::is_floating_point_v<T>) {
      out.setFloat64(value);
    } else if constexpr (std::is_signed_v<T>) {
      out.setInt64(value);
    } else {
      out.setUint64(value);
    }
  }

  static T decode(wire::Value::Reader in) {
    switch (in.which()) {
      case wire::Value::INT64:
        if (const std::int64_t value = in.getInt64(); detail::fits<T>(value)) return static_cast<T>(value);
        break;
      case wire::Value::UINT64:
        if (const std::uint64_t value = in.getUint64(); detail::fits<T>(value)) return static_cast<T>(value);
        break;
      case wire::Value::FLOAT64:
        if (const double value = in.getFloat64(); detail::fits<T>(value)) return static_cast<T>(value);
        break;
      case wire::Value::BOOL: return static_cast<T>(in.getBool());
      default: break;
    }
    detail::fail_number<T>(in);
  }
};

/// By the underlying type. Whether the number is one of the enumerators cannot be told, as with static_cast.
template <detail::Enumerator T>
struct Codec<T> {
  using Parts = detail::TypeList<>;
  using Underlying = std::underlying_type_t<T>;

  static void encode(const T& value, wire::Value::Builder out) {
    Codec<Underlying>::encode(static_cast<Underlying>(value), out);
  }
  static T decode(wire::Value::Reader in) {
    // Whole numbers only: an enumerator is not a measurement.
    if (!in.isInt64() && !in.isUint64() && !in.isBool()) detail::fail_shape(detail::type_label<T>(), in);
    try {
      return static_cast<T>(Codec<Underlying>::decode(in));
    } catch (const CodecError& error) {
      detail::fail("enumeration " + detail::type_label<T>() + ": " + error.what());
    }
  }
};

namespace detail {

/// Text and bytes, copied into the message. Errors: CodecError from 2^29 - 1 bytes on.
void write_text(std::string_view text, wire::Value::Builder out);
std::string_view read_text(wire::Value::Reader in, std::string_view expected);

}  // namespace detail

template <>
struct Codec<std::string> {
  using Parts = detail::TypeList<>;
  static void encode(const std::string& value, wire::Value::Builder out) { detail::write_text(value, out); }
  static std::string decode(wire::Value::Reader in) { return std::string(detail::read_text(in, "std::string")); }
};

/// Decodes to a view into the message.
template <>
struct Codec<std::string_view> {
  using Parts = detail::TypeList<>;
  static constexpr bool views_message = true;
  static void encode(const std::string_view& value, wire::Value::Builder out) { detail::write_text(value, out); }
  static std::string_view decode(wire::Value::Reader in) { return detail::read_text(in, "std::string_view"); }
};

/// Text up to the NUL; the null pointer travels as none. Decodes to a pointer into the message.
template <>
struct Codec<const char*> {
  using Parts = detail::TypeList<>;
  static constexpr bool views_message = true;
  static constexpr bool may_be_none = true;
  static void encode(const char* const& value, wire::Value::Builder out) {
    if (value == nullptr) {
      out.setNone();
    } else {
      detail::write_text(value, out);
    }
  }
  /// Errors: CodecError when the text has a NUL inside, where a C string would end early.
  static const char* decode(wire::Value::Reader in);
};

template <>
struct Codec<char*> {
  using Parts = detail::TypeList<>;
  static constexpr bool may_be_none = true;
  static void encode(char* const& value, wire::Value::Builder out) { Codec<const char*>::encode(value, out); }
};

/// A string literal: text up to its NUL. Sent only.
template <std::size_t Size>
struct Codec<char[Size]> {
  using Parts = detail::TypeList<>;
  static void encode(const char (&value)[Size], wire::Value::Builder out) {
    const std::string_view all(value, Size);
    detail::write_text(all.substr(0, all.find('\0')), out);
  }
};

template <>
struct Codec<std::filesystem::path> {
  using Parts = detail::TypeList<>;
  static void encode(const std::filesystem::path& value, wire::Value::Builder out) {
    detail::write_text(value.native(), out);
  }
  static std::filesystem::path decode(wire::Value::Reader in) {
    return std::filesystem::path(detail::read_text(in, "std::filesystem::path"));
  }
};

template <>
struct Codec<std::monostate> {
  using Parts = detail::TypeList<>;
  static constexpr bool may_be_none = true;
  static void encode(const std::monostate&, wire::Value::Builder out) { out.setNone(); }
  static std::monostate decode(wire::Value::Reader in) {
    if (!in.isNone()) detail::fail_shape("std::monostate", in);
    return {};
  }
};

template <>
struct Codec<std::nullptr_t> {
  using Parts = detail::TypeList<>;
  static constexpr bool may_be_none = true;
  static void encode(const std::nullptr_t&, wire::Value::Builder out) { out.setNone(); }
  static std::nullptr_t decode(wire::Value::Reader in) {
    if (!in.isNone()) detail::fail_shape("std::nullptr_t", in);
    return nullptr;
  }
};

namespace detail {

/// Periods that the wire can name: whole seconds, or a whole number of ticks in a second. That is all of std::chrono's.
template <class Period>
concept WirePeriod =
    (Period::num == 1 || Period::den == 1) && Period::num <= std::numeric_limits<std::int32_t>::max() &&
    Period::den <= std::numeric_limits<std::int32_t>::max();

template <WirePeriod Period>
inline constexpr std::int32_t wire_unit = static_cast<std::int32_t>(Period::den == 1 ? Period::num : -Period::den);

/// Ticks of a duration on the wire, in `unit`; exact. Errors: CodecError when the wire's duration is no whole number of
/// them, or too many for 64 bits.
std::int64_t read_ticks(wire::Value::Reader in, std::int32_t unit, const std::string& expected);
/// The same rounded to a double, as std::chrono converts to floating point durations.
double read_float_ticks(wire::Value::Reader in, std::int32_t unit, const std::string& expected);

}  // namespace detail

/// With their unit: 2 seconds arrive as 2000 milliseconds. To a coarser unit only when it is exact.
template <class Rep, class Period>
  requires detail::Number<Rep> && detail::WirePeriod<Period>
struct Codec<std::chrono::duration<Rep, Period>> {
  using Duration = std::chrono::duration<Rep, Period>;
  using Parts = detail::TypeList<>;

  static void encode(const Duration& value, wire::Value::Builder out) {
    if constexpr (std::is_floating_point_v<Rep>) {
      auto duration = out.initFloatDuration();
      duration.setTicks(value.count());
      duration.setUnit(detail::wire_unit<Period>);
    } else {
      if (!detail::fits<std::int64_t>(wide(value.count()))) detail::fail("a duration has more than 2^63 ticks");
      auto duration = out.initDuration();
      duration.setTicks(static_cast<std::int64_t>(value.count()));
      duration.setUnit(detail::wire_unit<Period>);
    }
  }

  static Duration decode(wire::Value::Reader in) {
    const auto& expected = detail::type_label<Duration>();
    if constexpr (std::is_floating_point_v<Rep>) {
      return Duration(static_cast<Rep>(detail::read_float_ticks(in, detail::wire_unit<Period>, expected)));
    } else {
      const std::int64_t ticks = detail::read_ticks(in, detail::wire_unit<Period>, expected);
      if (!detail::fits<Rep>(ticks)) detail::fail_shape(expected, in, "which does not fit");
      return Duration(static_cast<Rep>(ticks));
    }
  }

 private:
  static constexpr auto wide(Rep count) {
    if constexpr (std::is_signed_v<Rep>) {
      return static_cast<std::int64_t>(count);
    } else {
      return static_cast<std::uint64_t>(count);
    }
  }
};

/// As the time since the epoch of its clock; both sides must mean the same clock.
template <class Clock, class Duration>
  requires detail::HasDecode<Duration>
struct Codec<std::chrono::time_point<Clock, Duration>> {
  using TimePoint = std::chrono::time_point<Clock, Duration>;
  using Parts = detail::TypeList<Duration>;

  static void encode(const TimePoint& value, wire::Value::Builder out) {
    Codec<Duration>::encode(value.time_since_epoch(), out);
  }
  static TimePoint decode(wire::Value::Reader in) { return TimePoint(Codec<Duration>::decode(in)); }
};

}  // namespace troupe
