#include <troupe/codec_list.hpp>
#include <troupe/message.hpp>

#include "codec_fixture.hpp"

#include <algorithm>
#include <forward_list>
#include <iterator>
#include <list>
#include <memory>
#include <ranges>
#include <span>
#include <sstream>
#include <string>
#include <vector>

using namespace troupe;
using namespace troupe::test;

namespace {

enum class Color : unsigned char { red, blue };
enum class Wide : std::int64_t { a = -1 };

template <class T>
class CodecPacked : public testing::Test {
 public:
  static std::vector<T> items(std::size_t count) {
    std::vector<T> all(count);
    for (std::size_t i = 0; i < count; ++i) all[i] = static_cast<T>(i % 120);
    return all;
  }
};

using PackedItems = testing::Types<char, std::int8_t, unsigned char, short, unsigned short, int, unsigned, long,
                                   unsigned long, long long, char16_t, wchar_t, float, double, std::byte, Color, Wide>;
TYPED_TEST_SUITE(CodecPacked, PackedItems);

// Sizes around the word and the bound from where memory is not cleared first.
TYPED_TEST(CodecPacked, ListsOfEverySizeArriveUnchanged) {
  for (const std::size_t size : {0U, 1U, 2U, 3U, 7U, 8U, 9U, 511U, 512U, 513U, 4096U, 100'001U}) {
    const auto items = this->items(size);
    Sent sent(items);
    EXPECT_FALSE(sent.in().isList());
    EXPECT_EQ(sent.as<std::vector<TypeParam>>(), items);
  }
}

TYPED_TEST(CodecPacked, ListsAreViewedInPlace) {
  const auto items = this->items(9);
  Sent sent(items);
  const auto view = sent.as<std::span<const TypeParam>>();
  EXPECT_TRUE(std::ranges::equal(view, items));
  const ItemsReader<TypeParam> reader(sent.in());
  EXPECT_EQ(reader.data(), view.data());
  ASSERT_EQ(reader.size(), 9U);
  EXPECT_EQ(reader[8], items[8]);
  EXPECT_EQ((sent.as<std::span<const TypeParam, 9>>().data()), view.data());
  EXPECT_NE(codec_error([&] { sent.as<std::span<const TypeParam, 8>>(); }).find("of another length"),
            std::string::npos);
}

// No copy is made for a task that takes a span.
TYPED_TEST(CodecPacked, ViewsLieInsideTheMessage) {
  for (const std::size_t size : {9U, 100'001U}) {
    capnp::MallocMessageBuilder message;
    encode(this->items(size), message.initRoot<wire::Value>());
    const auto view = std::as_bytes(decode<std::span<const TypeParam>>(message.getRoot<wire::Value>().asReader()));
    EXPECT_TRUE(std::ranges::any_of(message.getSegmentsForOutput(), [&](const auto& segment) {
      const auto memory = std::as_bytes(std::span{segment.begin(), segment.end()});
      return view.data() >= memory.data() && view.data() + view.size() <= memory.data() + memory.size();
    }));
  }
}

TYPED_TEST(CodecPacked, ListsFromInputIteratorsArePacked) {
  const auto items = this->items(100);
  const std::list<TypeParam> linked(items.begin(), items.end());
  Sent sent;
  encode_items(linked.begin(), linked.size(), sent.out());
  EXPECT_EQ(sent.as<std::span<const TypeParam>>().size(), 100U);
  std::vector<TypeParam> appended(1);
  decode_items(sent.in(), appended);
  ASSERT_EQ(appended.size(), 101U);
  EXPECT_TRUE(std::equal(items.begin(), items.end(), appended.begin() + 1));
}

/// A builder that gives dirty memory while the codec says that it will overwrite all of it, as rings and arenas do.
class DirtyBuilder : public capnp::MessageBuilder {
 public:
  kj::ArrayPtr<capnp::word> allocateSegment(unsigned minimum) override {
    const bool dirty = UnzeroedAllocation::active();
    if (dirty) ++num_dirty;
    const std::size_t size = dirty ? minimum : std::max(minimum, 64U);
    segments_.push_back(std::make_unique<std::uint64_t[]>(size));
    std::fill_n(segments_.back().get(), size, dirty ? ~std::uint64_t{0} : 0);
    return kj::arrayPtr(reinterpret_cast<capnp::word*>(segments_.back().get()), size);
  }
  int num_dirty = 0;

 private:
  std::vector<std::unique_ptr<std::uint64_t[]>> segments_;
};

template <class T>
void expect_clean(const T& value) {
  DirtyBuilder message;
  auto out = message.initRoot<wire::Value>();
  encode(value, out);
  EXPECT_EQ(message.num_dirty, 1);
  EXPECT_EQ(decode<T>(out.asReader()), value);
  // Not a byte of the former owner goes out: neither in the list nor in the padding after it.
  const auto segments = message.getSegmentsForOutput();
  const auto bytes = segments.back().asBytes();
  EXPECT_EQ(std::ranges::count(bytes, 0xFF), 0);
}

}  // namespace

TEST(CodecList, MemoryThatIsNotClearedIsOverwrittenToTheLastByte) {
  expect_clean(std::string(5001, 'x'));
  expect_clean(std::string(5000, 'x'));
  expect_clean(std::vector<std::byte>(5001, std::byte{1}));
  expect_clean(std::vector<std::int16_t>(4097, 1));
  expect_clean(std::vector<float>(4097, 1.0F));
  expect_clean(std::vector<bool>(40'001, false));
  expect_clean(std::list<std::int8_t>(5003, 1));
}

TEST(CodecList, BoolsTakeOneBit) {
  for (const std::size_t size : {0U, 1U, 7U, 8U, 9U, 64U, 65U, 1000U}) {
    std::vector<bool> bits(size);
    for (std::size_t i = 0; i < size; ++i) bits[i] = i % 3 == 0;
    Sent sent(bits);
    EXPECT_TRUE(sent.in().isBools());
    EXPECT_EQ(sent.as<std::vector<bool>>(), bits);
    const ItemsReader<bool> reader(sent.in());
    ASSERT_EQ(reader.size(), size);
    for (std::size_t i = 0; i < size; ++i) EXPECT_EQ(reader[i], bits[i]);
    EXPECT_EQ(Sent(std::list<bool>(bits.begin(), bits.end())).as<std::vector<bool>>(), bits);
  }
  EXPECT_EQ(Sent(std::vector<bool>{true, false}).as<std::vector<int>>(), (std::vector<int>{1, 0}));
  EXPECT_EQ(Sent(std::vector<int>{1, 0}).as<std::vector<bool>>(), (std::vector<bool>{true, false}));
  EXPECT_FALSE(Decodable<std::span<const bool>>);
}

TEST(CodecList, BytesTravelAsData) {
  EXPECT_TRUE(Sent(std::vector<unsigned char>{1, 2}).in().isData());
  EXPECT_TRUE(Sent(std::vector<std::byte>(3)).in().isData());
  EXPECT_TRUE(Sent(std::array<std::byte, 3>{}).in().isData());
  EXPECT_TRUE(Sent(std::span<const unsigned char>()).in().isData());
  EXPECT_EQ(Sent(std::vector<unsigned char>{1, 200}).as<std::vector<std::byte>>(),
            (std::vector<std::byte>{std::byte{1}, std::byte{200}}));
  EXPECT_EQ(mismatch<std::string>(std::vector<unsigned char>{1}), "expected std::string, found data of 1 byte");
  EXPECT_EQ(mismatch<std::vector<unsigned char>>("text"), "expected std::vector<unsigned char>, found text \"text\"");
}

// A list of ints is welcome where doubles are wanted, but only by value.
TEST(CodecList, ItemsConvertAsSingleNumbersDo) {
  EXPECT_EQ(Sent(std::vector<int>{1, -2}).as<std::vector<double>>(), (std::vector<double>{1, -2}));
  EXPECT_EQ(Sent(std::vector<double>{1, -2}).as<std::vector<short>>(), (std::vector<short>{1, -2}));
  EXPECT_EQ(Sent(std::vector<std::uint64_t>{1, 2}).as<std::vector<float>>(), (std::vector<float>{1, 2}));
  EXPECT_EQ(Sent(std::vector<float>{1.5F}).as<std::vector<double>>(), (std::vector<double>{1.5}));
  EXPECT_EQ(Sent(std::vector<std::uint16_t>{7}).as<std::vector<std::uint32_t>>(), (std::vector<std::uint32_t>{7}));
  EXPECT_EQ(Sent(std::vector<std::uint32_t>{7}).as<std::vector<std::int16_t>>(), (std::vector<std::int16_t>{7}));
  EXPECT_EQ(Sent(std::vector<std::int64_t>{7}).as<std::vector<char>>(), (std::vector<char>{7}));
  EXPECT_EQ(Sent(std::vector<unsigned char>{7}).as<std::vector<int>>(), (std::vector<int>{7}));
  EXPECT_EQ(Sent(std::vector<int>{1, 2}).as<std::vector<std::optional<int>>>().at(1), 2);
  EXPECT_EQ(Sent(std::vector<float>{1.5F}).as<std::vector<std::optional<double>>>().at(0), 1.5);
  EXPECT_EQ(Sent(std::vector<unsigned>{9}).as<std::list<std::optional<long>>>().front(), 9);
  EXPECT_EQ(Sent(std::vector<bool>{true}).as<std::vector<std::optional<bool>>>().at(0), true);
}

TEST(CodecList, ItemsThatDoNotConvertAreNamed) {
  EXPECT_EQ(mismatch<std::vector<std::int8_t>>(std::vector<int>{1, 300}),
            "item 1: expected signed char (-128..127), found int64 300");
  EXPECT_EQ(mismatch<std::vector<int>>(std::vector<double>{1, 2, 0.5}),
            "item 2: expected int (-2147483648..2147483647), found float64 0.5 which is no such whole number");
  EXPECT_NE(mismatch<std::vector<Color>>(std::vector<float>{1}).find("found float64 1"), std::string::npos);
  EXPECT_EQ(mismatch<std::vector<std::string>>(std::vector<int>{1}), "item 0: expected std::string, found int64 1");
  EXPECT_EQ(mismatch<std::vector<std::string_view>>(std::vector<int>{1}),
            "item 0: expected std::string_view, found int64 1");
  EXPECT_EQ(mismatch<std::vector<std::vector<int>>>(std::vector<std::vector<double>>{{}, {1, 0.5}}),
            "item 1: item 1: expected int (-2147483648..2147483647), found float64 0.5 which is no such whole number");
  EXPECT_EQ(mismatch<std::vector<int>>("abc"), "expected std::vector<int>, found text \"abc\"");
  // Bytes are a list of numbers to a receiver of numbers only.
  EXPECT_EQ(mismatch<std::vector<std::optional<int>>>(std::vector<unsigned char>{1}),
            "expected std::vector<std::optional<int>>, found data of 1 byte");
}

TEST(CodecList, ViewsOfOtherNumbersAreErrorsThatTellTheRemedy) {
  EXPECT_EQ(mismatch<std::span<const double>>(std::vector<int>{1}),
            "expected std::span<double const>, found int32 list of 1 item which is no array of these numbers in "
            "memory; take a std::vector");
  EXPECT_NE(mismatch<std::span<const unsigned>>(std::vector<int>{1}).find("found int32 list"), std::string::npos);
  // Nothing to view is nothing to complain about.
  EXPECT_TRUE(Sent(std::vector<int>{}).as<std::span<const double>>().empty());
  EXPECT_FALSE(Decodable<std::span<int>>);
  EXPECT_FALSE((Decodable<std::span<const std::string>>));
  EXPECT_TRUE(Encodable<std::span<int>>);
}

TEST(CodecList, ListsOfValuesHaveOneValueEach) {
  const std::vector<std::string> items = {"a", "", "c"};
  Sent sent(items);
  EXPECT_TRUE(sent.in().isList());
  const ItemsReader<std::string_view> reader(sent.in());
  ASSERT_EQ(reader.size(), 3U);
  EXPECT_EQ(reader[2], "c");
  EXPECT_EQ(reader.data(), nullptr);
  std::vector<std::string> all = {"before"};
  decode_items(sent.in(), all);
  EXPECT_EQ(all, (std::vector<std::string>{"before", "a", "", "c"}));
}

TEST(CodecList, AnyInputIteratorWillDo) {
  std::istringstream words("12 7 -3");
  Sent sent;
  encode_items(std::istream_iterator<int>(words), 3, sent.out());
  EXPECT_EQ(sent.as<std::vector<int>>(), (std::vector<int>{12, 7, -3}));
  const auto texts = std::views::iota(0, 3) | std::views::transform([](int i) { return std::to_string(i); });
  Sent second;
  encode_items(texts.begin(), 3, second.out());
  EXPECT_EQ(second.as<std::vector<std::string>>(), (std::vector<std::string>{"0", "1", "2"}));
  const std::forward_list<double> chain = {1.5, 2.5};
  Sent third;
  encode_items(chain.begin(), 2, third.out());
  EXPECT_EQ(third.as<std::vector<double>>(), (std::vector<double>{1.5, 2.5}));
}

// What a faulty input iterator throws belongs to the caller of map, unchanged.
TEST(CodecList, ErrorsOfTheIteratorPass) {
  const auto faulty = std::views::iota(0, 3) | std::views::transform([](int i) {
                        if (i == 1) throw std::out_of_range("second item");
                        return i;
                      });
  Sent sent;
  EXPECT_THROW(encode_items(faulty.begin(), 3, sent.out()), std::out_of_range);
}

TEST(CodecList, ListsTooLargeForAMessageAreErrors) {
  Sent sent;
  const std::string text =
      codec_error([&] { encode_items(std::views::iota(0L).begin(), std::size_t{1} << 33, sent.out()); });
  EXPECT_EQ(text,
            "a list of 8589934592 items or bytes is too large for one message, which holds 536870911; send it in "
            "parts");
  const auto texts = std::views::iota(0L) | std::views::transform([](long) { return std::string(); });
  EXPECT_NE(codec_error([&] { encode_items(texts.begin(), std::size_t{1} << 32, sent.out()); }).find("too large"),
            std::string::npos);
  // Fewer items than the limit, more words than a segment holds: Cap'n Proto's own check.
  EXPECT_NE(codec_error([&] { encode_items(texts.begin(), std::size_t{1} << 28, sent.out()); }).find("cannot encode"),
            std::string::npos);
}
