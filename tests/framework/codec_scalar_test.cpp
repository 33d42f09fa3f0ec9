#include <troupe/codec_scalar.hpp>

#include "codec_fixture.hpp"

#include <chrono>
#include <cmath>
#include <filesystem>
#include <limits>
#include <string>
#include <string_view>

using namespace troupe;
using namespace troupe::test;
using namespace std::chrono_literals;

namespace {

enum class Color : unsigned char { red, green = 200 };
enum class Signed : std::int64_t { lowest = std::numeric_limits<std::int64_t>::min() };
enum Plain { plain_a, plain_b };

template <class T>
class CodecNumber : public testing::Test {};

using Numbers =
    testing::Types<bool, char, signed char, unsigned char, short, unsigned short, int, unsigned, long, unsigned long,
                   long long, unsigned long long, wchar_t, char8_t, char16_t, char32_t, float, double>;
TYPED_TEST_SUITE(CodecNumber, Numbers);

// The extremes of every type would be the first to be cut.
TYPED_TEST(CodecNumber, ExtremesArriveUnchanged) {
  using Limits = std::numeric_limits<TypeParam>;
  for (const TypeParam value : {Limits::lowest(), Limits::max(), Limits::min(), TypeParam{0}, TypeParam{1}}) {
    EXPECT_EQ(round_trip(value), value);
  }
}

TYPED_TEST(CodecNumber, TextIsNoNumber) {
  const std::string text = mismatch<TypeParam>("abc");
  EXPECT_EQ(text.find("expected "), 0U) << text;
  EXPECT_NE(text.find("found text \"abc\""), std::string::npos) << text;
}

}  // namespace

// A result must not be wrapped around silently when the receiver's type is narrower.
TEST(Codec, IntegersOutOfTheReceiversRangeAreErrors) {
  EXPECT_EQ(mismatch<unsigned char>(300), "expected unsigned char (0..255), found int64 300");
  EXPECT_EQ(mismatch<signed char>(-129), "expected signed char (-128..127), found int64 -129");
  EXPECT_EQ(mismatch<unsigned>(-1), "expected unsigned int (0..4294967295), found int64 -1");
  EXPECT_EQ(mismatch<std::int64_t>(std::uint64_t{1} << 63),
            "expected long (-9223372036854775808..9223372036854775807), found uint64 9223372036854775808");
  EXPECT_EQ(mismatch<bool>(2), "expected bool (0..1), found int64 2");
  EXPECT_EQ(Sent(255).as<unsigned char>(), 255);
  EXPECT_EQ(Sent(255U).as<signed short>(), 255);
}

// As in Python, where 3 == 3.0 and either will do.
TEST(Codec, WholeNumbersAndFloatingPointConvertWhenExact) {
  EXPECT_EQ(Sent(3).as<double>(), 3.0);
  EXPECT_EQ(Sent(3U).as<float>(), 3.0F);
  EXPECT_EQ(Sent(3.0).as<int>(), 3);
  EXPECT_EQ(Sent(-3.0).as<long>(), -3);
  EXPECT_EQ(Sent(true).as<int>(), 1);
  EXPECT_EQ(Sent(true).as<double>(), 1.0);
  EXPECT_EQ(Sent(1).as<bool>(), true);
  EXPECT_EQ(Sent(std::int64_t{1} << 62).as<double>(), 0x1p62);
  EXPECT_EQ(Sent(-0x1p63).as<std::int64_t>(), std::numeric_limits<std::int64_t>::min());
}

