// What other programs may have kept, or send, must be understood by the next version: what a value looks like on the wire
// only grows.

#include <troupe/wire/value.capnp.h>

#include <capnp/message.h>
#include <capnp/schema.h>
#include <capnp/serialize.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace {

using troupe::wire::Value;

using Places = std::vector<std::pair<std::string, int>>;  // names by ordinal; -1: a group

Places places_of(const capnp::StructSchema& schema) {
  Places places;
  for (const auto field : schema.getFields()) {
    const auto proto = field.getProto();
    places.emplace_back(proto.getName().cStr(),
                        proto.getOrdinal().isExplicit() ? int{proto.getOrdinal().getExplicit()} : -1);
  }
  return places;
}

TEST(ValueSchema, KindsKeepTheirNumbers) {
  const Places known{{"none", 0},     {"bool", 1},     {"int64", 2},    {"uint64", 3},    {"float64", 4},
                     {"text", 5},     {"data", 6},     {"list", 7},     {"map", 8},       {"struct", 9},
                     {"error", 10},   {"handle", 11},  {"message", 12}, {"bools", 13},    {"int8s", 14},
                     {"int16s", 15},  {"int32s", 16},  {"int64s", 17},  {"uint16s", 18},  {"uint32s", 19},
                     {"uint64s", 20}, {"float32s", 21}, {"float64s", 22}};
  EXPECT_THAT(places_of(capnp::Schema::from<Value>()), testing::IsSupersetOf(known));
}

TEST(ValueSchema, PartsKeepTheirNumbers) {
  using testing::IsSupersetOf;
  EXPECT_THAT(places_of(capnp::Schema::from<troupe::wire::Entry>()), IsSupersetOf(Places{{"key", 0}, {"value", 1}}));
  EXPECT_THAT(places_of(capnp::Schema::from<troupe::wire::Struct>()),
              IsSupersetOf(Places{{"type", 0}, {"names", 1}, {"fields", 2}}));
  EXPECT_THAT(places_of(capnp::Schema::from<troupe::wire::Error>()),
              IsSupersetOf(Places{
                  {"code", 0}, {"type", 1}, {"message", 2}, {"systemError", 3}, {"process", 4}, {"pid", 5}}));
  EXPECT_THAT(places_of(capnp::Schema::from<troupe::wire::Handle>()), IsSupersetOf(Places{{"kind", 0}, {"address", 1}}));
}

std::vector<std::uint64_t> words_of(void (*fill)(Value::Builder)) {
  capnp::MallocMessageBuilder message;
  fill(message.initRoot<Value>());
  std::vector<std::uint64_t> words;
  for (const auto& word : message.getSegmentsForOutput()[0])
    words.push_back(*reinterpret_cast<const std::uint64_t*>(&word));
  return words;
}

constexpr std::uint64_t root = 0x0001'0002'0000'0000;  // a struct of two words of data and one pointer follows

TEST(ValueSchema, ANumberKeepsItsWords) {
  const std::vector<std::uint64_t> expected{root, 2, static_cast<std::uint64_t>(-5), 0};
  EXPECT_EQ(words_of([](Value::Builder value) { value.setInt64(-5); }), expected);
}

// Numbers lie side by side, so that they are read where they are.
TEST(ValueSchema, APackedListKeepsItsWords) {
  constexpr std::uint64_t three_of_32_bits = 0x0000'001c'0000'0001;
  const std::vector<std::uint64_t> expected{root, 16, 0, three_of_32_bits, 0x0000'0002'0000'0001, 3};
  EXPECT_EQ(words_of([](Value::Builder value) { value.setInt32s({1, 2, 3}); }), expected);
}

}  // namespace
