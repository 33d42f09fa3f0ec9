#include <troupe/codec.hpp>

#include <troupe/message.hpp>

#include <capnp/any.h>

#include <cmath>
#include <cstring>
#include <initializer_list>
#include <optional>

namespace troupe {
namespace detail {

namespace {

/// Cap'n Proto counts list items and bytes in 29 bits.
constexpr std::size_t max_items = (std::size_t{1} << 29) - 1;

/// From here on clearing the memory first costs more than saying that it need not be.
constexpr std::size_t large_bytes = 4096;

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

/// Removes ", std::allocator<...>" and its like with everything between its angle brackets.
void remove_argument(std::string& text, const std::string& name) {
  const std::string start = ", " + name + "<";
  for (std::size_t at = text.find(start); at != std::string::npos; at = text.find(start, at)) {
    std::size_t end = at + start.size();
    for (int open = 1; end < text.size() && open > 0; ++end) {
      if (text[end] == '<') ++open;
      if (text[end] == '>') --open;
    }
    text.erase(at, end - at);
  }
}

std::string shortened(std::string_view text, std::size_t limit) {
  if (text.size() <= limit) return std::string(text);
  while (limit > 0 && (static_cast<unsigned char>(text[limit]) & 0xC0U) == 0x80U) --limit;
  return std::string(text.substr(0, limit)) + "...";
}

std::string number_text(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.17g", value);
  // The shortest of the usual precisions that reads back as the same number.
  for (const int precision : {6, 15, 16}) {
    char shorter[40];
    std::snprintf(shorter, sizeof shorter, "%.*g", precision, value);
    if (std::strtod(shorter, nullptr) == value) return shorter;
  }
  return text;
}

std::string counted(const char* what, std::size_t count) {
  return std::string(what) + " of " + std::to_string(count) + (count == 1 ? " item" : " items");
}

std::string unit_text(std::int32_t unit) {
  switch (unit) {
    case 1: return " s";
    case -1'000: return " ms";
    case -1'000'000: return " us";
    case -1'000'000'000: return " ns";
    default: break;
  }
  return unit > 0 ? " x " + std::to_string(unit) + " s" : " / " + std::to_string(-std::int64_t{unit}) + " s";
}

std::string describe_struct(wire::Struct::Reader value) {
  std::string text = "struct ";
  if (value.getType().size() > 0) text += shortened({value.getType().begin(), value.getType().size()}, 80) + " ";
  const unsigned count = value.getFields().size();
  return text + "of " + std::to_string(count) + (count == 1 ? " field" : " fields");
}

std::string describe_number(wire::Value::Reader value) {
  switch (value.which()) {
    case wire::Value::BOOL: return value.getBool() ? "bool true" : "bool false";
    case wire::Value::INT64: return "int64 " + std::to_string(value.getInt64());
    case wire::Value::UINT64: return "uint64 " + std::to_string(value.getUint64());
    case wire::Value::FLOAT64: return "float64 " + number_text(value.getFloat64());
    case wire::Value::DURATION:
      return "duration " + std::to_string(value.getDuration().getTicks()) + unit_text(value.getDuration().getUnit());
    case wire::Value::FLOAT_DURATION:
      return "duration " + number_text(value.getFloatDuration().getTicks()) +
             unit_text(value.getFloatDuration().getUnit());
    default: return "a value of unknown kind " + std::to_string(static_cast<unsigned>(value.which()));
  }
}

std::string describe_unchecked(wire::Value::Reader value) {
  switch (value.which()) {
    case wire::Value::NONE: return "none";
    case wire::Value::TEXT: {
      const auto text = value.getText();
      return "text \"" + shortened({text.begin(), text.size()}, 40) + "\"";
    }
    case wire::Value::DATA: return "data of " + std::to_string(value.getData().size()) + " bytes";
    case wire::Value::LIST: return counted("list", value.getList().size());
    case wire::Value::MAP: return counted("map", value.getMap().size());
    case wire::Value::STRUCT: return describe_struct(value.getStruct());
    case wire::Value::ERROR: {
      const auto text = value.getError().getMessage();
      return "error \"" + shortened({text.begin(), text.size()}, 80) + "\"";
    }
    case wire::Value::HANDLE: {
      const auto kind = value.getHandle().getKind();
      return "handle of a " + shortened({kind.begin(), kind.size()}, 40);
    }
    case wire::Value::MESSAGE: return "a Cap'n Proto message";
    case wire::Value::BOOLS: return counted("bool list", value.getBools().size());
    case wire::Value::INT8S: return counted("int8 list", value.getInt8s().size());
    case wire::Value::INT16S: return counted("int16 list", value.getInt16s().size());
    case wire::Value::INT32S: return counted("int32 list", value.getInt32s().size());
    case wire::Value::INT64S: return counted("int64 list", value.getInt64s().size());
    case wire::Value::UINT16S: return counted("uint16 list", value.getUint16s().size());
    case wire::Value::UINT32S: return counted("uint32 list", value.getUint32s().size());
    case wire::Value::UINT64S: return counted("uint64 list", value.getUint64s().size());
    case wire::Value::FLOAT32S: return counted("float32 list", value.getFloat32s().size());
    case wire::Value::FLOAT64S: return counted("float64 list", value.getFloat64s().size());
    default: return describe_number(value);
  }
}

}  // namespace

std::string type_text(const std::type_info& type) {
  std::string text = demangle(type.name());
  replace_all(text, "__cxx11::", "");
  replace_all(text, "std::basic_string<char, std::char_traits<char>, std::allocator<char> >", "std::string");
  replace_all(text, "std::basic_string_view<char, std::char_traits<char> >", "std::string_view");
  for (const char* name : {"std::allocator", "std::less", "std::hash", "std::equal_to", "std::default_delete"}) {
    remove_argument(text, name);
  }
  replace_all(text, ", 18446744073709551615ul", "");
  replace_all(text, " >", ">");
  return text;
}

std::string describe(wire::Value::Reader value) {
  try {
    return describe_unchecked(value);
  } catch (const kj::Exception& error) {
    return "a damaged value (" + std::string(error.getDescription().cStr()) + ")";
  }
}

void fail(const std::string& text) { throw CodecError(text); }

void fail_shape(std::string_view expected, wire::Value::Reader found, std::string_view why) {
  std::string text = "expected " + std::string(expected) + ", found " + describe(found);
  if (!why.empty()) text += ' ' + std::string(why);
  throw CodecError(text);
}

void fail_number(const std::string& type, const std::string& low, const std::string& high,
                 wire::Value::Reader found) {
  fail_shape(low.empty() ? type : type + " (" + low + ".." + high + ")", found,
             found.isFloat64() && !low.empty() ? "which is no such whole number" : "");
}

void fail_at_item(std::size_t index, const CodecError& error) {
  throw CodecError("item " + std::to_string(index) + ": " + error.what());
}

void fail_at_field(std::string_view field, const std::string& type, const CodecError& error) {
  throw CodecError("field " + std::string(field) + " of " + type + ": " + error.what());
}

void check_list_size(std::size_t count, std::string_view what) {
  if (count <= max_items) return;
  throw CodecError("a " + std::string(what) + " of " + std::to_string(count) + " items or bytes is too large for one message, which holds " +
                   std::to_string(max_items) + "; send it in parts");
}

void fail_encoding(const kj::Exception& error, const std::string& type) {
  throw CodecError("cannot encode " + type + ": " + error.getDescription().cStr());
}

void fail_decoding(const kj::Exception& error, const std::string& type) {
  throw CodecError("cannot decode " + type + ", the message is damaged: " + error.getDescription().cStr());
}

void Nesting::fail_depth() {
  throw CodecError("a value is nested deeper than " + std::to_string(max_nesting) +
                   " levels; does it contain itself?");
}

namespace {

/// Clears the bytes between the end of a blob and the next word, because the memory may be fresh from a former message.
void clear_padding(std::byte* begin, std::size_t size, std::size_t with_terminator) {
  const std::size_t end = (with_terminator + 7) / 8 * 8;
  if (end > size) std::memset(begin + size, 0, end - size);
}

/// Lets large lists have memory that is not cleared first.
class MaybeUnzeroed {
 public:
  explicit MaybeUnzeroed(std::size_t bytes) {
    if (bytes >= large_bytes) unzeroed_.emplace();
  }

