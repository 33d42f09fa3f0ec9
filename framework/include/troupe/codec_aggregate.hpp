#pragma once

/// \file
/// Codecs of structs: aggregates by position (Boost.PFR), classes with TROUPE_FIELDS by name, and generated Cap'n Proto
/// structs as they are. Include <troupe/codec.hpp>.

#include <troupe/codec_container.hpp>
#include <troupe/fields.hpp>

#include <boost/pfr.hpp>
#include <capnp/message.h>

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <tuple>
#include <utility>

namespace troupe {

namespace detail {

/// Converts to any base class of T, to find out whether T has one.
template <class T>
struct AnyBaseOf {
  template <class B>
    requires(std::is_base_of_v<B, T> && !std::is_same_v<B, T>)
  constexpr operator B() const noexcept;
};

template <class T>
concept HasBase = std::is_aggregate_v<T> && requires { T{AnyBaseOf<T>{}}; };

template <class T, std::size_t... I>
consteval bool fields_are_assignable(std::index_sequence<I...>) {
  return (std::is_move_assignable_v<boost::pfr::tuple_element_t<I, T>> && ...);
}

/// An aggregate that cannot be assigned although each of its fields can, as Boost.PFR tells them: one is a reference. A
/// reference to const is told as a const field, so `require_inside` has to see to it.
template <class T>
concept HasReference =
    !std::is_move_assignable_v<T> && fields_are_assignable<T>(std::make_index_sequence<boost::pfr::tuple_size_v<T>>{});

/// Structs whose fields the compiler can enumerate: no constructors, private fields, bases, unions, references. Fields
/// that are C arrays are not understood: use std::array. (g++ 12 breaks down over Boost.PFR when a field is a
/// std::array of strings or the like: use TROUPE_FIELDS.)
template <class T>
concept Aggregate = std::is_class_v<T> && std::is_aggregate_v<T> && !HasFields<T> && !Sequence<T> && !Set<T> &&
                    !Map<T> && !HasBase<T> && !HasReference<T>;

/// What a reference refers to would stay behind in the sender. Errors: CodecError unless `field` is part of `object`.
template <class T, class Field>
void require_inside(const T& object, const Field& field) {
  const auto* begin = reinterpret_cast<const std::byte*>(std::addressof(object));
  const auto* place = reinterpret_cast<const std::byte*>(std::addressof(field));
  if (std::less<>{}(place, begin) || !std::less<>{}(place, begin + sizeof(T)))
    throw CodecError(type_label<T>() + " has a field that is a reference, which cannot travel; make it a value");
}

template <class T, class Indices = std::make_index_sequence<boost::pfr::tuple_size_v<T>>>
struct FieldTypes;
template <class T, std::size_t... I>
struct FieldTypes<T, std::index_sequence<I...>> {
  using type = TypeList<std::remove_cv_t<boost::pfr::tuple_element_t<I, T>>...>;
};

template <class Tuple>
struct TiedTypes;
template <class... T>
struct TiedTypes<std::tuple<T&...>> {
  using type = TypeList<std::remove_cv_t<T>...>;
};

/// The fields of a new struct in a message. Errors: CodecError, kj::Exception.
capnp::List<wire::Value>::Builder init_struct(const std::string& type, unsigned num_fields, wire::Value::Builder out);
capnp::List<wire::Value>::Builder init_struct(const std::string& type, std::span<const std::string_view> names,
                                              wire::Value::Builder out);

/// The fields of a struct that should have `num_fields`, by position.
Values open_struct(wire::Value::Reader in, const std::string& expected, unsigned num_fields);

/// The fields of a struct that should have `names`; `order[i]` is where field i lies in the message.
Values open_struct(wire::Value::Reader in, const std::string& expected, std::span<const std::string_view> names,
                   std::span<unsigned> order);

}  // namespace detail

template <detail::Aggregate T>
struct Codec<T> {
  using Parts = typename detail::FieldTypes<T>::type;
  static constexpr unsigned num_fields = boost::pfr::tuple_size_v<T>;

  static void encode(const T& value, wire::Value::Builder out) {
    const detail::Nesting level;
    auto fields = detail::init_struct(detail::type_label<T>(), num_fields, out);
    if constexpr (num_fields > 0) {
      unsigned i = 0;
      boost::pfr::for_each_field(value, [&]<class Field>(const Field& field) {
        detail::require_inside(value, field);
        detail::encode_part<Field>(field, fields[i++]);
      });
    }
  }

  static T decode(wire::Value::Reader in) {
    const detail::Nesting level;
    const auto fields = detail::open_struct(in, detail::type_label<T>(), num_fields);
    return build(fields, std::make_index_sequence<num_fields>{});
  }

