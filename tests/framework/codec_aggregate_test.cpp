#include <troupe/codec_aggregate.hpp>
#include <troupe/wire/control.capnp.h>

#include "codec_fixture.hpp"

#include <gmock/gmock.h>

#include <functional>
#include <map>
#include <mutex>
#include <string>

namespace shapes {

struct Point {
  double x;
  double y;
  bool operator==(const Point&) const = default;
};

struct Nothing {
  bool operator==(const Nothing&) const = default;
};

struct Line {
  Point from;
  Point to;
  std::optional<std::string> label;
  std::map<std::string, std::vector<int>> tags;
  bool operator==(const Line&) const = default;
};

/// Neither copyable nor constructible without arguments.
struct NoDefault {
  explicit NoDefault(int v) : value(v) {}
  int value;
  TROUPE_FIELDS(value)
 private:
  friend struct troupe::FieldAccess;
  NoDefault() = default;
};
struct Owner {
  const int id;
  std::unique_ptr<Point> point;
  NoDefault part;
};

struct Tree {
  int value;
  std::vector<Tree> children;
  bool operator==(const Tree&) const = default;
};

struct Chain {
  int value;
  std::shared_ptr<Chain> next;
};

class Account {
 public:
  Account() = default;
  Account(std::string owner, long cents) : owner_(std::move(owner)), cents_(cents) {}
  bool operator==(const Account&) const = default;

 protected:
  int in_base_ = 0;

 private:
  std::string owner_;
  long cents_ = 0;
  TROUPE_FIELDS(owner_, cents_)
};

/// Adds a field and lists it together with one of its base.
class Savings : public Account {
 public:
  Savings() = default;
  explicit Savings(double rate) : rate_(rate) { in_base_ = 7; }
  int in_base() const { return in_base_; }
  double rate() const { return rate_; }

 private:
  double rate_ = 0;
  TROUPE_FIELDS(in_base_, rate_)
};

/// Adds a field and forgets to list it.
class Forgetful : public Account {
  double lost_ = 0;
};

struct Derived : Point {
  double z;
};

union Either {
  int a;
  float b;
};

/// Two versions of one class.
struct Before {
  int a = 1;
  int b = 2;
  TROUPE_FIELDS(a, b)
};
struct After {
  int b = 20;
  std::string c = "new";
  TROUPE_FIELDS(b, c)
};
struct Later {
  int b = 20;
  TROUPE_FIELDS(b)
};

struct NoFields {
  TROUPE_FIELDS()
};

struct Sequence {
  std::span<const double> items;
  std::string_view name;
};

struct Changes {
  int number;
  int& place;
};
struct Refers {
  int number;
  const std::vector<int>& items;
};

struct Money {
  long cents;
  explicit Money(long value) : cents(value) {}
  bool operator==(const Money&) const = default;
};

}  // namespace shapes

template <>
struct troupe::Codec<shapes::Money> {
  static void encode(const shapes::Money& money, troupe::wire::Value::Builder out) { troupe::encode(money.cents, out); }
  static shapes::Money decode(troupe::wire::Value::Reader in) { return shapes::Money(troupe::decode<long>(in)); }
};

using namespace troupe;
using namespace troupe::test;
using namespace shapes;

TEST(CodecAggregate, AggregatesTravelByPosition) {
  EXPECT_EQ(round_trip(Point{1, 2}), (Point{1, 2}));
  EXPECT_EQ(round_trip(Nothing{}), Nothing{});
  const Line line = {{1, 2}, {3, 4}, "diagonal", {{"a", {1}}}};
  EXPECT_EQ(round_trip(line), line);
  EXPECT_EQ(round_trip(std::vector<Line>{line, {}}), (std::vector<Line>{line, {}}));
  const Tree tree = {1, {{2, {}}, {3, {{4, {}}}}}};
  EXPECT_EQ(round_trip(tree), tree);
}

TEST(CodecAggregate, FieldsNeedNeitherCopiesNorDefaults) {
  Sent sent(Owner{5, std::make_unique<Point>(Point{1, 2}), NoDefault(9)});
  const auto owner = sent.as<Owner>();
  EXPECT_EQ(owner.id, 5);
  EXPECT_EQ(*owner.point, (Point{1, 2}));
  EXPECT_EQ(owner.part.value, 9);
}

TEST(CodecAggregate, WrongShapesAreNamed) {
  EXPECT_EQ(mismatch<Point>(Line{}), "expected shapes::Point of 2 fields, found struct shapes::Line of 4 fields");
  EXPECT_EQ(mismatch<Point>(3), "expected shapes::Point of 2 fields, found int64 3");
  EXPECT_EQ(mismatch<Point>(std::pair(1.0, 2.0)), "expected shapes::Point of 2 fields, found float64 list of 2 items");
  EXPECT_EQ((mismatch<Tree>(Point{1, 2})),
            "field 1 of shapes::Tree: expected std::vector<shapes::Tree>, found float64 2");
  EXPECT_EQ(mismatch<int>(Nothing{}),
            "expected int (-2147483648..2147483647), found struct shapes::Nothing of 0 fields");
}

TEST(CodecAggregate, ViewsMayBeFields) {
  const std::vector<double> items = {1, 2, 3};
  Sent sent(Sequence{items, "name"});
  const auto sequence = sent.as<Sequence>();
  EXPECT_EQ(sequence.items.size(), 3U);
  EXPECT_EQ(sequence.name, "name");
  EXPECT_TRUE(ViewsMessage<Sequence>);
  EXPECT_TRUE((ViewsMessage<std::vector<std::pair<int, std::string_view>>>));
  EXPECT_FALSE(ViewsMessage<Line>);
  EXPECT_FALSE(ViewsMessage<Tree>);
}

