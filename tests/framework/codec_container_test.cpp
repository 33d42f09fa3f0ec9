#include <troupe/codec_container.hpp>

#include "codec_fixture.hpp"

#include <complex>
#include <deque>
#include <limits>
#include <list>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>

using namespace troupe;
using namespace troupe::test;

namespace {

/// Constructible from one thing only, as many user types are.
struct Number {
  int value;
  auto operator<=>(const Number&) const = default;
};

/// A vector of somebody's own, without reserve or iterators of the standard's types.
template <class T>
class Bag {
 public:
  using value_type = T;
  void push_back(T item) { items_.push_back(std::move(item)); }
  auto insert(typename std::deque<T>::const_iterator at, T item) { return items_.insert(at, std::move(item)); }
  auto begin() const { return items_.begin(); }
  auto end() const { return items_.end(); }
  std::size_t size() const { return items_.size(); }
  bool operator==(const Bag&) const = default;

 private:
  std::deque<T> items_;
};

}  // namespace

TEST(CodecContainer, SequencesArriveInOrder) {
  EXPECT_EQ(round_trip(std::vector<std::string>{"b", "a"}), (std::vector<std::string>{"b", "a"}));
  EXPECT_EQ(round_trip(std::deque<int>{3, 1, 2}), (std::deque<int>{3, 1, 2}));
  EXPECT_EQ(round_trip(std::list<std::pair<int, std::string>>{{1, "x"}}),
            (std::list<std::pair<int, std::string>>{{1, "x"}}));
  EXPECT_EQ(round_trip(std::vector<std::vector<std::vector<int>>>{{{1}, {}}, {}}),
            (std::vector<std::vector<std::vector<int>>>{{{1}, {}}, {}}));
  EXPECT_EQ(round_trip(std::u16string(u"wide")), u"wide");
  Bag<int> bag;
  bag.push_back(7);
  EXPECT_EQ(round_trip(bag), bag);
  EXPECT_EQ(Sent(std::deque<int>{3, 1}).as<std::vector<double>>(), (std::vector<double>{3, 1}));
}

TEST(CodecContainer, ArraysNeedTheirLength) {
  EXPECT_EQ(round_trip(std::array<int, 3>{1, 2, 3}), (std::array<int, 3>{1, 2, 3}));
  EXPECT_EQ(round_trip(std::array<std::string, 2>{"a", "b"}), (std::array<std::string, 2>{"a", "b"}));
  EXPECT_EQ(round_trip(std::array<Number, 1>{Number{4}}), (std::array<Number, 1>{Number{4}}));
  EXPECT_EQ(round_trip(std::array<int, 0>{}), (std::array<int, 0>{}));
  EXPECT_EQ((mismatch<std::array<int, 2>>(std::vector<int>{1})),
            "expected std::array<int, 2ul>, found int32 list of 1 item of another length");
}

TEST(CodecContainer, SetsHoldEachItemOnce) {
  EXPECT_EQ(round_trip(std::set<int>{3, 1}), (std::set<int>{1, 3}));
  EXPECT_EQ(round_trip(std::unordered_set<std::string>{"a", "b"}), (std::unordered_set<std::string>{"a", "b"}));
  EXPECT_EQ(round_trip(std::multiset<int>{1, 1}), (std::multiset<int>{1, 1}));
  EXPECT_EQ(round_trip(std::unordered_multiset<int>{1, 1}), (std::unordered_multiset<int>{1, 1}));
  EXPECT_EQ(mismatch<std::set<int>>(std::vector<int>{1, 1}),
            "expected std::set<int>, found int32 list of 2 items which has an item twice");
}

