#pragma once

/// \file
/// Dynamic: a value whose type is known at run time only. It holds anything that can travel, as it travels, and gives
/// it back unchanged: for tasks that pass values on, for logs, for programs that receive what others defined.

#include <troupe/codec.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace troupe {

namespace detail {

/// Holds a T elsewhere, with the T's own copies and comparisons. Never empty unless moved from.
template <class T>
class Box {
 public:
  Box(T value) : value_(std::make_unique<T>(std::move(value))) {}
  Box(const Box& other) : value_(std::make_unique<T>(*other.value_)) {}
  Box(Box&&) noexcept = default;
  Box& operator=(Box other) noexcept {
    value_ = std::move(other.value_);
    return *this;
  }
  ~Box() = default;

  T& operator*() noexcept { return *value_; }
  const T& operator*() const noexcept { return *value_; }
  friend bool operator==(const Box& a, const Box& b) { return *a == *b; }

 private:
  std::unique_ptr<T> value_;
};

template <class T, class Variant>
inline constexpr bool is_alternative = false;
template <class T, class... Alternative>
inline constexpr bool is_alternative<T, std::variant<Alternative...>> = (std::is_same_v<T, Alternative> || ...);

}  // namespace detail

class Dynamic;

/// As whatever it holds. Stands before the class, which asks for it.
template <>
struct Codec<Dynamic> {
  using Parts = detail::TypeList<>;
  static constexpr bool may_be_none = true;
  static void encode(const Dynamic& value, wire::Value::Builder out);
  static Dynamic decode(wire::Value::Reader in);
};

/// One value of any kind that travels. Copies are deep; equal are values of the same kind and content, so the integer 3
/// is not the number 3.0. Thread: caller.
///
///     troupe::Dynamic answer = pool.apply(load, "settings");
///     if (answer.is<std::int64_t>()) ...
///     auto names = answer["names"].as<std::vector<std::string>>();
///     std::cout << answer;                              // {"names": ["a", "b"], "size": 3}
class Dynamic {
 public:
  using None = std::monostate;
  using Bytes = std::vector<std::byte>;
  using List = std::vector<Dynamic>;
  /// In the sender's order.
  using Map = std::vector<std::pair<Dynamic, Dynamic>>;

  /// An aggregate (`names` empty) or a class with listed fields (`names` as long as `fields`).
  struct Struct {
    std::string type;
    std::vector<std::string> names;
    List fields;
    bool operator==(const Struct&) const;
  };

  /// An exception; the members of wire::Error.
  struct Failure {
    std::uint32_t code = 0;
    std::uint8_t kind = 0;
    std::string type;
    std::string message;
    std::int32_t system_error = 0;
    std::string category;
    std::string process;
    std::int32_t pid = 0;
    std::string task;
    std::optional<DeathRecord> death;
    bool operator==(const Failure&) const = default;
  };

  /// The address of a troupe object.
  struct Handle {
    std::string kind;
    List address;
    bool operator==(const Handle&) const;
  };

  /// A Cap'n Proto struct of somebody's schema, as one segment.
  struct Message {
    std::vector<std::uint64_t> words;
    bool operator==(const Message&) const = default;
  };

  /// `unit` as in wire::Value.duration: > 0 seconds per tick, < 0 minus the ticks per second.
  struct Duration {
    std::int64_t ticks = 0;
    std::int32_t unit = 1;
    bool operator==(const Duration&) const = default;
  };
  struct FloatDuration {
    double ticks = 0;
    std::int32_t unit = 1;
    bool operator==(const FloatDuration&) const = default;
  };

  using Storage =
      std::variant<None, bool, std::int64_t, std::uint64_t, double, std::string, Bytes, List, Map, detail::Box<Struct>,
                   detail::Box<Failure>, detail::Box<Handle>, detail::Box<Message>, Duration, FloatDuration,
                   std::vector<bool>, std::vector<std::int8_t>, std::vector<std::int16_t>, std::vector<std::int32_t>,
                   std::vector<std::int64_t>, std::vector<std::uint16_t>, std::vector<std::uint32_t>,
                   std::vector<std::uint64_t>, std::vector<float>, std::vector<double>>;

  /// What holds a T here: T itself, or a box for the larger ones.
  template <class T>
  using Held = std::conditional_t<detail::is_alternative<T, Storage>, T, detail::Box<T>>;
  /// The kinds a Dynamic can be of.
  template <class T>
  static constexpr bool is_kind = detail::is_alternative<Held<T>, Storage>;

