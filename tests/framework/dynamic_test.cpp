#include <troupe/dynamic.hpp>
#include <troupe/failure.hpp>
#include <troupe/wire/control.capnp.h>

#include "codec_fixture.hpp"

#include <chrono>
#include <map>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

using namespace troupe;
using namespace troupe::test;
using namespace std::chrono_literals;

namespace shapes {

struct Point {
  int x;
  std::string label;
  bool operator==(const Point&) const = default;
};

class Named {
 public:
  Named() = default;
  explicit Named(int value) : value_(value) {}
  bool operator==(const Named&) const = default;

 private:
  int value_ = 0;
  TROUPE_FIELDS(value_)
};

}  // namespace shapes

namespace {

/// Sends `value`, receives it as Dynamic, sends that, receives it as T; and again as Dynamic.
template <class T>
void expect_lossless(const T& value) {
  const auto dynamic = Sent(value).template as<Dynamic>();
  EXPECT_EQ(Sent(dynamic).template as<T>(), value) << dynamic;
  EXPECT_EQ(round_trip(dynamic), dynamic) << dynamic;
  EXPECT_EQ(dynamic.template as<T>(), value) << dynamic;
  EXPECT_EQ(Dynamic(value), dynamic) << dynamic;
}

std::string type_error(auto action) {
  try {
    action();
  } catch (const TypeError& error) {
    return error.what();
  }
  ADD_FAILURE() << "no TypeError was thrown";
  return {};
}

}  // namespace

TEST(Dynamic, EveryKindIsGivenBackUnchanged) {
  expect_lossless(std::monostate());
  expect_lossless(true);
  expect_lossless(std::numeric_limits<std::int64_t>::min());
  expect_lossless(std::numeric_limits<std::uint64_t>::max());
  expect_lossless(-0.1);
  expect_lossless(std::string("a\0b", 3));
  expect_lossless(std::vector<std::byte>{std::byte{0}, std::byte{255}});
  expect_lossless(std::vector<std::string>{"a", ""});
  expect_lossless(std::map<std::string, std::optional<int>>{{"a", 1}, {"b", {}}});
  expect_lossless(std::multimap<int, int>{{1, 1}, {1, 2}});
  expect_lossless(shapes::Point{1, "p"});
  expect_lossless(shapes::Named(5));
  expect_lossless(std::vector<bool>{true, false, true});
  expect_lossless(std::vector<std::int8_t>{-1});
  expect_lossless(std::vector<std::int16_t>{-1});
  expect_lossless(std::vector<std::int32_t>{-1});
  expect_lossless(std::vector<std::int64_t>{-1});
  expect_lossless(std::vector<std::uint16_t>{1});
  expect_lossless(std::vector<std::uint32_t>{1});
  expect_lossless(std::vector<std::uint64_t>{1});
  expect_lossless(std::vector<float>{0.5F});
  expect_lossless(std::vector<double>(1000, 0.5));
  expect_lossless(std::vector<int>{});
  expect_lossless(std::chrono::milliseconds(1500));
  expect_lossless(std::chrono::duration<double>(0.25));
  expect_lossless(std::tuple(1, std::string("x"), std::vector<std::vector<int>>{{1}, {2, 3}}));
}

TEST(Dynamic, ErrorsHandlesAndMessagesAreGivenBackUnchanged) {
  const auto error = std::make_exception_ptr(WorkerDied({.pid = 5, .exitcode = -9, .task = "square", .attempts = 2}));
  const auto failure = Sent(error).as<Dynamic>();
  ASSERT_TRUE(failure.is<Dynamic::Failure>());
  EXPECT_EQ(failure.get<Dynamic::Failure>().death->exitcode, -9);
  EXPECT_EQ(round_trip(failure), failure);
  EXPECT_THROW(std::rethrow_exception(failure.as<std::exception_ptr>()), WorkerDied);

  const Dynamic handle = Dynamic::Handle{.kind = "queue", .address = {1, "host"}};
  EXPECT_EQ(round_trip(handle), handle);
  EXPECT_EQ(mismatch<int>(handle), "expected int (-2147483648..2147483647), found handle of a queue");

  Typed<wire::Launch> launch;
  launch.build().setName("a name");
  launch.build().setExecutable(std::string(1000, 'x'));
  const Dynamic message = launch;
  ASSERT_TRUE(message.is<Dynamic::Message>());
  EXPECT_EQ(round_trip(message), message);
  EXPECT_STREQ(message.as<Typed<wire::Launch>>().read().getName().cStr(), "a name");
  Sent null;
  null.out().initMessage();
  EXPECT_EQ(round_trip(null.as<Dynamic>()), null.as<Dynamic>());
}