TEST(CodecFields, ListedFieldsTravelByName) {
  EXPECT_EQ(round_trip(Account("me", 5)), Account("me", 5));
  Sent sent(Account("me", 5));
  const auto names = sent.in().getStruct().getNames();
  ASSERT_EQ(names.size(), 2U);
  EXPECT_STREQ(names[0].cStr(), "owner_");
  EXPECT_STREQ(names[1].cStr(), "cents_");
  Sent empty{NoFields{}};
  static_cast<void>(empty.as<NoFields>());
}

TEST(CodecFields, BaseFieldsMayBeListed) {
  const Savings arrived = round_trip(Savings(0.5));
  EXPECT_EQ(arrived.in_base(), 7);
  EXPECT_EQ(arrived.rate(), 0.5);
}

// A list inherited from the base would drop what the derived class adds, without a word.
TEST(CodecFields, InheritedListsDoNotCount) {
  EXPECT_TRUE(Encodable<Account>);
  EXPECT_FALSE(Encodable<Forgetful>);
}

TEST(CodecFields, VersionsMatchByName) {
  EXPECT_EQ(Sent(Before{}).as<Later>().b, 2);
  EXPECT_EQ(mismatch<After>(Before{}),
            "expected shapes::After, found struct shapes::Before of 2 fields without field c");
  // From an aggregate, which has no names, by position.
  struct Positional {
    int b;
    std::string c;
  };
  const auto after = Sent(Positional{5, "x"}).as<After>();
  EXPECT_EQ(after.b, 5);
  EXPECT_EQ(after.c, "x");
  EXPECT_NE(mismatch<After>(Point{}).find("field c of shapes::After: expected std::string"), std::string::npos);
}

TEST(CodecFields, BadFieldsAreNamed) {
  struct Other {
    std::string a;
    int b;
  };
  EXPECT_EQ(mismatch<Before>(Other{"x", 1}),
            "field a of shapes::Before: expected int (-2147483648..2147483647), found text \"x\"");
  Sent sent(Before{});
  sent.out().getStruct().initNames(3);
  EXPECT_EQ(codec_error([&] { sent.as<Before>(); }),
            "expected shapes::Before, found struct shapes::Before of 2 fields with another number of names");
}

TEST(CodecAggregate, TypesWithoutCodecAreToldApart) {
  EXPECT_FALSE(Encodable<std::mutex>);
  EXPECT_FALSE(Encodable<int*>);
  EXPECT_FALSE(Encodable<std::function<void()>>);
  EXPECT_FALSE(Encodable<Derived>);
  EXPECT_FALSE(Encodable<Either>);
  EXPECT_FALSE(Encodable<void>);
  EXPECT_FALSE(Encodable<long double>);
  EXPECT_FALSE((Encodable<std::vector<std::map<int, std::mutex>>>));
  struct Holder {
    std::vector<std::function<void()>> calls;
  };
  EXPECT_FALSE(Encodable<Holder>);
  EXPECT_FALSE(Decodable<Holder>);
  EXPECT_TRUE((Encodable<const Line&>));
  EXPECT_TRUE(Decodable<Tree>);
  EXPECT_TRUE(Encodable<char[4]>);
  EXPECT_FALSE(Decodable<char[4]>);
}

// What a reference refers to stays in the sender's process.
TEST(CodecAggregate, ReferencesAreRefused) {
  EXPECT_FALSE(Encodable<Changes>);
  EXPECT_FALSE(Decodable<Changes>);
  const std::vector<int> items = {1, 2};
  EXPECT_THAT(codec_error([&] {
                Sent(Refers{1, items});
              }),
              testing::HasSubstr("Refers has a field that is a reference, which cannot travel; make it a value"));
}

TEST(CodecCustom, SpecializationsAreUsedEverywhere) {
  EXPECT_EQ(round_trip(Money(5)), Money(5));
  EXPECT_EQ(round_trip(std::vector<Money>{Money(5)}), std::vector<Money>{Money(5)});
  EXPECT_EQ(round_trip(std::optional<Money>(Money(5))), Money(5));
  EXPECT_EQ(mismatch<std::vector<Money>>(std::vector<std::string>{"x"}),
            "item 0: expected long (-9223372036854775808..9223372036854775807), found text \"x\"");
}

TEST(CodecTyped, GeneratedStructsTravelAsTheyAre) {
  Typed<wire::ExitReport> report;
  report.build().setPid(77);
  report.build().setDumpedCore(true);
  Sent sent(report);
  const auto owned = sent.as<Typed<wire::ExitReport>>();
  EXPECT_EQ(owned.read().getPid(), 77);
  const auto view = sent.as<wire::ExitReport::Reader>();
  EXPECT_TRUE(view.getDumpedCore());
  Sent again(view);
  EXPECT_EQ(again.as<wire::ExitReport::Reader>().getPid(), 77);
  Typed<wire::ExitReport> copy = report;
  copy.build().setPid(1);
  EXPECT_EQ(report.read().getPid(), 77);
  report = std::move(copy);
  EXPECT_EQ(report.read().getPid(), 1);
  EXPECT_NE(mismatch<wire::ExitReport::Reader>(3).find("found int64 3"), std::string::npos);
  EXPECT_NE(mismatch<Typed<wire::ExitReport>>(3).find("Typed<troupe::wire::ExitReport>, found int64 3"),
            std::string::npos);
  EXPECT_EQ(mismatch<std::string>(report), "expected std::string, found a Cap'n Proto message");
  EXPECT_TRUE(ViewsMessage<wire::ExitReport::Reader>);
  EXPECT_FALSE(ViewsMessage<Typed<wire::ExitReport>>);
}
