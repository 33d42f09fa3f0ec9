#pragma once

/// \file
/// Codecs of the standard library's containers and vocabulary types. Include <troupe/codec.hpp>.

#include <troupe/codec_list.hpp>
#include <troupe/fields.hpp>

#include <array>
#include <complex>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>
#include <variant>

namespace troupe {

namespace detail {

/// Types that list their fields with TROUPE_FIELDS; see fields.hpp.
template <class T>
concept HasFields = std::is_class_v<T> && FieldAccess::listed<T>(0);

/// vector, deque, list and what looks like them.
template <class T>
concept Sequence = std::is_class_v<T> && !HasFields<T> && std::default_initializable<T> &&
                   requires(T& container, const T& constant, typename T::value_type item) {
                     container.push_back(std::move(item));
                     container.insert(container.end(), std::move(item));
                     constant.begin();
                     { constant.size() } -> std::convertible_to<std::size_t>;
                   };

/// set, unordered_set and their multi forms.
template <class T>
concept Set = std::is_class_v<T> && !HasFields<T> && std::default_initializable<T> &&
              std::is_same_v<typename T::key_type, typename T::value_type> &&
              requires(T& container, const T& constant, typename T::value_type item) {
                container.insert(container.end(), std::move(item));
                constant.begin();
                { constant.size() } -> std::convertible_to<std::size_t>;
              };

/// map, unordered_map and their multi forms.
template <class T>
concept Map = std::is_class_v<T> && !HasFields<T> && std::default_initializable<T> &&
              requires(T& container, const T& constant, typename T::key_type key, typename T::mapped_type value) {
                container.emplace_hint(container.end(), std::move(key), std::move(value));
                constant.begin();
                { constant.size() } -> std::convertible_to<std::size_t>;
              };

}  // namespace detail

template <detail::Sequence T>
struct Codec<T> {
  using Item = typename T::value_type;
  using Parts = detail::TypeList<Item>;

  static void encode(const T& value, wire::Value::Builder out) {
    detail::encode_list<Item>(value.begin(), value.size(), out);
  }
  static T decode(wire::Value::Reader in) {
    const detail::Nesting level;
    T value;
    detail::append_items<Item>(in, value, detail::type_label<T>());
    return value;
  }
};

template <detail::Set T>
struct Codec<T> {
  using Item = typename T::value_type;
  using Parts = detail::TypeList<Item>;

  static void encode(const T& value, wire::Value::Builder out) {
    detail::encode_list<Item>(value.begin(), value.size(), out);
  }
  /// Errors: CodecError when an item comes twice and the set has no place for it.
  static T decode(wire::Value::Reader in) {
    const detail::Nesting level;
    const ItemsReader<Item> items(in, detail::type_label<T>());
    T value;
    for (std::size_t i = 0; i < items.size(); ++i) {
      value.insert(value.end(), items[i]);
      if (value.size() != i + 1) detail::fail_shape(detail::type_label<T>(), in, "which has an item twice");
    }
    return value;
  }
};

template <detail::Map T>
struct Codec<T> {
  using Key = typename T::key_type;
  using Mapped = typename T::mapped_type;
  using Parts = detail::TypeList<Key, Mapped>;

  static void encode(const T& value, wire::Value::Builder out) {
    const detail::Nesting level;
    detail::check_list_size(value.size(), "map");
    auto entries = out.initMap(static_cast<unsigned>(value.size()));
    unsigned i = 0;
    for (const auto& [key, mapped] : value) {
      auto entry = entries[i++];
      detail::encode_part<Key>(key, entry.initKey());
      detail::encode_part<Mapped>(mapped, entry.initValue());
    }
  }

  /// Errors: CodecError when a key comes twice and the map has no place for it.
  static T decode(wire::Value::Reader in) {
    if (!in.isMap()) detail::fail_shape(detail::type_label<T>(), in);
    const detail::Nesting level;
    const auto entries = detail::open_map(in);
    T value;
    unsigned i = 0;
    try {
      for (; i < entries.size(); ++i) {
        const auto entry = entries[i];
        // The key first, always: which of two bad ones is reported must not depend on the compiler.
        Key key = detail::decode_part<Key>(entry.getKey());
        value.emplace_hint(value.end(), std::move(key), detail::decode_part<Mapped>(entry.getValue()));
        if (value.size() != i + std::size_t{1}) detail::fail("a key that came before");
      }
    } catch (const CodecError& error) {
      detail::fail_at_item(i, error);
    }
    return value;
  }
};

template <class T, std::size_t Size>
struct Codec<std::array<T, Size>> {
  using Parts = detail::TypeList<T>;

  static void encode(const std::array<T, Size>& value, wire::Value::Builder out) {
    detail::encode_list<T>(value.begin(), Size, out);
  }
  static std::array<T, Size> decode(wire::Value::Reader in) {
    const detail::Nesting level;
    const auto& expected = detail::type_label<std::array<T, Size>>();
    const ItemsReader<T> items(in, expected);
    if (items.size() != Size) detail::fail_shape(expected, in, "of another length");
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      return std::array<T, Size>{items[I]...};
    }(std::make_index_sequence<Size>{});
  }
};