 private:
  template <std::size_t... I>
  static T build([[maybe_unused]] const detail::Values& fields, std::index_sequence<I...>) {
    std::size_t at = 0;
    [[maybe_unused]] const auto read = [&]<class Field>(std::type_identity<Field>, std::size_t i) -> Field {
      at = i;
      return detail::decode_part<Field>(fields[static_cast<unsigned>(i)]);
    };
    try {
      return T{read(std::type_identity<std::remove_cv_t<boost::pfr::tuple_element_t<I, T>>>{}, I)...};
    } catch (const CodecError& error) {
      detail::fail_at_field(std::to_string(at), detail::type_label<T>(), error);
    }
  }
};

template <detail::HasFields T>
struct Codec<T> {
  using Tie = decltype(FieldAccess::tie(std::declval<T&>()));
  using Parts = typename detail::TiedTypes<Tie>::type;
  static constexpr std::size_t num_fields = std::tuple_size_v<Tie>;
  static constexpr auto names = detail::split_names<num_fields>(FieldAccess::names<T>());

  static void encode(const T& value, wire::Value::Builder out) {
    const detail::Nesting level;
    auto fields = detail::init_struct(detail::type_label<T>(), names, out);
    std::apply(
        [&]<class... Field>(const Field&... field) {
          [[maybe_unused]] unsigned i = 0;
          (detail::encode_part<Field>(field, fields[i++]), ...);
        },
        FieldAccess::tie(value));
  }

  static T decode(wire::Value::Reader in) {
    const detail::Nesting level;
    std::array<unsigned, num_fields> order;
    const auto fields = detail::open_struct(in, detail::type_label<T>(), names, order);
    T value = FieldAccess::make<T>();
    [[maybe_unused]] unsigned i = 0;
    try {
      std::apply(
          [&]<class... Field>(Field&... field) { ((field = detail::decode_part<Field>(fields[order[i]]), ++i), ...); },
          FieldAccess::tie(value));
    } catch (const CodecError& error) {
      detail::fail_at_field(names[i], detail::type_label<T>(), error);
    }
    return value;
  }
};

namespace detail {

/// Reader of a generated Cap'n Proto struct.
template <class T>
concept StructReader = requires { typename T::Reads; } && capnp::kind<typename T::Reads>() == capnp::Kind::STRUCT;

}  // namespace detail

/// Owns one struct of the user's own Cap'n Proto schema, to pass it to tasks or return it; parameters of type
/// MyStruct::Reader read such a message in place.
///
///     troupe::Typed<Invoice> invoice;
///     invoice.build().setTotal(12);
///     long total = pool.apply([](Invoice::Reader in) { return in.getTotal(); }, invoice);
///
/// Copies are deep. Thread: caller.
template <class Struct>
class Typed {
 public:
  Typed() : message_(std::make_unique<capnp::MallocMessageBuilder>()) { message_->initRoot<Struct>(); }
  explicit Typed(typename Struct::Reader from) : message_(std::make_unique<capnp::MallocMessageBuilder>()) {
    message_->setRoot(from);
  }
  Typed(const Typed& other) : Typed(other.read()) {}
  Typed(Typed&&) noexcept = default;
  Typed& operator=(Typed other) noexcept {
    message_ = std::move(other.message_);
    return *this;
  }
  ~Typed() = default;

  /// Valid until this object is assigned to, moved from or destroyed; the object must not be a moved-from one.
  typename Struct::Builder build() { return message_->getRoot<Struct>(); }
  typename Struct::Reader read() const { return message_->getRoot<Struct>().asReader(); }

 private:
  std::unique_ptr<capnp::MallocMessageBuilder> message_;
};

/// Sends any such struct; decodes to a view into the message.
template <detail::StructReader T>
struct Codec<T> {
  using Parts = detail::TypeList<>;
  static constexpr bool views_message = true;
  static void encode(const T& value, wire::Value::Builder out) {
    out.initMessage().template setAs<typename T::Reads>(value);
  }
  static T decode(wire::Value::Reader in) {
    if (!in.isMessage()) detail::fail_shape(detail::type_label<T>(), in);
    return in.getMessage().template getAs<typename T::Reads>();
  }
};

template <class Struct>
struct Codec<Typed<Struct>> {
  using Parts = detail::TypeList<>;
  static void encode(const Typed<Struct>& value, wire::Value::Builder out) {
    Codec<typename Struct::Reader>::encode(value.read(), out);
  }
  static Typed<Struct> decode(wire::Value::Reader in) {
    if (!in.isMessage()) detail::fail_shape(detail::type_label<Typed<Struct>>(), in);
    return Typed<Struct>(in.getMessage().template getAs<Struct>());
  }
};

}  // namespace troupe