TEST(Dynamic, HoldsWhatItIsGiven) {
  EXPECT_TRUE(Dynamic().is_none());
  EXPECT_EQ(Dynamic(3).get<std::int64_t>(), 3);
  EXPECT_EQ(Dynamic(3U).get<std::uint64_t>(), 3U);
  EXPECT_EQ(Dynamic('a').get<std::int64_t>(), 'a');
  EXPECT_EQ(Dynamic(0.5F).get<double>(), 0.5);
  EXPECT_EQ(Dynamic(true).get<bool>(), true);
  EXPECT_EQ(Dynamic("text").get<std::string>(), "text");
  EXPECT_EQ(Dynamic(std::string_view("text")).get<std::string>(), "text");
  EXPECT_TRUE(Dynamic(static_cast<const char*>(nullptr)).is_none());
  EXPECT_EQ(Dynamic(2s).get<Dynamic::Duration>().unit, 1);
  EXPECT_EQ(Dynamic(std::vector<int>{1}).get<std::vector<int>>().at(0), 1);
  EXPECT_EQ(Dynamic(shapes::Point{1, "p"}).get<Dynamic::Struct>().type, "shapes::Point");
  Dynamic list = Dynamic::List{1, "two", 3.0};
  list.get<Dynamic::List>().push_back(Dynamic::Map{{"key", "value"}});
  EXPECT_EQ(list.to_string(), R"([1, "two", 3.0, {"key": "value"}])");
}

TEST(Dynamic, EqualIsTheSameKindAndContent) {
  EXPECT_EQ(Dynamic(3), Dynamic(3L));
  EXPECT_NE(Dynamic(3), Dynamic(3.0));
  EXPECT_NE(Dynamic(3), Dynamic(3U));
  EXPECT_NE(Dynamic(), Dynamic(false));
  EXPECT_EQ(Dynamic(shapes::Point{1, "p"}), Dynamic(shapes::Point{1, "p"}));
  EXPECT_NE(Dynamic(shapes::Point{1, "p"}), Dynamic(shapes::Point{1, "q"}));
  const Dynamic original = Dynamic::List{1, Dynamic::List{2}};
  Dynamic copy = original;
  EXPECT_EQ(copy, original);
  copy.get<Dynamic::List>()[1].get<Dynamic::List>()[0] = 5;
  EXPECT_NE(copy, original);
}

TEST(Dynamic, PartsAreReachedByIndexAndKey) {
  const Dynamic value = std::map<std::string, std::vector<int>>{{"a", {1, 2}}, {"b", {}}};
  EXPECT_EQ(value.size(), 2U);
  EXPECT_EQ(value["a"][1], Dynamic(2));
  EXPECT_EQ(value["b"].size(), 0U);
  const Dynamic object = shapes::Named(7);
  EXPECT_EQ(object["value_"], Dynamic(7));
  EXPECT_EQ(object[0], Dynamic(7));
  EXPECT_EQ(Dynamic(std::vector<bool>{true})[0], Dynamic(true));
  EXPECT_EQ(Dynamic(std::vector<std::byte>{std::byte{200}})[0], Dynamic(200U));
  EXPECT_EQ(Dynamic("text").size(), 4U);
  EXPECT_THROW(value["c"], KeyError);
  EXPECT_THROW(value["a"][2], IndexError);
  EXPECT_THROW(Dynamic(std::vector<bool>{true})[1], IndexError);
  EXPECT_THROW(Dynamic(std::vector<std::byte>())[0], IndexError);
  EXPECT_EQ(type_error([&] { value[0]; }), "a Dynamic holds map of 2 entries, which has no items");
  EXPECT_EQ(type_error([&] { Dynamic(1)["a"]; }), "a Dynamic holds int64 1, which has no keys");
  EXPECT_EQ(type_error([&] { static_cast<void>(Dynamic(1).size()); }), "a Dynamic holds int64 1, which has no size");
  EXPECT_EQ(type_error([&] { static_cast<void>(Dynamic(1).get<std::string>()); }),
            "a Dynamic holds int64 1, not std::string");
}

