#include <troupe/dynamic.hpp>
#include <troupe/failure.hpp>

#include <capnp/any.h>
#include <capnp/serialize.h>

#include <cstring>
#include <limits>

namespace troupe {

namespace {

using Values = capnp::List<wire::Value>;

std::string string_of(capnp::Text::Reader text) { return {text.begin(), text.size()}; }

template <class T>
Dynamic::Storage packed(wire::Value::Reader in) {
  std::vector<T> items;
  decode_items(in, items);
  return Dynamic::Storage(std::in_place_type<std::vector<T>>, std::move(items));
}

Dynamic::List read_list(Values::Reader in) {
  const detail::Nesting level;
  const auto values = detail::backed(in);
  Dynamic::List items;
  for (const auto value : values) items.push_back(Codec<Dynamic>::decode(value));
  return items;
}

void write_list(const Dynamic::List& items, Values::Builder out) {
  const detail::Nesting level;
  for (unsigned i = 0; i < out.size(); ++i) Codec<Dynamic>::encode(items[i], out[i]);
}

unsigned list_size(std::size_t size, const char* what) {
  detail::check_list_size(size, what);
  return static_cast<unsigned>(size);
}

Dynamic::Map read_map(wire::Value::Reader in) {
  const detail::Nesting level;
  Dynamic::Map entries;
  for (const auto entry : detail::open_map(in)) {
    Dynamic key = Codec<Dynamic>::decode(entry.getKey());
    entries.emplace_back(std::move(key), Codec<Dynamic>::decode(entry.getValue()));
  }
  return entries;
}

Dynamic::Struct read_struct(wire::Struct::Reader in) {
  Dynamic::Struct value{.type = string_of(in.getType()), .names = {}, .fields = read_list(in.getFields())};
  const auto names = in.getNames();
  if (names.size() != 0 && names.size() != value.fields.size()) {
    detail::fail("a struct of " + std::to_string(value.fields.size()) + " fields has " + std::to_string(names.size()) +
                 " names");
  }
  for (const auto name : names) value.names.push_back(string_of(name));
  return value;
}

Dynamic::Failure read_failure(wire::Error::Reader in) {
  Dynamic::Failure failure{.code = in.getCode(),
                           .kind = in.getKind(),
                           .type = string_of(in.getType()),
                           .message = string_of(in.getMessage()),
                           .system_error = in.getSystemError(),
                           .category = string_of(in.getCategory()),
                           .process = string_of(in.getProcess()),
                           .pid = in.getPid(),
                           .task = string_of(in.getTask()),
                           .death = std::nullopt};
  if (in.hasDeath()) {
    failure.death = decode_death(in.getDeath());
  }
  return failure;
}

Dynamic::Message read_message(capnp::AnyPointer::Reader in) {
  if (in.isNull()) return {};
  const auto size = in.targetSize();
  if (size.capCount > 0) detail::fail("a Cap'n Proto message with capabilities, which have no meaning here");
  Dynamic::Message message{.words = std::vector<std::uint64_t>(size.wordCount + 1)};
  capnp::FlatMessageBuilder builder(
      kj::arrayPtr(reinterpret_cast<capnp::word*>(message.words.data()), message.words.size()));
  builder.getRoot<capnp::AnyPointer>().set(in);
  return message;
}

void write_struct(const Dynamic::Struct& value, wire::Struct::Builder out) {
  out.setType(kj::StringPtr(value.type.c_str(), value.type.size()));
  if (!value.names.empty() && value.names.size() != value.fields.size()) {
    detail::fail("a Dynamic::Struct of " + std::to_string(value.fields.size()) + " fields has " +
                 std::to_string(value.names.size()) + " names");
  }
  auto names = out.initNames(list_size(value.names.size(), "struct"));
  for (unsigned i = 0; i < names.size(); ++i)
    names.set(i, kj::StringPtr(value.names[i].c_str(), value.names[i].size()));
  write_list(value.fields, out.initFields(list_size(value.fields.size(), "struct")));
}

void write_failure(const Dynamic::Failure& failure, wire::Error::Builder out) {
  const auto text = [](const std::string& source) { return kj::StringPtr(source.c_str(), source.size()); };
  out.setCode(failure.code);
  out.setKind(failure.kind);
  out.setType(text(failure.type));
  out.setMessage(text(failure.message));
  out.setSystemError(failure.system_error);
  out.setCategory(text(failure.category));
  out.setProcess(text(failure.process));
  out.setPid(failure.pid);
  out.setTask(text(failure.task));
  if (failure.death) {
    encode_death(*failure.death, out.initDeath());
  }
}

void write_message(const Dynamic::Message& message, wire::Value::Builder out) {
  auto pointer = out.initMessage();
  if (message.words.empty()) return;
  const kj::ArrayPtr<const capnp::word> segments[] = {
      kj::arrayPtr(reinterpret_cast<const capnp::word*>(message.words.data()), message.words.size())};
  capnp::ReaderOptions options;
  options.traversalLimitInWords = 8 * message.words.size() + 1024;
  options.nestingLimit = wire_nesting_limit;
  capnp::SegmentArrayMessageReader reader(segments, options);
  pointer.set(reader.getRoot<capnp::AnyPointer>());
}

/// Writes each kind.
struct Writer {
  wire::Value::Builder out;