/// As a list. Views of constant numbers can be received and look into the message; for others take a std::vector.
template <class T, std::size_t Extent>
struct Codec<std::span<T, Extent>> {
  using Item = std::remove_const_t<T>;
  using Parts = detail::TypeList<Item>;
  static constexpr bool views_message = true;

  static void encode(const std::span<T, Extent>& value, wire::Value::Builder out) {
    detail::encode_list<Item>(value.begin(), value.size(), out);
  }
  /// Errors: CodecError unless the message holds a packed list of exactly T (or no items), of Extent items if fixed.
  static std::span<T, Extent> decode(wire::Value::Reader in)
    requires std::is_const_v<T> && detail::Viewable<Item>
  {
    const auto& expected = detail::type_label<std::span<T, Extent>>();
    const ItemsReader<Item> items(in, expected);
    if (items.data() == nullptr && items.size() > 0) {
      detail::fail_shape(expected, in, "which is no array of these numbers in memory; take a std::vector");
    }
    if (Extent != std::dynamic_extent && items.size() != Extent) detail::fail_shape(expected, in, "of another length");
    return std::span<T, Extent>(items.data(), items.size());
  }
};

namespace detail {

/// Tuples of one kind of number are packed like arrays.
template <class First, class... Rest>
inline constexpr bool packs_as_array = Viewable<First> && !ByteLike<First> && (std::is_same_v<First, Rest> && ...);

template <class Tuple, class... T>
struct TupleCodec {
  using Parts = TypeList<T...>;

  static void encode(const Tuple& value, wire::Value::Builder out) {
    if constexpr (packs_as_array<T...>) {
      std::byte* to = init_packed(packed_kind<std::tuple_element_t<0, Tuple>>(), sizeof...(T), out);
      std::apply([&](const T&... item) { ((std::memcpy(to, &item, sizeof(T)), to += sizeof(T)), ...); }, value);
    } else {
      const Nesting level;
      auto items = out.initList(sizeof...(T));
      std::apply(
          [&](const T&... item) {
            unsigned i = 0;
            (encode_part<T>(item, items[i++]), ...);
          },
          value);
    }
  }

  static Tuple decode(wire::Value::Reader in) {
    const Nesting level;
    if (in.isList()) {
      const auto items = open_list(in, type_label<Tuple>());
      if (items.size() != sizeof...(T)) fail_shape(type_label<Tuple>(), in, "of another length");
      return build(std::index_sequence_for<T...>{}, [&]<class Item>(std::type_identity<Item>, unsigned i) -> Item {
        return decode_part<Item>(items[i]);
      });
    }
    PackedList packed;
    if (in.isData() || !open_packed(in, packed)) fail_shape(type_label<Tuple>(), in);
    if (packed.size != sizeof...(T)) fail_shape(type_label<Tuple>(), in, "of another length");
    return build(std::index_sequence_for<T...>{}, [&]<class Item>(std::type_identity<Item>, unsigned i) -> Item {
      if constexpr (Packable<Item>) {
        return packed_at<Item>(packed, i);
      } else if constexpr (troupe::ViewsMessage<Item>) {
        fail_shape(type_label<Item>(), PackedItem(packed, i).value());
      } else {
        return decode_part<Item>(PackedItem(packed, i).value());
      }
    });
  }

 private:
  template <std::size_t... I, class Read>
  static Tuple build(std::index_sequence<I...>, const Read& read) {
    unsigned at = 0;
    const auto read_next = [&]<class Item>(std::type_identity<Item> type, std::size_t i) -> Item {
      at = static_cast<unsigned>(i);
      return read(type, at);
    };
    try {
      return Tuple{read_next(std::type_identity<T>{}, I)...};
    } catch (const CodecError& error) {
      fail_at_item(at, error);
    }
  }
};

template <class Tuple>
struct TupleCodec<Tuple> {
  using Parts = TypeList<>;
  static void encode(const Tuple&, wire::Value::Builder out) { out.initList(0); }
  static Tuple decode(wire::Value::Reader in) {
    if (!in.isList() || in.getList().size() != 0) fail_shape("std::tuple<>", in);
    return {};
  }
};

}  // namespace detail

template <class... T>
struct Codec<std::tuple<T...>> : detail::TupleCodec<std::tuple<T...>, T...> {};

template <class First, class Second>
struct Codec<std::pair<First, Second>> : detail::TupleCodec<std::pair<First, Second>, First, Second> {};

