#pragma once

/// \file
/// The frame of the codec: the customization point Codec<T>, what counts as encodable, the two functions that everybody
/// calls, and the checks that every codec shares. Include <troupe/codec.hpp>, which brings the codecs themselves.

#include <troupe/error.hpp>
#include <troupe/wire/value.capnp.h>

#include <kj/exception.h>

#include <concepts>
#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace troupe {

/// How values of type T travel. Specialize it for a type that has no codec and cannot get TROUPE_FIELDS:
///
///     template <>
///     struct troupe::Codec<Money> {
///       static void encode(const Money& money, troupe::wire::Value::Builder out) { troupe::encode(money.cents(), out);
///       } static Money decode(troupe::wire::Value::Reader in) { return Money{troupe::decode<long>(in)}; }
///     };
///
/// Thread: any; both functions may run on several threads at once. Either may be left out for a type that travels one
/// way only. A codec that may write `none` says so with `static constexpr bool may_be_none = true;`, or an optional of
/// the type could not tell an empty one from none.
template <class T>
struct Codec;

/// How deep values may be nested: lists in lists, structs in structs. Encoding and decoding both stop there, so that a
/// cyclic value or a hostile message ends in a CodecError and not in an overflow of the stack.
inline constexpr int max_nesting = 64;

/// The ReaderOptions::nestingLimit a message needs so that max_nesting, and not Cap'n Proto, decides: one level of
/// Struct takes three pointers, and the envelope around a value a few more.
inline constexpr int wire_nesting_limit = 256;

namespace detail {

/// The types that a codec of ours is made of, for the check that a whole type can travel.
template <class... T>
struct TypeList {};

template <class T>
concept HasEncode = requires(const T& value, wire::Value::Builder out) { Codec<T>::encode(value, out); };

template <class T>
concept HasDecode = requires(wire::Value::Reader in) {
  { Codec<T>::decode(in) } -> std::same_as<T>;
};

/// Our own codecs list their parts; a user's codec need not.
template <class T>
concept HasParts = requires { typename Codec<T>::Parts; };

/// Whether a codec may write `none` for a value of T.
template <class T>
inline constexpr bool may_be_none = false;
template <class T>
  requires requires { Codec<T>::may_be_none; }
inline constexpr bool may_be_none<T> = Codec<T>::may_be_none;

enum class Direction { encode, decode };

template <Direction direction, class T>
consteval bool has_codec() {
  if constexpr (direction == Direction::encode) {
    return HasEncode<T>;
  } else {
    return HasDecode<T>;
  }
}

/// Whether T and all its parts have codecs. `Seen` are the types around T: a tree node that holds tree nodes is fine.
template <Direction direction, class T, class... Seen>
consteval bool can_travel();

template <Direction direction, class... Seen, class... Part>
consteval bool parts_can_travel(TypeList<Part...>) {
  return (can_travel<direction, Part, Seen...>() && ...);
}

template <Direction direction, class T, class... Seen>
consteval bool can_travel() {
  if constexpr ((std::is_same_v<T, Seen> || ...)) {
    return true;
  } else if constexpr (!has_codec<direction, T>()) {
    return false;
  } else if constexpr (HasParts<T>) {
    return parts_can_travel<direction, T, Seen...>(typename Codec<T>::Parts{});
  } else {
    return true;
  }
}

/// Whether a decoded T points into the message that it came from, itself or by a part.
template <class T, class... Seen>
consteval bool views_message();

template <class... Seen, class... Part>
consteval bool parts_view_message(TypeList<Part...>) {
  return (views_message<Part, Seen...>() || ...);
}

template <class T, class... Seen>
consteval bool views_message() {
  if constexpr ((std::is_same_v<T, Seen> || ...)) {
    return false;
  } else if constexpr (requires { Codec<T>::views_message; }) {
    return Codec<T>::views_message;
  } else if constexpr (HasParts<T>) {
    return parts_view_message<T, Seen...>(typename Codec<T>::Parts{});
  } else {
    return false;
  }
}

}  // namespace detail

/// Whether values of type T can be sent.
template <class T>
concept Encodable = detail::can_travel<detail::Direction::encode, std::remove_cvref_t<T>>();

/// Whether values of type T can be received.
template <class T>
concept Decodable = detail::can_travel<detail::Direction::decode, std::remove_cvref_t<T>>();

/// Whether a decoded T is valid only as long as the message is: std::string_view, std::span and what contains them.
template <class T>
concept ViewsMessage = detail::views_message<std::remove_cvref_t<T>>();