TEST(Dynamic, ReadsAsAPersonWouldWriteIt) {
  const auto text = [](const Dynamic& value) { return value.to_string(); };
  EXPECT_EQ(text({}), "none");
  EXPECT_EQ(text(true), "true");
  EXPECT_EQ(text(-3), "-3");
  EXPECT_EQ(text(3.0), "3.0");
  EXPECT_EQ(text(0.1), "0.1");
  EXPECT_EQ(text(1e300), "1e+300");
  EXPECT_EQ(text(std::numeric_limits<double>::infinity()), "inf");
  EXPECT_EQ(text("a \"quote\"\n\x01"), R"("a \"quote\"\n\x01")");
  EXPECT_EQ(text("grün"), "\"grün\"");
  EXPECT_EQ(text(std::vector<std::byte>{std::byte{0}, std::byte{'a'}, std::byte{200}}), R"(b"\x00a\xc8")");
  EXPECT_EQ(text(std::vector<bool>{true, false}), "[true, false]");
  EXPECT_EQ(text(std::vector<float>{1, 2.5F}), "[1.0, 2.5]");
  EXPECT_EQ(text(std::tuple(1, "x", nullptr)), R"([1, "x", none])");
  EXPECT_EQ(text(shapes::Point{1, "p"}), R"(shapes::Point{1, "p"})");
  EXPECT_EQ(text(shapes::Named(7)), "shapes::Named{value_: 7}");
  EXPECT_EQ(text(1500ms), "1500 ms");
  EXPECT_EQ(text(3min), "3 x 60 s");
  EXPECT_EQ(text(std::chrono::duration<double>(0.5)), "0.5 s");
  EXPECT_EQ(text(Dynamic::Handle{.kind = "queue", .address = {1}}), "<queue [1]>");
  EXPECT_EQ(text(std::make_exception_ptr(ValueError("bad"))), "troupe::ValueError(\"bad\")");
  std::ostringstream out;
  out << Dynamic(std::vector<int>{1, 2});
  EXPECT_EQ(out.str(), "[1, 2]");
}

TEST(Dynamic, WrongReceiversAreErrors) {
  EXPECT_EQ(codec_error([] { Dynamic("x").as<int>(); }), "expected int (-2147483648..2147483647), found text \"x\"");
  EXPECT_EQ(Dynamic(3).as<double>(), 3.0);
  EXPECT_EQ(Dynamic(3).as<Dynamic>(), Dynamic(3));
  // A struct whose names do not fit its fields, made here or there.
  EXPECT_NE(codec_error([] {
              Sent sent(Dynamic(Dynamic::Struct{.type = "T", .names = {"a"}, .fields = {}}));
            }).find("0 fields has 1 names"),
            std::string::npos);
  Sent sent(shapes::Named(1));
  sent.out().getStruct().initNames(3);
  EXPECT_EQ(codec_error([&] { sent.as<Dynamic>(); }), "a struct of 1 fields has 3 names");
}

TEST(Dynamic, OptionalsAndVariantsOfDynamicWork) {
  EXPECT_EQ(round_trip(std::optional<Dynamic>(Dynamic())), std::optional<Dynamic>(Dynamic()));
  EXPECT_EQ(round_trip(std::optional<Dynamic>()), std::nullopt);
  EXPECT_EQ(Sent(std::vector<int>{1, 2}).as<std::vector<Dynamic>>().at(1), Dynamic(2));
  EXPECT_EQ((Sent(std::pair(1, "x")).as<std::pair<Dynamic, Dynamic>>().second), Dynamic("x"));
  using Choice = std::variant<int, Dynamic>;
  EXPECT_EQ(round_trip(Choice(Dynamic("x"))), Choice(Dynamic("x")));
}

TEST(Dynamic, CannotHoldItselfToAnyDepth) {
  Dynamic deep = 1;
  for (int i = 0; i < max_nesting; ++i) deep = Dynamic::List{deep};
  EXPECT_EQ(round_trip(deep), deep);
  deep = Dynamic::List{deep};
  EXPECT_NE(codec_error([&] { Sent sent(deep); }).find("nested deeper"), std::string::npos);
  EXPECT_NE(deep.describe().find("nested deeper"), std::string::npos);
}