TEST(Codec, ConversionsThatLoseSomethingAreErrors) {
  EXPECT_EQ(mismatch<int>(3.5),
            "expected int (-2147483648..2147483647), found float64 3.5 which is no such whole number");
  EXPECT_EQ(mismatch<double>((std::int64_t{1} << 53) + 1), "expected double, found int64 9007199254740993");
  EXPECT_EQ(mismatch<double>(std::numeric_limits<std::int64_t>::max()),
            "expected double, found int64 9223372036854775807");
  EXPECT_EQ(mismatch<double>(std::numeric_limits<std::uint64_t>::max()),
            "expected double, found uint64 18446744073709551615");
  EXPECT_EQ(mismatch<float>((1 << 24) + 1), "expected float, found int64 16777217");
  EXPECT_EQ(mismatch<float>(1e300), "expected float, found float64 1e+300");
  mismatch<std::int64_t>(0x1p63);
  mismatch<std::uint64_t>(0x1p64);
  mismatch<std::uint64_t>(-1.0);
  mismatch<int>(std::numeric_limits<double>::quiet_NaN());
  mismatch<int>(std::numeric_limits<double>::infinity());
}

TEST(Codec, NotANumberAndInfinityTravel) {
  EXPECT_TRUE(std::isnan(round_trip(std::numeric_limits<double>::quiet_NaN())));
  EXPECT_TRUE(std::isnan(round_trip(std::numeric_limits<float>::quiet_NaN())));
  EXPECT_EQ(Sent(std::numeric_limits<double>::infinity()).as<float>(), std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::signbit(round_trip(-0.0)));
}

// The one conversion that may round, because floats are approximations and C++ does so, too.
TEST(Codec, DoubleRoundsToFloat) { EXPECT_EQ(Sent(0.1).as<float>(), 0.1F); }

TEST(Codec, EnumeratorsTravelByTheirUnderlyingType) {
  EXPECT_EQ(round_trip(Color::green), Color::green);
  EXPECT_EQ(round_trip(Signed::lowest), Signed::lowest);
  EXPECT_EQ(round_trip(plain_b), plain_b);
  EXPECT_EQ(round_trip(std::byte{200}), std::byte{200});
  const std::string text = mismatch<Color>(300);
  EXPECT_NE(text.find("Color: expected unsigned char (0..255), found int64 300"), std::string::npos) << text;
  EXPECT_NE(mismatch<Color>("red").find("Color, found text \"red\""), std::string::npos);
  EXPECT_NE(mismatch<Color>(1.0).find("Color, found float64 1"), std::string::npos);
}

