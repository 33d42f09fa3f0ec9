// Messages that no encoder makes: what a broken or hostile process could send must end in a CodecError.

#include <troupe/codec.hpp>
#include <troupe/dynamic.hpp>

#include "codec_fixture.hpp"

#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <vector>

using namespace troupe;
using namespace troupe::test;

namespace {

struct Node {
  int value;
  std::shared_ptr<Node> next;
};

struct Branch {
  std::vector<Branch> children;
};

/// A chain of `length` nodes.
std::shared_ptr<Node> chain(int length) {
  std::shared_ptr<Node> first;
  for (int i = 0; i < length; ++i) first = std::make_shared<Node>(Node{i, first});
  return first;
}

/// Lists in lists in lists, written without the codec.
void nest(wire::Value::Builder out, int depth) {
  for (int i = 0; i < depth; ++i) out = out.initList(1)[0];
  out.setInt64(1);
}

capnp::ReaderOptions limits() {
  capnp::ReaderOptions options;
  options.nestingLimit = wire_nesting_limit;
  return options;
}

/// A message of these words, read as a Value.
class Words {
 public:
  explicit Words(std::vector<std::uint64_t> words)
      : words_(std::move(words)),
        segment_(kj::arrayPtr(reinterpret_cast<const capnp::word*>(words_.data()), words_.size())),
        reader_(kj::arrayPtr(&segment_, 1), limits()) {}
  wire::Value::Reader in() { return reader_.getRoot<wire::Value>(); }

 private:
  std::vector<std::uint64_t> words_;
  kj::ArrayPtr<const capnp::word> segment_;
  capnp::SegmentArrayMessageReader reader_;
};

constexpr std::uint64_t root_of_value = 0x0001'0002'0000'0000;  // a struct of two words and one pointer follows

/// A pointer to a list right after it: element size code and count, or words for structs (code 7).
constexpr std::uint64_t list_pointer(unsigned code, std::uint64_t count) {
  return 1 | std::uint64_t{code} << 32 | count << 35;
}

}  // namespace

// A cycle would otherwise run until the stack ends.
TEST(CodecLimits, CyclesAndDepthEndTheEncoding) {
  auto cycle = std::make_shared<Node>();
  cycle->next = cycle;
  const std::string text = codec_error([&] { Sent sent(cycle); });
  EXPECT_NE(text.find("nested deeper than 64 levels; does it contain itself?"), std::string::npos) << text;
  cycle->next = nullptr;
  // The depth that was reached is given back.
  EXPECT_EQ(Sent(chain(max_nesting)).as<std::shared_ptr<Node>>()->value, max_nesting - 1);
  codec_error([&] { Sent sent(chain(max_nesting + 1)); });
}

TEST(CodecLimits, DepthEndsTheDecoding) {
  Sent sent;
  nest(sent.out(), 100);
  const std::string text = codec_error([&] { sent.as<Dynamic>(); });
  EXPECT_NE(text.find("nested deeper than 64 levels"), std::string::npos) << text;
  EXPECT_EQ(Sent(3).as<int>(), 3);
  Sent shallow;
  nest(shallow.out(), max_nesting);
  EXPECT_EQ(Sent(shallow.as<Dynamic>()).as<Dynamic>(), shallow.as<Dynamic>());
  // Structs in structs, of a type that allows any depth.
  Sent structs;
  auto out = structs.out();
  for (int i = 0; i < 60; ++i) out = out.initStruct().initFields(1)[0].initList(1)[0];
  EXPECT_NE(codec_error([&] { structs.as<Branch>(); }).find("nested deeper"), std::string::npos);
}

// Cap'n Proto's own limit must come after ours in the messages that we read.
TEST(CodecLimits, TheWireAllowsTheWholeDepth) {
  Sent sent(chain(max_nesting));
  capnp::MallocMessageBuilder message;
  message.setRoot(sent.in());
  capnp::SegmentArrayMessageReader reader(message.getSegmentsForOutput(), limits());
  EXPECT_EQ(decode<std::shared_ptr<Node>>(reader.getRoot<wire::Value>())->value, max_nesting - 1);
}

