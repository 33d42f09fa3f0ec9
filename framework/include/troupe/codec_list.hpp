#pragma once

/// \file
/// Lists on the wire: packed where the items are numbers or enumerators, one Value per item otherwise.
/// Include <troupe/codec.hpp>.

#include <troupe/codec_scalar.hpp>

#include <algorithm>
#include <bit>
#include <cstring>
#include <iterator>
#include <memory>
#include <ranges>
#include <span>
#include <vector>

namespace troupe {

namespace detail {

static_assert(std::endian::native == std::endian::little, "packed lists are copied as they are: little endian only");

template <class T>
struct PackedNumber {
  using type = T;
};
template <Enumerator T>
struct PackedNumber<T> {
  using type = std::underlying_type_t<T>;
};

/// Items that packed lists can hold.
template <class T>
concept Packable = Number<T> || Enumerator<T>;

/// Items that lie in a packed list as they lie in memory; bool takes one bit there.
template <class T>
concept Viewable = Packable<T> && !std::is_same_v<typename PackedNumber<T>::type, bool>;

/// Bytes travel as data.
template <class T>
concept ByteLike = std::is_same_v<T, std::byte> || std::is_same_v<T, unsigned char>;

template <Packable T>
constexpr wire::Value::Which packed_kind() {
  using Item = typename PackedNumber<T>::type;
  if constexpr (std::is_same_v<Item, bool>) {
    return wire::Value::BOOLS;
  } else if constexpr (std::is_floating_point_v<Item>) {
    return sizeof(Item) == 4 ? wire::Value::FLOAT32S : wire::Value::FLOAT64S;
  } else if constexpr (std::is_signed_v<Item>) {
    constexpr wire::Value::Which kinds[] = {wire::Value::INT8S, wire::Value::INT16S, wire::Value::INT32S,
                                            wire::Value::INT64S};
    return kinds[std::countr_zero(sizeof(Item))];
  } else {
    constexpr wire::Value::Which kinds[] = {wire::Value::DATA, wire::Value::UINT16S, wire::Value::UINT32S,
                                            wire::Value::UINT64S};
    return kinds[std::countr_zero(sizeof(Item))];
  }
}

/// The memory of a new packed list in a message, to be overwritten in whole; rounded up to words with zeros.
/// Errors: CodecError when `count` is more than a message can hold.
std::byte* init_packed(wire::Value::Which kind, std::size_t count, wire::Value::Builder out);

/// A packed list in a message.
struct PackedList {
  wire::Value::Which kind = wire::Value::NONE;  ///< one of the packed ones, or DATA
  const std::byte* items = nullptr;
  std::size_t size = 0;
};

/// Opens a packed list. Returns false when `in` is something else. Errors: CodecError, kj::Exception.
bool open_packed(wire::Value::Reader in, PackedList& out);

using Values = capnp::List<wire::Value>::Reader;

/// Returns `list` if the message holds bytes for its items: eight bytes must not stand for 500 million objects.
/// Errors: CodecError.
Values backed(Values list);

/// Opens a list of Values whose length the message really holds. Errors: CodecError, kj::Exception.
Values open_list(wire::Value::Reader in, std::string_view expected);

/// The same for a map. `in` must be one.
capnp::List<wire::Entry>::Reader open_map(wire::Value::Reader in);

/// One item of a packed list as a Value of its own, for receivers that are no numbers.
class PackedItem {
 public:
  PackedItem(const PackedList& list, std::size_t index);
  ~PackedItem();
  PackedItem(const PackedItem&) = delete;
  PackedItem& operator=(const PackedItem&) = delete;
  wire::Value::Reader value() const;