template <detail::Number T>
struct Codec<std::complex<T>> {
  using Parts = detail::TypeList<>;
  static void encode(const std::complex<T>& value, wire::Value::Builder out) {
    Codec<std::pair<T, T>>::encode({value.real(), value.imag()}, out);
  }
  static std::complex<T> decode(wire::Value::Reader in) {
    const auto parts = Codec<std::pair<T, T>>::decode(in);
    return {parts.first, parts.second};
  }
};

namespace detail {

/// Something that may be absent: none, or the value; as a list of one where the value may be none itself.
template <class T>
struct OptionalCodec {
  static void encode(const T* value, wire::Value::Builder out) {
    if (value == nullptr) {
      out.setNone();
    } else if constexpr (detail::may_be_none<T>) {
      const Nesting level;
      encode_part<T>(*value, out.initList(1)[0]);
    } else {
      encode_part<T>(*value, out);
    }
  }

  /// The value that is there; call only when `in` is not none.
  static T decode(wire::Value::Reader in, const std::string& expected) {
    if constexpr (detail::may_be_none<T>) {
      const Nesting level;
      const auto items = open_list(in, expected);
      if (items.size() != 1) fail_shape(expected, in, "of another length than 1");
      return decode_part<T>(items[0]);
    } else {
      return decode_part<T>(in);
    }
  }
};

}  // namespace detail

template <class T>
struct Codec<std::optional<T>> {
  using Parts = detail::TypeList<T>;
  static constexpr bool may_be_none = true;

  static void encode(const std::optional<T>& value, wire::Value::Builder out) {
    detail::OptionalCodec<T>::encode(value ? &*value : nullptr, out);
  }
  static std::optional<T> decode(wire::Value::Reader in) {
    if (in.isNone()) return std::nullopt;
    return detail::OptionalCodec<T>::decode(in, detail::type_label<std::optional<T>>());
  }
};

/// As an optional value. Pointers to the same object arrive as pointers to copies of it.
template <class T>
  requires(!std::is_array_v<T> && !std::is_polymorphic_v<T>)
struct Codec<std::unique_ptr<T>> {
  using Value = std::remove_const_t<T>;
  using Parts = detail::TypeList<Value>;
  static constexpr bool may_be_none = true;

  static void encode(const std::unique_ptr<T>& value, wire::Value::Builder out) {
    detail::OptionalCodec<Value>::encode(value.get(), out);
  }
  static std::unique_ptr<T> decode(wire::Value::Reader in) {
    if (in.isNone()) return nullptr;
    return std::make_unique<Value>(detail::OptionalCodec<Value>::decode(in, detail::type_label<std::unique_ptr<T>>()));
  }
};

/// As unique_ptr. A cycle of these ends in a CodecError (max_nesting).
template <class T>
  requires(!std::is_array_v<T> && !std::is_polymorphic_v<T>)
struct Codec<std::shared_ptr<T>> {
  using Value = std::remove_const_t<T>;
  using Parts = detail::TypeList<Value>;
  static constexpr bool may_be_none = true;

  static void encode(const std::shared_ptr<T>& value, wire::Value::Builder out) {
    detail::OptionalCodec<Value>::encode(value.get(), out);
  }
  static std::shared_ptr<T> decode(wire::Value::Reader in) {
    if (in.isNone()) return nullptr;
    return std::make_shared<Value>(detail::OptionalCodec<Value>::decode(in, detail::type_label<std::shared_ptr<T>>()));
  }
};

/// As the list of the alternative's index and its value.
template <class... T>
struct Codec<std::variant<T...>> {
  using Variant = std::variant<T...>;
  using Parts = detail::TypeList<T...>;

  static void encode(const Variant& value, wire::Value::Builder out) {
    if (value.valueless_by_exception()) detail::fail(detail::type_label<Variant>() + " holds no value");
    const detail::Nesting level;
    auto parts = out.initList(2);
    parts[0].setInt64(static_cast<std::int64_t>(value.index()));
    std::visit([&]<class Held>(const Held& held) { detail::encode_part<Held>(held, parts[1]); }, value);
  }

  static Variant decode(wire::Value::Reader in) {
    const detail::Nesting level;
    const auto& expected = detail::type_label<Variant>();
    const auto parts = detail::open_list(in, expected);
    if (parts.size() != 2) detail::fail_shape(expected, in, "where index and value should be");
    const auto index = detail::decode_part<std::size_t>(parts[0]);
    if (index >= sizeof...(T)) detail::fail_shape(expected, parts[0], "where the index of an alternative should be");
    return alternative(index, parts[1], std::index_sequence_for<T...>{});
  }

 private:
  template <std::size_t... I>
  static Variant alternative(std::size_t index, wire::Value::Reader in, std::index_sequence<I...>) {
    using Read = Variant (*)(wire::Value::Reader);
    constexpr Read read[] = {[](wire::Value::Reader value) -> Variant {
      return Variant(std::in_place_index<I>, detail::decode_part<std::variant_alternative_t<I, Variant>>(value));
    }...};
    return read[index](in);
  }
};

}  // namespace troupe