 private:
  std::optional<UnzeroedAllocation> unzeroed_;
};

std::byte* memory_of(const capnp::AnyList::Reader& list) {
  return const_cast<std::byte*>(reinterpret_cast<const std::byte*>(list.getRawBytes().begin()));
}

std::size_t bits_of(wire::Value::Which kind) {
  switch (kind) {
    case wire::Value::BOOLS: return 1;
    case wire::Value::DATA:
    case wire::Value::INT8S: return 8;
    case wire::Value::INT16S:
    case wire::Value::UINT16S: return 16;
    case wire::Value::INT32S:
    case wire::Value::UINT32S:
    case wire::Value::FLOAT32S: return 32;
    default: return 64;
  }
}

std::byte* init_list(wire::Value::Which kind, unsigned count, wire::Value::Builder out) {
  switch (kind) {
    case wire::Value::BOOLS: return memory_of(out.initBools(count).asReader());
    case wire::Value::INT8S: return memory_of(out.initInt8s(count).asReader());
    case wire::Value::INT16S: return memory_of(out.initInt16s(count).asReader());
    case wire::Value::INT32S: return memory_of(out.initInt32s(count).asReader());
    case wire::Value::INT64S: return memory_of(out.initInt64s(count).asReader());
    case wire::Value::UINT16S: return memory_of(out.initUint16s(count).asReader());
    case wire::Value::UINT32S: return memory_of(out.initUint32s(count).asReader());
    case wire::Value::UINT64S: return memory_of(out.initUint64s(count).asReader());
    case wire::Value::FLOAT32S: return memory_of(out.initFloat32s(count).asReader());
    case wire::Value::FLOAT64S: return memory_of(out.initFloat64s(count).asReader());
    default: return reinterpret_cast<std::byte*>(out.initData(count).begin());
  }
}

}  // namespace

std::byte* init_packed(wire::Value::Which kind, std::size_t count, wire::Value::Builder out) {
  check_list_size(count, "list");
  const std::size_t bytes = (count * bits_of(kind) + 7) / 8;
  const MaybeUnzeroed unzeroed(bytes);
  std::byte* memory = init_list(kind, static_cast<unsigned>(count), out);
  clear_padding(memory, bytes, bytes);
  return memory;
}

namespace {

PackedList packed_list(wire::Value::Which kind, const capnp::AnyList::Reader& list, capnp::ElementSize element) {
  // A list of structs may stand where a list of numbers is expected (schemas may grow so); its items are not side by
  // side, and no encoder of ours makes it.
  if (list.size() > 0 && list.getElementSize() != element) fail("a packed list whose items are no plain numbers");
  return {kind, reinterpret_cast<const std::byte*>(list.getRawBytes().begin()), list.size()};
}

}  // namespace

bool open_packed(wire::Value::Reader in, PackedList& out) {
  using capnp::ElementSize;
  switch (in.which()) {
    case wire::Value::DATA: {
      const auto data = in.getData();
      out = {wire::Value::DATA, reinterpret_cast<const std::byte*>(data.begin()), data.size()};
      return true;
    }
    case wire::Value::BOOLS: out = packed_list(in.which(), in.getBools(), ElementSize::BIT); return true;
    case wire::Value::INT8S: out = packed_list(in.which(), in.getInt8s(), ElementSize::BYTE); return true;
    case wire::Value::INT16S: out = packed_list(in.which(), in.getInt16s(), ElementSize::TWO_BYTES); return true;
    case wire::Value::INT32S: out = packed_list(in.which(), in.getInt32s(), ElementSize::FOUR_BYTES); return true;
    case wire::Value::INT64S: out = packed_list(in.which(), in.getInt64s(), ElementSize::EIGHT_BYTES); return true;
    case wire::Value::UINT16S: out = packed_list(in.which(), in.getUint16s(), ElementSize::TWO_BYTES); return true;
    case wire::Value::UINT32S: out = packed_list(in.which(), in.getUint32s(), ElementSize::FOUR_BYTES); return true;
    case wire::Value::UINT64S: out = packed_list(in.which(), in.getUint64s(), ElementSize::EIGHT_BYTES); return true;
    case wire::Value::FLOAT32S: out = packed_list(in.which(), in.getFloat32s(), ElementSize::FOUR_BYTES); return true;
    case wire::Value::FLOAT64S: out = packed_list(in.which(), in.getFloat64s(), ElementSize::EIGHT_BYTES); return true;
    default: return false;
  }
}

namespace {

/// Refuses lists that claim items and hold no bytes for them: eight bytes must not stand for 500 million objects.
template <class List>
List checked(List list) {
  if (list.size() == 0) return list;
  const auto first = capnp::AnyList::Reader(list).template as<capnp::List<capnp::AnyStruct>>()[0];
  if (first.getDataSection().size() == 0 && first.getPointerSection().size() == 0) {
    fail("a list claims " + std::to_string(list.size()) + " items and holds no bytes for them");
  }
  return list;
}

}  // namespace

capnp::List<wire::Value>::Reader open_list(wire::Value::Reader in, std::string_view expected) {
  if (!in.isList()) fail_shape(expected, in);
  return checked(in.getList());
}

capnp::List<wire::Entry>::Reader open_map(wire::Value::Reader in) { return checked(in.getMap()); }

struct PackedItem::Message {
  capnp::word scratch[16] = {};
  capnp::MallocMessageBuilder builder{kj::arrayPtr(scratch, 16)};
};

PackedItem::PackedItem(const PackedList& list, std::size_t index) : message_(std::make_unique<Message>()) {
  auto out = message_->builder.initRoot<wire::Value>();
  switch (list.kind) {
    case wire::Value::BOOLS: out.setBool(packed_at<bool>(list, index)); break;
    case wire::Value::DATA:
    case wire::Value::UINT16S:
    case wire::Value::UINT32S:
    case wire::Value::UINT64S: out.setUint64(packed_at<std::uint64_t>(list, index)); break;
    case wire::Value::FLOAT32S:
    case wire::Value::FLOAT64S: out.setFloat64(packed_at<double>(list, index)); break;
    default: out.setInt64(packed_at<std::int64_t>(list, index)); break;
  }
}

PackedItem::~PackedItem() = default;

wire::Value::Reader PackedItem::value() const {
  return message_->builder.getRoot<wire::Value>().asReader();
}

void write_text(std::string_view text, wire::Value::Builder out) {
  check_list_size(text.size() + 1, "text");
  const MaybeUnzeroed unzeroed(text.size());
  auto memory = out.initText(static_cast<unsigned>(text.size()));
  auto* begin = reinterpret_cast<std::byte*>(memory.begin());
  if (!text.empty()) std::memcpy(begin, text.data(), text.size());
  clear_padding(begin, text.size(), text.size() + 1);
}

std::string_view read_text(wire::Value::Reader in, std::string_view expected) {
  if (!in.isText()) fail_shape(expected, in);
  const auto text = in.getText();
  return {text.begin(), text.size()};
}

namespace {

/// The seconds of one tick as a ratio. Errors: CodecError for unit 0.
struct Unit {
  explicit Unit(std::int32_t unit) : num(unit > 0 ? unit : 1), den(unit < 0 ? -std::int64_t{unit} : 1) {
    if (unit == 0) fail("a duration without a unit");
  }
  std::int64_t num;
  std::int64_t den;
};

}  // namespace

std::int64_t read_ticks(wire::Value::Reader in, std::int32_t unit, const std::string& expected) {
  if (!in.isDuration()) fail_shape(expected, in);
  const std::int64_t ticks = in.getDuration().getTicks();
  if (in.getDuration().getUnit() == unit) return ticks;
  const Unit from(in.getDuration().getUnit());
  const Unit to(unit);
  // |ticks| < 2^63 and each ratio < 2^31 on both sides: below 2^125.
  __extension__ using Wide = __int128;
  const Wide dividend = Wide{ticks} * from.num * to.den;
  const Wide divisor = Wide{from.den} * to.num;
  const Wide result = dividend / divisor;
  if (result * divisor != dividend) fail_shape(expected, in, "which is no whole number of them");
  if (result > std::numeric_limits<std::int64_t>::max() || result < std::numeric_limits<std::int64_t>::min()) {
    fail_shape(expected, in, "which does not fit");
  }
  return static_cast<std::int64_t>(result);
}

double read_float_ticks(wire::Value::Reader in, std::int32_t unit, const std::string& expected) {
  if (!in.isDuration() && !in.isFloatDuration()) fail_shape(expected, in);
  const double ticks =
      in.isDuration() ? static_cast<double>(in.getDuration().getTicks()) : in.getFloatDuration().getTicks();
  const std::int32_t found = in.isDuration() ? in.getDuration().getUnit() : in.getFloatDuration().getUnit();
  if (found == unit) return ticks;
  const Unit from(found);
  const Unit to(unit);
  return ticks * static_cast<double>(from.num * to.den) / static_cast<double>(from.den * to.num);
}

namespace {

wire::Struct::Builder start_struct(const std::string& type, wire::Value::Builder out) {
  auto value = out.initStruct();
  value.setType(kj::StringPtr(type.c_str(), type.size()));
  return value;
}

}  // namespace

capnp::List<wire::Value>::Builder init_struct(const std::string& type, unsigned num_fields, wire::Value::Builder out) {
  return start_struct(type, out).initFields(num_fields);
}

capnp::List<wire::Value>::Builder init_struct(const std::string& type, std::span<const std::string_view> names,
                                              wire::Value::Builder out) {
  auto value = start_struct(type, out);
  auto list = value.initNames(static_cast<unsigned>(names.size()));
  for (unsigned i = 0; i < list.size(); ++i) {
    auto name = list.init(i, static_cast<unsigned>(names[i].size()));
    std::memcpy(name.begin(), names[i].data(), names[i].size());
  }
  return value.initFields(static_cast<unsigned>(names.size()));
}

capnp::List<wire::Value>::Reader open_struct(wire::Value::Reader in, const std::string& expected,
                                             unsigned num_fields) {
  const auto wanted = [&] { return expected + " of " + std::to_string(num_fields) + (num_fields == 1 ? " field" : " fields"); };
  if (!in.isStruct()) fail_shape(wanted(), in);
  const auto fields = checked(in.getStruct().getFields());
  if (fields.size() != num_fields) fail_shape(wanted(), in);
  return fields;
}

capnp::List<wire::Value>::Reader open_struct(wire::Value::Reader in, const std::string& expected,
                                             std::span<const std::string_view> names, std::span<unsigned> order) {
  if (!in.isStruct()) fail_shape(expected, in);
  const auto found = in.getStruct().getNames();
  if (found.size() == 0) {
    const auto fields = open_struct(in, expected, static_cast<unsigned>(names.size()));
    for (unsigned i = 0; i < order.size(); ++i) order[i] = i;
    return fields;
  }
  const auto fields = checked(in.getStruct().getFields());
  if (fields.size() != found.size()) fail_shape(expected, in, "with another number of names");
  const auto is_named = [&](unsigned at, std::string_view name) {
    return std::string_view(found[at].begin(), found[at].size()) == name;
  };
  for (unsigned i = 0; i < order.size(); ++i) {
    unsigned at = i;
    if (at >= found.size() || !is_named(at, names[i])) {
      for (at = 0; at < found.size() && !is_named(at, names[i]);) ++at;
    }
    if (at == found.size()) fail_shape(expected, in, "without field " + std::string(names[i]));
    order[i] = at;
  }
  return fields;
}

}  // namespace detail

const char* Codec<const char*>::decode(wire::Value::Reader in) {
  if (in.isNone()) return nullptr;
  const std::string_view text = detail::read_text(in, "const char*");
  if (text.find('\0') != std::string_view::npos) {
    detail::fail_shape("const char*", in, "with a NUL inside; take a std::string_view");
  }
  return text.data();
}

}  // namespace troupe