 private:
  struct Message;
  std::unique_ptr<Message> message_;
};

inline bool bit_at(const std::byte* bits, std::size_t index) {
  return (std::to_integer<unsigned>(bits[index / 8]) >> (index % 8) & 1) != 0;
}

template <class T>
T load(const std::byte* items, std::size_t index) {
  T value;
  std::memcpy(&value, items + index * sizeof(T), sizeof(T));
  return value;
}

template <Packable T, class Source>
T convert_item(Source source, const PackedList& list, std::size_t index) {
  if constexpr (Enumerator<T> && std::is_floating_point_v<Source>) {
    fail_shape(type_label<T>(), PackedItem(list, index).value());
  } else {
    using Target = typename PackedNumber<T>::type;
    if (!fits<Target>(source)) fail_number<Target>(PackedItem(list, index).value());
    return static_cast<T>(static_cast<Target>(source));
  }
}

/// Item `index` of a packed list of any kind, as a T. Errors: CodecError.
template <Packable T>
T packed_at(const PackedList& list, std::size_t index) {
  using wire::Value;
  const auto at = [&]<class Source>(Source) {
    // Widened as the single values of the wire are.
    using Wide = std::conditional_t<std::is_floating_point_v<Source>, double,
                                    std::conditional_t<std::is_signed_v<Source>, std::int64_t, std::uint64_t>>;
    return convert_item<T>(static_cast<Wide>(load<Source>(list.items, index)), list, index);
  };
  switch (list.kind) {
    case Value::BOOLS: return convert_item<T>(bit_at(list.items, index), list, index);
    case Value::DATA: return at(std::uint8_t{});
    case Value::INT8S: return at(std::int8_t{});
    case Value::INT16S: return at(std::int16_t{});
    case Value::INT32S: return at(std::int32_t{});
    case Value::INT64S: return at(std::int64_t{});
    case Value::UINT16S: return at(std::uint16_t{});
    case Value::UINT32S: return at(std::uint32_t{});
    case Value::UINT64S: return at(std::uint64_t{});
    case Value::FLOAT32S: return at(float{});
    case Value::FLOAT64S: return at(double{});
    default: fail("a list of numbers is of no known kind");
  }
}

}  // namespace detail

/// Random access to an encoded list of any kind, without decoding all of it: what a worker runs a chunk from.
/// Thread: caller. Valid as long as the message.
template <class T>
class ItemsReader {
 public:
  /// Errors: CodecError when `in` is no list. `expected` names what should have been there, as in "std::set<int>".
  explicit ItemsReader(wire::Value::Reader in, std::string_view expected = {}) {
    detail::require_codec<detail::Direction::decode, T>();
    try {
      open(in, expected.empty() ? std::string_view("a list") : expected);
    } catch (const kj::Exception& error) {
      detail::fail_decoding(error, "a list");
    }
  }

  std::size_t size() const noexcept { return size_; }

  /// Item `index`, 0..size() - 1, unchecked. A plain array read for packed lists of exactly T.
  /// Errors: CodecError naming the item.
  T operator[](std::size_t index) const {
    if constexpr (detail::Viewable<T>) {
      return direct_ != nullptr ? direct_[index] : convert_at(packed_, values_, index);
    } else {
      return decode_at(packed_, values_, index);
    }
  }

  /// The items side by side, null unless the list is a packed one of exactly T.
  const T* data() const noexcept { return direct_; }

 private:
  // No address of a member is given away, here or in decode_at, so that a loop keeps them in registers and the compiler
  // sees a plain array.
  void open(wire::Value::Reader in, std::string_view expected) {
    // Data is a list of numbers, but not of anything else: 16 MiB of bytes are no million of objects.
    detail::PackedList packed;
    if ((detail::Packable<T> || !in.isData()) && detail::open_packed(in, packed)) {
      packed_ = packed;
      size_ = packed.size;
      if constexpr (detail::Viewable<T>) {
        if (packed.kind == detail::packed_kind<T>()) direct_ = reinterpret_cast<const T*>(packed.items);
      }
    } else {
      const detail::Values values = detail::open_list(in, expected);
      values_ = values;
      size_ = values.size();
    }
  }

  static T decode_at(detail::PackedList packed, detail::Values values, std::size_t index) {
    try {
      if (packed.kind == wire::Value::NONE) return detail::decode_part<T>(values[static_cast<unsigned>(index)]);
      if constexpr (detail::Packable<T>) {
        return detail::packed_at<T>(packed, index);
      } else if constexpr (ViewsMessage<T>) {
        detail::fail_shape(detail::type_label<T>(), detail::PackedItem(packed, index).value());
      } else {
        return detail::decode_part<T>(detail::PackedItem(packed, index).value());
      }
    } catch (const CodecError& error) {
      detail::fail_at_item(index, error);
    } catch (const kj::Exception& error) {
      detail::fail_decoding(error, detail::type_label<T>());
    }
  }