TEST(CodecContainer, MapsHoldEachKeyOnce) {
  const std::map<std::string, std::vector<int>> map = {{"a", {1, 2}}, {"b", {}}};
  EXPECT_EQ(round_trip(map), map);
  const std::unordered_map<int, double> hashed = {{1, 0.5}, {2, 1.5}};
  EXPECT_EQ(round_trip(hashed), hashed);
  const std::multimap<int, int> multi = {{1, 2}, {1, 3}};
  EXPECT_EQ(round_trip(multi), multi);
  const std::unordered_multimap<int, int> hashed_multi = {{1, 2}, {1, 3}};
  EXPECT_EQ(round_trip(hashed_multi), hashed_multi);
  const std::map<std::pair<int, int>, std::map<int, int>> nested = {{{1, 2}, {{3, 4}}}};
  EXPECT_EQ(round_trip(nested), nested);
  EXPECT_EQ((mismatch<std::map<int, int>>(multi)), "item 1: a key that came before");
  EXPECT_EQ((mismatch<std::map<int, int>>(map)), "item 0: expected int (-2147483648..2147483647), found text \"a\"");
  EXPECT_EQ((mismatch<std::map<int, int>>(std::vector<int>{1})),
            "expected std::map<int, int>, found int32 list of 1 item");
  EXPECT_EQ(mismatch<std::vector<int>>(hashed), "expected std::vector<int>, found map of 2 entries");
}

TEST(CodecContainer, TuplesNeedTheirLength) {
  EXPECT_EQ(round_trip(std::tuple(1, 2.5, std::string("x"))), std::tuple(1, 2.5, std::string("x")));
  EXPECT_EQ(round_trip(std::pair(std::string("k"), nullptr)), std::pair(std::string("k"), nullptr));
  EXPECT_EQ(round_trip(std::tuple<>()), std::tuple<>());
  EXPECT_EQ((mismatch<std::tuple<int, int>>(std::tuple(1, 2, 3))),
            "expected std::tuple<int, int>, found int32 list of 3 items of another length");
  EXPECT_EQ((mismatch<std::pair<int, std::string>>(std::tuple(1, "a", 2))),
            "expected std::pair<int, std::string>, found list of 3 items of another length");
  EXPECT_EQ((mismatch<std::pair<int, std::string>>(std::pair(1, 2))), "item 1: expected std::string, found int64 2");
  EXPECT_EQ((mismatch<std::pair<int, std::string>>(std::pair("a", "b"))),
            "item 0: expected int (-2147483648..2147483647), found text \"a\"");
  EXPECT_EQ((mismatch<std::tuple<int>>(5)), "expected std::tuple<int>, found int64 5");
  EXPECT_EQ((mismatch<std::tuple<>>(5)), "expected std::tuple<>, found int64 5");
  EXPECT_EQ((mismatch<std::tuple<std::string_view, int>>(std::pair(1, 2))),
            "item 0: expected std::string_view, found int64 1");
}

// Pairs of numbers are the items of many a starmap: they travel side by side.
TEST(CodecContainer, TuplesOfOneNumberTypeArePacked) {
  EXPECT_TRUE(Sent(std::pair(1, 2)).in().isInt32s());
  EXPECT_TRUE(Sent(std::tuple(1.0, 2.0, 3.0)).in().isFloat64s());
  EXPECT_TRUE(Sent(std::pair(true, false)).in().isList());
  EXPECT_EQ(round_trip(std::pair(true, false)), std::pair(true, false));
  EXPECT_EQ((Sent(std::pair(1, 2)).as<std::tuple<double, long>>()), std::tuple(1.0, 2L));
  EXPECT_EQ((Sent(std::pair(5, 1)).as<std::pair<std::optional<int>, bool>>()), std::pair(std::optional<int>(5), true));
  EXPECT_EQ((Sent(std::vector<int>{1, 2}).as<std::pair<int, int>>()), std::pair(1, 2));
  EXPECT_EQ(round_trip(std::complex<float>(1, -2)), std::complex<float>(1, -2));
}