// Eight bytes that claim 500 million items, each of no size.
TEST(CodecHostile, ListsWithoutBytesAreErrors) {
  const std::uint64_t which_list = wire::Value::LIST;
  const std::uint64_t tag = std::uint64_t{536'870'911} << 2;  // of structs of nothing
  Words words({root_of_value, which_list, 0, list_pointer(7, 0), tag});
  for (const auto& text :
       {codec_error([&] { decode<std::vector<std::monostate>>(words.in()); }),
        codec_error([&] { decode<std::vector<std::optional<int>>>(words.in()); }),
        codec_error([&] { decode<Dynamic>(words.in()); }), codec_error([&] { decode<std::set<int>>(words.in()); })}) {
    EXPECT_TRUE(text.find("holds no bytes for them") != std::string::npos || text.find("damaged") != std::string::npos)
        << text;
  }
}

TEST(CodecHostile, PackedListsOfStructsAreErrors) {
  // int64s that are structs of two words: Cap'n Proto would let them pass as a list of numbers.
  const std::uint64_t tag = std::uint64_t{2} << 2 | std::uint64_t{2} << 32;
  Words words({root_of_value, wire::Value::INT64S, 0, list_pointer(7, 4), tag, 1, 2, 3, 4});
  EXPECT_EQ(codec_error([&] { decode<std::vector<std::int64_t>>(words.in()); }),
            "a packed list whose items are no plain numbers");
  codec_error([&] { decode<std::span<const std::int64_t>>(words.in()); });
  codec_error([&] { decode<Dynamic>(words.in()); });
}

TEST(CodecHostile, PointersOutOfTheMessageAreErrors) {
  Words words({root_of_value, wire::Value::FLOAT64S, 0, list_pointer(5, 1000), 0});
  const std::string text = codec_error([&] { decode<std::vector<double>>(words.in()); });
  EXPECT_NE(text.find("the message is damaged"), std::string::npos) << text;
  codec_error([&] { decode<std::span<const double>>(words.in()); });
  codec_error([&] { decode<std::string>(Words({root_of_value, wire::Value::TEXT, 0, list_pointer(2, 1000)}).in()); });
  codec_error([&] { decode<int>(Words({root_of_value, wire::Value::TEXT, 0, list_pointer(2, 1000)}).in()); });
}

// Any bytes at all: an error or a value, nothing else. The fuzz target does this for longer.
TEST(CodecHostile, RandomMessagesAreErrorsOrValues) {
  std::mt19937_64 random(42);
  const std::vector<std::string> texts = {"a", "bb"};
  Sent seed(std::tuple(1, texts, std::map<std::string, double>{{"x", 1}}, std::vector<int>{1, 2, 3}, chain(3)));
  capnp::MallocMessageBuilder message;
  message.setRoot(seed.in());
  const auto segment = message.getSegmentsForOutput()[0];
  std::vector<std::uint64_t> original(segment.size());
  std::memcpy(original.data(), segment.begin(), segment.size() * 8);
  int num_values = 0;
  for (int round = 0; round < 20'000; ++round) {
    auto words = original;
    for (int flips = 0; flips < 1 + round % 4; ++flips) {
      words[random() % words.size()] ^= std::uint64_t{1} << random() % 64;
    }
    const auto attempt = [&]<class T>(std::type_identity<T>) {
      try {
        Words damaged(words);
        static_cast<void>(decode<T>(damaged.in()));
        ++num_values;
      } catch (const CodecError&) {
      } catch (const kj::Exception&) {
        // The root pointer itself, which the message layer reads before the codec does.
      }
    };
    attempt(std::type_identity<Dynamic>{});
    attempt(std::type_identity<std::tuple<int, std::vector<std::string>, std::map<std::string, double>,
                                          std::vector<int>, std::shared_ptr<Node>>>{});
  }
  EXPECT_GT(num_values, 0);
}