  void operator()(Dynamic::None) { out.setNone(); }
  template <class T>
  requires(detail::Number<T> || std::same_as<T, std::string> || std::same_as<T, Dynamic::Bytes>) void operator()(
      const T& value) {
    Codec<T>::encode(value, out);
  }
  template <detail::Number T>
  void operator()(const std::vector<T>& items) {
    detail::encode_list<T>(items.begin(), items.size(), out);
  }
  void operator()(const Dynamic::List& items) { write_list(items, out.initList(list_size(items.size(), "list"))); }
  void operator()(const Dynamic::Map& map) {
    const detail::Nesting level;
    auto entries = out.initMap(list_size(map.size(), "map"));
    for (unsigned i = 0; i < entries.size(); ++i) {
      Codec<Dynamic>::encode(map[i].first, entries[i].initKey());
      Codec<Dynamic>::encode(map[i].second, entries[i].initValue());
    }
  }
  void operator()(const detail::Box<Dynamic::Struct>& value) { write_struct(*value, out.initStruct()); }
  void operator()(const detail::Box<Dynamic::Failure>& value) { write_failure(*value, out.initError()); }
  void operator()(const detail::Box<Dynamic::Handle>& value) {
    auto handle = out.initHandle();
    handle.setKind(kj::StringPtr((*value).kind.c_str(), (*value).kind.size()));
    write_list((*value).address, handle.initAddress(list_size((*value).address.size(), "handle")));
  }
  void operator()(const detail::Box<Dynamic::Message>& value) { write_message(*value, out); }
  void operator()(const Dynamic::Duration& value) {
    auto duration = out.initDuration();
    duration.setTicks(value.ticks);
    duration.setUnit(value.unit);
  }
  void operator()(const Dynamic::FloatDuration& value) {
    auto duration = out.initFloatDuration();
    duration.setTicks(value.ticks);
    duration.setUnit(value.unit);
  }
};

}  // namespace

Dynamic::Storage Dynamic::read(wire::Value::Reader in) {
  using wire::Value;
  switch (in.which()) {
    case Value::NONE: return None{};
    case Value::BOOL: return in.getBool();
    case Value::INT64: return in.getInt64();
    case Value::UINT64: return in.getUint64();
    case Value::FLOAT64: return in.getFloat64();
    case Value::TEXT: return string_of(in.getText());
    case Value::DATA: return packed<std::byte>(in);
    case Value::LIST: return read_list(in.getList());
    case Value::MAP: return read_map(in);
    case Value::STRUCT: return detail::Box<Struct>(read_struct(in.getStruct()));
    case Value::ERROR: return detail::Box<Failure>(read_failure(in.getError()));
    case Value::HANDLE:
      return detail::Box<Handle>(
          Handle{.kind = string_of(in.getHandle().getKind()), .address = read_list(in.getHandle().getAddress())});
    case Value::MESSAGE: return detail::Box<Message>(read_message(in.getMessage()));
    case Value::BOOLS: return packed<bool>(in);
    case Value::INT8S: return packed<std::int8_t>(in);
    case Value::INT16S: return packed<std::int16_t>(in);
    case Value::INT32S: return packed<std::int32_t>(in);
    case Value::INT64S: return packed<std::int64_t>(in);
    case Value::UINT16S: return packed<std::uint16_t>(in);
    case Value::UINT32S: return packed<std::uint32_t>(in);
    case Value::UINT64S: return packed<std::uint64_t>(in);
    case Value::FLOAT32S: return packed<float>(in);
    case Value::FLOAT64S: return packed<double>(in);
    case Value::DURATION: return Duration{.ticks = in.getDuration().getTicks(), .unit = in.getDuration().getUnit()};
    case Value::FLOAT_DURATION:
      return FloatDuration{.ticks = in.getFloatDuration().getTicks(), .unit = in.getFloatDuration().getUnit()};
  }
  detail::fail_shape("troupe::Dynamic", in);
}

void Codec<Dynamic>::encode(const Dynamic& value, wire::Value::Builder out) { value.write(out); }
Dynamic Codec<Dynamic>::decode(wire::Value::Reader in) { return Dynamic(Dynamic::read(in)); }

void Dynamic::write(wire::Value::Builder out) const { std::visit(Writer{out}, storage_); }

Dynamic::Encoded::Encoded() : message_(std::make_unique<capnp::MallocMessageBuilder>()) {
  message_->initRoot<wire::Value>();
}
Dynamic::Encoded::Encoded(const Dynamic& value) : Encoded() { troupe::encode(value, out()); }
Dynamic::Encoded::~Encoded() = default;
wire::Value::Builder Dynamic::Encoded::out() { return message_->getRoot<wire::Value>(); }
wire::Value::Reader Dynamic::Encoded::value() const { return message_->getRoot<wire::Value>().asReader(); }

bool Dynamic::Struct::operator==(const Struct& other) const {
  return type == other.type && names == other.names && fields == other.fields;
}

bool Dynamic::Handle::operator==(const Handle& other) const { return kind == other.kind && address == other.address; }

void Dynamic::fail_kind(const std::string& wanted) const {
  throw TypeError("a Dynamic holds " + describe() + ", not " + wanted);
}

namespace {

/// Types that are a list of things.
template <class T>
concept ItemList = detail::Sequence<T> && !std::same_as<T, std::string> && !std::same_as<T, Dynamic::Map>;

}  // namespace

std::size_t Dynamic::size() const {
  return std::visit(
      [&]<class T>(const T& value) -> std::size_t {
        if constexpr (std::same_as<T, detail::Box<Struct>>) {
          return (*value).fields.size();
        } else if constexpr (detail::Sequence<T>) {
          return value.size();
        } else {
          throw TypeError("a Dynamic holds " + describe() + ", which has no size");
        }
      },
      storage_);
}

Dynamic Dynamic::item(std::size_t index) const {
  return std::visit(
      [&]<class T>(const T& value) -> Dynamic {
        const auto at = [&](const auto& items) -> Dynamic {
          if (index < items.size()) return items[index];
          throw IndexError("item " + std::to_string(index) + " of a Dynamic that holds " + describe());
        };
        if constexpr (std::same_as<T, detail::Box<Struct>>) {
          return at((*value).fields);
        } else if constexpr (std::same_as<T, Bytes>) {
          if (index < value.size()) return std::to_integer<std::uint64_t>(value[index]);
          throw IndexError("byte " + std::to_string(index) + " of a Dynamic that holds " + describe());
        } else if constexpr (std::same_as<T, std::vector<bool>>) {
          if (index < value.size()) return static_cast<bool>(value[index]);
          throw IndexError("item " + std::to_string(index) + " of a Dynamic that holds " + describe());
        } else if constexpr (ItemList<T>) {
          return at(value);
        } else {
          throw TypeError("a Dynamic holds " + describe() + ", which has no items");
        }
      },
      storage_);
}

const Dynamic& Dynamic::operator[](std::string_view key) const {
  if (const auto* map = std::get_if<Map>(&storage_)) {
    for (const auto& [name, value] : *map) {
      if (const auto* text = std::get_if<std::string>(&name.storage_); text != nullptr && *text == key) return value;
    }
  } else if (const auto* boxed = std::get_if<detail::Box<Struct>>(&storage_)) {
    const Struct& value = **boxed;
    for (std::size_t i = 0; i < value.names.size() && i < value.fields.size(); ++i) {
      if (value.names[i] == key) return value.fields[i];
    }
  } else {
    throw TypeError("a Dynamic holds " + describe() + ", which has no keys");
  }
  throw KeyError("no \"" + std::string(key) + "\" in a Dynamic that holds " + describe());
}

std::string Dynamic::describe() const {
  try {
    const Encoded message(*this);
    return detail::describe(message.value());
  } catch (const CodecError& error) {
    return error.what();
  }
}

}  // namespace troupe