  /// The unusual way, kept out of the loops of the usual one.
  [[gnu::noinline, gnu::cold]] static T convert_at(detail::PackedList packed, detail::Values values,
                                                   std::size_t index) {
    return decode_at(packed, values, index);
  }

  const T* direct_ = nullptr;
  std::size_t size_ = 0;
  detail::PackedList packed_;
  detail::Values values_;
};

namespace detail {

template <class Iterator>
void pack_bits(Iterator& first, std::size_t count, std::byte* out) {
  for (std::size_t done = 0; done < count;) {
    unsigned bits = 0;
    for (unsigned bit = 0; bit < 8 && done < count; ++bit, ++done, ++first) {
      if (static_cast<bool>(*first)) bits |= 1U << bit;
    }
    *out++ = static_cast<std::byte>(bits);
  }
}

template <class T, class Iterator>
void pack(Iterator& first, std::size_t count, wire::Value::Builder out) {
  std::byte* to = init_packed(packed_kind<T>(), count, out);
  if constexpr (!Viewable<T>) {
    pack_bits(first, count, to);
  } else if constexpr (std::contiguous_iterator<Iterator>) {
    if (count > 0) std::memcpy(to, std::to_address(first), count * sizeof(T));
  } else {
    for (std::size_t i = 0; i < count; ++i, ++first) {
      const T item = *first;
      std::memcpy(to + i * sizeof(T), &item, sizeof(T));
    }
  }
}

/// The whole of encode_items but for the mapping of Cap'n Proto's exceptions.
template <class T, class Iterator>
void encode_list(Iterator first, std::size_t count, wire::Value::Builder out) {
  if constexpr (Packable<T>) {
    pack<T>(first, count, out);
  } else {
    const Nesting level;
    check_list_size(count, "list");
    auto items = out.initList(static_cast<unsigned>(count));
    for (unsigned i = 0; i < items.size(); ++i, ++first) encode_part<T>(*first, items[i]);
  }
}

/// Appends the items of an encoded list to any container with push_back.
template <class T, class Container>
void append_items(wire::Value::Reader in, Container& out, std::string_view expected) {
  const ItemsReader<T> items(in, expected);
  if constexpr (Viewable<T> && requires { out.insert(out.end(), items.data(), items.data()); }) {
    if (items.data() != nullptr) {
      out.insert(out.end(), items.data(), items.data() + items.size());
      return;
    }
  }
  // Items may take more memory than they do on the wire: believe large counts only as they turn out to be true.
  if constexpr (requires { out.reserve(std::size_t{}); }) {
    if (out.empty()) out.reserve(std::min<std::size_t>(items.size(), 64 * 1024));
  }
  for (std::size_t i = 0; i < items.size(); ++i) out.push_back(items[i]);
}

}  // namespace detail

/// Writes `count` items from an input iterator as a list: packed when they are numbers (one memcpy when they lie side
/// by side), one Value each otherwise. Thread: any. Errors: as encode; what the iterator throws. `out` is then
/// incomplete: discard it.
template <class Iterator>
void encode_items(Iterator first, std::size_t count, wire::Value::Builder out) {
  using T = std::iter_value_t<Iterator>;
  detail::require_codec<detail::Direction::encode, T>();
  if constexpr (Encodable<T>) {
    try {
      detail::encode_list<T>(std::move(first), count, out);
    } catch (const kj::Exception& error) {
      detail::fail_encoding(error, "list of " + detail::type_label<T>());
    }
  }
}

/// Appends the items of an encoded list to `out`; one memcpy for packed lists of exactly T.
/// Thread: any. Errors: CodecError as decode; `out` then holds the items before the bad one.
template <class T>
void decode_items(wire::Value::Reader in, std::vector<T>& out) {
  detail::append_items<T>(in, out, {});
}

}  // namespace troupe