namespace detail {

/// Stops compilation at the innermost type that cannot travel, so that the compiler names that one.
template <Direction direction, class T, class... Seen>
consteval void require_codec();

template <Direction direction, class... Seen, class... Part>
consteval void require_parts(TypeList<Part...>) {
  (require_codec<direction, Part, Seen...>(), ...);
}

template <Direction direction, class T, class... Seen>
consteval void require_codec() {
  if constexpr (!(std::is_same_v<T, Seen> || ...)) {
    if constexpr (direction == Direction::encode) {
      static_assert(HasEncode<T>,
                    "troupe: this type has no codec and cannot be sent to another process. Remedy: list its fields "
                    "with TROUPE_FIELDS(...) inside the class, make it an aggregate whose fields can travel, or "
                    "specialize troupe::Codec for it.");
    } else {
      static_assert(HasDecode<T>,
                    "troupe: this type has no codec and cannot be received from another process. Remedy: list its "
                    "fields with TROUPE_FIELDS(...) inside the class, make it an aggregate whose fields can travel, or "
                    "specialize troupe::Codec for it.");
    }
    if constexpr (HasParts<T>) require_parts<direction, T, Seen...>(typename Codec<T>::Parts{});
  }
}

/// A readable name of a type: "std::vector<int>", not the compiler's long form.
std::string type_text(const std::type_info& type);

/// type_text of T, made once.
template <class T>
const std::string& type_label() {
  static const std::string label = type_text(typeid(T));
  return label;
}

/// What a value of the wire is, in words: `text "abc"`, "list of 3 items". Never throws CodecError.
std::string describe(wire::Value::Reader value);

/// Throws CodecError: "expected `expected`, found ..."; `why` is appended if not empty.
[[noreturn]] void fail_shape(std::string_view expected, wire::Value::Reader found, std::string_view why = {});
/// Throws CodecError with this text.
[[noreturn]] void fail(const std::string& text);
/// Throws the CodecError again with the place in front: "item 3: ...".
[[noreturn]] void fail_at_item(std::size_t index, const CodecError& error);
/// Throws the CodecError again with the place in front: "field x of Point: ...".
[[noreturn]] void fail_at_field(std::string_view field, const std::string& type, const CodecError& error);
/// Throws CodecError when a list of `count` is more than a message can hold.
void check_list_size(std::size_t count, std::string_view what);

/// Throws what Cap'n Proto found as a CodecError.
[[noreturn]] void fail_encoding(const kj::Exception& error, const std::string& type);
[[noreturn]] void fail_decoding(const kj::Exception& error, const std::string& type);

/// One level of nesting, for its lifetime. Errors: CodecError at max_nesting.
class Nesting {
 public:
  Nesting() {
    if (depth_ >= max_nesting) fail_depth();
    ++depth_;
  }
  ~Nesting() { --depth_; }
  Nesting(const Nesting&) = delete;
  Nesting& operator=(const Nesting&) = delete;

 private:
  [[noreturn]] static void fail_depth();
  static inline constinit thread_local int depth_ = 0;
};

/// Writes a part of a value that is being encoded. Codecs of ours guard their depth where they nest.
template <class T>
void encode_part(const T& value, wire::Value::Builder out) {
  if constexpr (HasParts<T>) {
    Codec<T>::encode(value, out);
  } else {
    const Nesting level;
    Codec<T>::encode(value, out);
  }
}

/// Reads a part of a value that is being decoded.
template <class T>
T decode_part(wire::Value::Reader in) {
  if constexpr (HasParts<T>) {
    return Codec<T>::decode(in);
  } else {
    const Nesting level;
    return Codec<T>::decode(in);
  }
}

}  // namespace detail

/// Writes `value` into `out`, which must be fresh.
/// Thread: any. Errors: CodecError when the value is too deep (max_nesting) or too large for a message (a list or text
/// of 2^29 items or bytes); what the message's memory and a user's codec throw. `out` is then incomplete: discard it.
template <class T>
void encode(const T& value, wire::Value::Builder out) {
  detail::require_codec<detail::Direction::encode, T>();
  if constexpr (Encodable<T>) {
    if constexpr (std::is_arithmetic_v<T>) {
      Codec<T>::encode(value, out);
    } else {
      try {
        detail::encode_part(value, out);
      } catch (const kj::Exception& error) {
        detail::fail_encoding(error, detail::type_label<T>());
      }
    }
  }
}

/// Reads a T from `in`. A T that ViewsMessage is valid only as long as the message.
/// Thread: any. Errors: CodecError naming what was expected and what was found; never another, whatever `in` holds,
/// but for std::bad_alloc and what a user's codec throws.
template <class T>
T decode(wire::Value::Reader in) {
  static_assert(std::is_same_v<T, std::remove_cvref_t<T>>,
                "troupe: decode to a plain type, without const or reference");
  detail::require_codec<detail::Direction::decode, T>();
  if constexpr (Decodable<T>) {
    if constexpr (std::is_arithmetic_v<T>) {
      return Codec<T>::decode(in);
    } else {
      try {
        return detail::decode_part<T>(in);
      } catch (const kj::Exception& error) {
        detail::fail_decoding(error, detail::type_label<T>());
      }
    }
  }
}

/// Runs `read`, which takes a message apart by hand (`result.getValue()`), and returns what it returns: what Cap'n
/// Proto finds wrong with the message becomes a CodecError, as in decode. Thread: any.
template <class Read>
decltype(auto) guard_reading(Read&& read) {
  try {
    return std::forward<Read>(read)();
  } catch (const kj::Exception& error) {
    detail::fail_decoding(error, "a message");
  }
}

}  // namespace troupe
