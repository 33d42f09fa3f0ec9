#include <troupe/codec.hpp>

#include <cstring>
#include <limits>

namespace troupe {
namespace detail {

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

Values open_struct(wire::Value::Reader in, const std::string& expected, unsigned num_fields) {
  const auto wanted = [&] {
    return expected + " of " + std::to_string(num_fields) + (num_fields == 1 ? " field" : " fields");
  };
  if (!in.isStruct()) fail_shape(wanted(), in);
  const auto fields = backed(in.getStruct().getFields());
  if (fields.size() != num_fields) fail_shape(wanted(), in);
  return fields;
}

Values open_struct(wire::Value::Reader in, const std::string& expected, std::span<const std::string_view> names,
                   std::span<unsigned> order) {
  if (!in.isStruct()) fail_shape(expected, in);
  const auto found = in.getStruct().getNames();
  if (found.size() == 0) {
    const auto fields = open_struct(in, expected, static_cast<unsigned>(names.size()));
    for (unsigned i = 0; i < order.size(); ++i) order[i] = i;
    return fields;
  }
  const auto fields = backed(in.getStruct().getFields());
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