TEST(CodecContainer, OptionalsTellEmptyFromNone) {
  EXPECT_EQ(round_trip(std::optional<int>()), std::nullopt);
  EXPECT_EQ(round_trip(std::optional<int>(3)), 3);
  EXPECT_TRUE(Sent(std::optional<int>(3)).in().isInt64());
  using Twice = std::optional<std::optional<int>>;
  EXPECT_EQ(round_trip(Twice()), Twice());
  EXPECT_EQ(round_trip(Twice(std::optional<int>())), Twice(std::optional<int>()));
  EXPECT_EQ(round_trip(Twice(4)), Twice(4));
  EXPECT_TRUE(round_trip(std::optional<std::monostate>(std::monostate{})).has_value());
  EXPECT_TRUE(round_trip(std::optional<std::nullptr_t>(nullptr)).has_value());
  EXPECT_EQ(Sent(5).as<std::optional<double>>(), 5.0);
  EXPECT_EQ(mismatch<std::optional<int>>("x"), "expected int (-2147483648..2147483647), found text \"x\"");
  EXPECT_EQ(mismatch<Twice>(std::vector<int>{1}),
            "expected std::optional<std::optional<int>>, found int32 list of 1 item");
  EXPECT_EQ(mismatch<Twice>(std::vector<std::string>{"a", "b"}),
            "expected std::optional<std::optional<int>>, found list of 2 items of another length than 1");
}

TEST(CodecContainer, PointersTravelAsTheirValue) {
  EXPECT_EQ(*round_trip(std::make_shared<std::string>("x")), "x");
  EXPECT_EQ(round_trip(std::shared_ptr<int>()), nullptr);
  Sent sent(std::make_unique<int>(5));
  EXPECT_EQ(*sent.as<std::unique_ptr<int>>(), 5);
  EXPECT_EQ(*sent.as<std::shared_ptr<const int>>(), 5);
  EXPECT_EQ(Sent(std::unique_ptr<int>()).as<std::unique_ptr<int>>(), nullptr);
  std::vector<std::unique_ptr<int>> several;
  several.push_back(std::make_unique<int>(1));
  several.push_back(nullptr);
  const auto arrived = Sent(several).as<std::vector<std::unique_ptr<int>>>();
  EXPECT_EQ(*arrived.at(0), 1);
  EXPECT_EQ(arrived.at(1), nullptr);
}

TEST(CodecContainer, VariantsKeepTheirAlternative) {
  using Choice = std::variant<int, std::string, int, std::monostate>;
  EXPECT_EQ(round_trip(Choice(std::in_place_index<0>, 1)), Choice(std::in_place_index<0>, 1));
  EXPECT_EQ(round_trip(Choice(std::in_place_index<2>, 1)), Choice(std::in_place_index<2>, 1));
  EXPECT_EQ(round_trip(Choice("x")), Choice("x"));
  EXPECT_EQ(round_trip(Choice(std::monostate())), Choice(std::monostate()));
  const std::string type = "std::variant<int, std::string, int, std::monostate>";
  EXPECT_EQ(mismatch<Choice>(5), "expected " + type + ", found int64 5");
  EXPECT_EQ(mismatch<Choice>(std::tuple(1, "a", 2)),
            "expected " + type + ", found list of 3 items where index and value should be");
  EXPECT_EQ(mismatch<Choice>(std::tuple(4, "a")),
            "expected " + type + ", found int64 4 where the index of an alternative should be");
  EXPECT_EQ(mismatch<Choice>(std::tuple(0, "a")), "expected int (-2147483648..2147483647), found text \"a\"");
}

TEST(CodecContainer, ValuelessVariantsAreErrors) {
  std::variant<std::string, std::deque<int>> value = "x";
  EXPECT_THROW(value.emplace<1>(std::numeric_limits<std::size_t>::max()), std::length_error);
  ASSERT_TRUE(value.valueless_by_exception());
  EXPECT_EQ(codec_error([&] { Sent sent(value); }), "std::variant<std::string, std::deque<int>> holds no value");
}