  Dynamic() = default;
  /// Any value that can travel; it is encoded and kept as it would arrive. Errors: those of its codec.
  template <class T>
    requires(!std::same_as<std::remove_cvref_t<T>, Dynamic> && !std::same_as<std::remove_cvref_t<T>, Storage> &&
             Encodable<T>)
  Dynamic(T&& value) : Dynamic(make(std::forward<T>(value))) {}

  /// Whether it is of kind T: None, bool, std::int64_t, ..., List, Map, Struct, ..., std::vector<double>.
  template <class T>
    requires is_kind<T>
  bool is() const noexcept {
    return std::holds_alternative<Held<T>>(storage_);
  }
  bool is_none() const noexcept { return is<None>(); }

  /// The value of kind T. Errors: TypeError naming both kinds.
  template <class T>
    requires is_kind<T>
  const T& get() const {
    const auto* held = std::get_if<Held<T>>(&storage_);
    if (held == nullptr) fail_kind(detail::type_label<T>());
    if constexpr (std::same_as<Held<T>, T>) {
      return *held;
    } else {
      return **held;
    }
  }
  template <class T>
    requires is_kind<T>
  T& get() {
    return const_cast<T&>(std::as_const(*this).template get<T>());
  }

  /// Decodes to any type, with the conversions that an argument has. Errors: CodecError naming expected and found.
  template <class T>
    requires Decodable<T>
  T as() const {
    static_assert(!ViewsMessage<T>, "troupe: take a type that owns its value, as in std::string");
    if constexpr (std::same_as<T, Dynamic>) {
      return *this;
    } else {
      const Encoded message(*this);
      return decode<T>(message.value());
    }
  }

  /// Number of items, entries, fields, characters or bytes. Errors: TypeError for what has none.
  std::size_t size() const;
  /// Item of a list of any kind, or field of a struct. Errors: IndexError; TypeError for what has no items.
  Dynamic item(std::size_t index) const;
  template <std::integral Index>
  Dynamic operator[](Index index) const {
    return item(static_cast<std::size_t>(index));
  }
  /// Value of a text key in a map, or field of a struct. Errors: KeyError; TypeError for what has no keys.
  const Dynamic& operator[](std::string_view key) const;
  const Dynamic& operator[](const char* key) const { return (*this)[std::string_view(key)]; }

  /// The value as a person would write it: [1, 2], {"a": none}, Point{x: 1, y: 2}, b"\x00a", 1500 ms.
  std::string to_string() const;
  /// What it is in a word or two: "list of 3 items", "text".
  std::string describe() const;

  const Storage& storage() const noexcept { return storage_; }

  friend bool operator==(const Dynamic& a, const Dynamic& b) { return a.storage_ == b.storage_; }
  friend std::ostream& operator<<(std::ostream& out, const Dynamic& value);

 private:
  friend struct Codec<Dynamic>;

  /// A message with a value in it, to decode from.
  class Encoded {
   public:
    Encoded();
    explicit Encoded(const Dynamic& value);
    ~Encoded();
    Encoded(const Encoded&) = delete;
    Encoded& operator=(const Encoded&) = delete;
    wire::Value::Builder out();
    wire::Value::Reader value() const;

   private:
    std::unique_ptr<capnp::MallocMessageBuilder> message_;
  };

  template <class T>
  static Storage make(T&& value) {
    using Plain = std::remove_cvref_t<T>;
    if constexpr (is_kind<Plain>) {
      return Storage(std::in_place_type<Held<Plain>>, std::forward<T>(value));
    } else if constexpr (std::integral<Plain> && detail::Number<Plain>) {
      using Wide = std::conditional_t<std::is_signed_v<Plain>, std::int64_t, std::uint64_t>;
      return Storage(std::in_place_type<Wide>, value);
    } else if constexpr (std::convertible_to<const Plain&, std::string_view> && !std::is_pointer_v<Plain>) {
      return Storage(std::in_place_type<std::string>, std::string_view(value));
    } else {
      Encoded message;
      encode(static_cast<const Plain&>(value), message.out());
      return read(message.value());
    }
  }
  explicit Dynamic(Storage storage) : storage_(std::move(storage)) {}

  static Storage read(wire::Value::Reader in);
  void write(wire::Value::Builder out) const;
  [[noreturn]] void fail_kind(const std::string& wanted) const;

  Storage storage_;
};

}  // namespace troupe