TEST(Codec, TextTravelsWithEveryByte) {
  const std::string text("a\0\xffz", 4);
  EXPECT_EQ(round_trip(text), text);
  EXPECT_EQ(round_trip(std::string()), "");
  for (const std::size_t size : {1U, 6U, 7U, 8U, 9U, 4095U, 4096U, 100'000U}) {
    EXPECT_EQ(round_trip(std::string(size, 'x')), std::string(size, 'x'));
  }
  EXPECT_EQ(Sent("literal").as<std::string>(), "literal");
  EXPECT_EQ(Sent("cut\0here").as<std::string>(), "cut");
  EXPECT_EQ(Sent(std::string_view("abcd", 2)).as<std::string>(), "ab");
  EXPECT_EQ(round_trip(std::filesystem::path("/tmp/a b")), std::filesystem::path("/tmp/a b"));
}

TEST(Codec, TextIsReadInPlace) {
  Sent sent(std::string("in the message"));
  const auto text = sent.in().getText();
  EXPECT_EQ(sent.as<std::string_view>().data(), text.begin());
  EXPECT_EQ(sent.as<const char*>(), text.begin());
  EXPECT_STREQ(sent.as<const char*>(), "in the message");
}

TEST(Codec, NullPointersToTextTravelAsNone) {
  Sent sent(static_cast<const char*>(nullptr));
  EXPECT_TRUE(sent.in().isNone());
  EXPECT_EQ(sent.as<const char*>(), nullptr);
  EXPECT_EQ(codec_error([&] { sent.as<std::string>(); }), "expected std::string, found none");
}

// As a C string it would end early, without a word.
TEST(Codec, TextWithNulIsNoCString) {
  EXPECT_EQ(mismatch<const char*>(std::string("a\0b", 3)).find("expected const char*, found text"), 0U);
}

TEST(Codec, LongTextsAreCutInErrors) {
  const std::string text = mismatch<int>(std::string(1000, 'x'));
  EXPECT_LT(text.size(), 120U);
  EXPECT_NE(text.find("xxx...\""), std::string::npos) << text;
}

TEST(Codec, NothingTravelsAsNone) {
  EXPECT_EQ(round_trip(std::monostate{}), std::monostate{});
  EXPECT_EQ(round_trip(nullptr), nullptr);
  EXPECT_EQ(mismatch<std::monostate>(0), "expected std::monostate, found int64 0");
  EXPECT_EQ(mismatch<std::nullptr_t>(0), "expected std::nullptr_t, found int64 0");
  EXPECT_EQ(mismatch<int>(nullptr), "expected int (-2147483648..2147483647), found none");
}

TEST(Codec, DurationsKeepTheirUnit) {
  EXPECT_EQ(round_trip(std::chrono::nanoseconds(-5)), -5ns);
  EXPECT_EQ(round_trip(std::chrono::years(3)), std::chrono::years(3));
  EXPECT_EQ(Sent(2s).as<std::chrono::milliseconds>(), 2000ms);
  EXPECT_EQ(Sent(7200s).as<std::chrono::hours>(), 2h);
  EXPECT_EQ(Sent(1ms).as<std::chrono::duration<double>>().count(), 0.001);
  EXPECT_EQ(round_trip(std::chrono::duration<double, std::milli>(0.3)).count(), 0.3);
  EXPECT_EQ(Sent(std::chrono::duration<float>(0.5F)).as<std::chrono::duration<double>>().count(), 0.5);
  EXPECT_EQ(Sent(3min).as<std::chrono::duration<float>>().count(), 180.0F);
}

TEST(Codec, DurationsThatDoNotFitAreErrors) {
  EXPECT_EQ(mismatch<std::chrono::seconds>(1500ms),
            "expected std::chrono::duration<long, std::ratio<1l, 1l>>, found duration 1500 ms which is no whole number "
            "of them");
  EXPECT_NE(mismatch<std::chrono::nanoseconds>(std::chrono::hours::max()).find("does not fit"), std::string::npos);
  EXPECT_NE((mismatch<std::chrono::duration<std::int8_t>>(200s)).find("does not fit"), std::string::npos);
  EXPECT_NE(mismatch<std::chrono::seconds>(5).find("found int64 5"), std::string::npos);
  EXPECT_NE(mismatch<int>(5s).find("found duration 5 s"), std::string::npos);
  EXPECT_NE(mismatch<std::chrono::seconds>(std::chrono::duration<double>(5)).find("found duration 5 s"),
            std::string::npos);
  using Wide = std::chrono::duration<std::uint64_t>;
  codec_error([] { Sent sent(Wide::max()); });
  Sent no_unit(5s);
  no_unit.out().getDuration().setUnit(0);
  EXPECT_EQ(codec_error([&] { no_unit.as<std::chrono::milliseconds>(); }), "a duration without a unit");
}

TEST(Codec, TimePointsTravel) {
  const auto now = std::chrono::system_clock::now();
  EXPECT_EQ(round_trip(now), now);
  const auto tick = std::chrono::steady_clock::now();
  EXPECT_EQ(round_trip(tick), tick);
  EXPECT_EQ(Sent(std::chrono::sys_seconds(5s)).as<std::chrono::sys_time<std::chrono::milliseconds>>(),
            std::chrono::sys_time<std::chrono::milliseconds>(5000ms));
}

TEST(Codec, UnknownKindsOfValuesAreNamed) {
  // What a later version of the schema may send, written by hand.
  capnp::word words[4] = {};
  auto* bytes = reinterpret_cast<unsigned char*>(words);
  bytes[4] = 2;         // root: a struct of two data words
  bytes[6] = 1;         // and one pointer
  bytes[8 + 0] = 0xFF;  // discriminant 255
  const kj::ArrayPtr<const capnp::word> segments[] = {kj::arrayPtr(words, 4)};
  capnp::SegmentArrayMessageReader reader(segments);
  EXPECT_EQ(codec_error([&] { decode<int>(reader.getRoot<wire::Value>()); }),
            "expected int (-2147483648..2147483647), found a value of unknown kind 255");
}
