#include "codec_text.hpp"

#include <troupe/codec.hpp>

#include <array>
#include <charconv>
#include <limits>

namespace troupe {

std::string number_text(double value) {
  std::array<char, 32> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  return {text.data(), end};
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

namespace detail {

namespace {

/// Cap'n Proto counts list items and bytes in 29 bits.
constexpr std::size_t max_items = (std::size_t{1} << 29) - 1;

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

std::string counted(const char* what, std::size_t count) {
  return std::string(what) + " of " + std::to_string(count) + (count == 1 ? " item" : " items");
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
    case wire::Value::DATA:
      return "data of " + std::to_string(value.getData().size()) + (value.getData().size() == 1 ? " byte" : " bytes");
    case wire::Value::LIST: return counted("list", value.getList().size());
    case wire::Value::MAP:
      return "map of " + std::to_string(value.getMap().size()) + (value.getMap().size() == 1 ? " entry" : " entries");
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
  replace_all(text, "[abi:cxx11]", "");
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

void fail_number(const std::string& type, const std::string& low, const std::string& high, wire::Value::Reader found) {
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
  throw CodecError("a " + std::string(what) + " of " + std::to_string(count) +
                   " items or bytes is too large for one message, which holds " + std::to_string(max_items) +
                   "; send it in parts");
}

void fail_encoding(const kj::Exception& error, const std::string& type) {
  throw CodecError("cannot encode " + type + ": " + error.getDescription().cStr());
}

void fail_decoding(const kj::Exception& error, const std::string& type) {
  throw CodecError("cannot decode " + type + ", the message is damaged: " + error.getDescription().cStr());
}

void Nesting::fail_depth() {
  throw CodecError("a value is nested deeper than " + std::to_string(max_nesting) + " levels; does it contain itself?");
}

}  // namespace detail
}  // namespace troupe
