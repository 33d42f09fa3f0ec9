// Any bytes as the segment of a message with a Value at its root, decoded as Dynamic and as C++ types of every shape.
// Only a CodecError may come out; what decodes must encode again, and to an equal value.
//
//   cmake --preset fuzz && cmake --build --preset fuzz && ctest --preset fuzz
//   build/fuzz/tests/fuzz/value_fuzz -max_total_time=60 tests/fuzz/corpus/value

#include <troupe/codec.hpp>
#include <troupe/dynamic.hpp>
#include <troupe/failure.hpp>

#include "quiet_errors.hpp"

#include <capnp/message.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <variant>
#include <vector>

namespace {

using troupe::wire::Value;

enum class Color : unsigned char { red, green };

struct Tree {
  std::string name;
  std::vector<Tree> children;
  std::unique_ptr<Tree> other;
};

class Named {
 public:
  int a = 0;
  std::string b;
  std::optional<double> c;
  TROUPE_FIELDS(a, b, c)
};

using Everything =
    std::tuple<int, std::string, std::vector<double>, std::map<std::string, std::vector<int>>, std::optional<bool>,
               std::variant<int, std::string, Named>, std::chrono::milliseconds, std::array<unsigned char, 4>, Tree>;

/// Reads the root again for every attempt: each has its own allowance of work.
class Message {
 public:
  explicit Message(kj::ArrayPtr<const capnp::word> segment) : segment_(segment) {}

  template <class Use>
  void use(Use use) const {
    capnp::ReaderOptions options;
    options.traversalLimitInWords = 8 * segment_.size() + 64 * 1024;
    options.nestingLimit = troupe::wire_nesting_limit;
    capnp::SegmentArrayMessageReader reader(kj::arrayPtr(&segment_, 1), options);
    Value::Reader value;
    try {
      value = reader.getRoot<Value>();
    } catch (const kj::Exception&) {
      return;  // the message layer's own check
    }
    try {
      use(value);
    } catch (const troupe::CodecError&) {
    }
  }

 private:
  kj::ArrayPtr<const capnp::word> segment_;
};

template <class T>
void decode_as(const Message& message) {
  message.use([](Value::Reader in) { static_cast<void>(troupe::decode<T>(in)); });
}

template <class T>
void read_items(const Message& message) {
  message.use([](Value::Reader in) {
    const troupe::ItemsReader<T> items(in);
    for (std::size_t i = 0; i < items.size(); ++i) static_cast<void>(items[i]);
  });
}

/// Bytes of a view must lie in the message: reading them is the address sanitizer's chance.
template <class T>
void sum_view(const Message& message) {
  message.use([](Value::Reader in) {
    unsigned sum = 0;
    for (const auto byte : std::as_bytes(troupe::decode<std::span<const T>>(in)))
      sum += std::to_integer<unsigned>(byte);
    volatile unsigned seen = sum;
    static_cast<void>(seen);
  });
}

void round_trip_dynamic(const Message& message) {
  message.use([](Value::Reader in) {
    const auto value = troupe::decode<troupe::Dynamic>(in);
    static_cast<void>(value.to_string());
    capnp::MallocMessageBuilder again;
    auto out = again.initRoot<Value>();
    troupe::encode(value, out);
    const auto arrived = troupe::decode<troupe::Dynamic>(out.asReader());
    // Numbers that are not equal to themselves cannot tell; their text can.
    if (!(arrived == value) && arrived.to_string() != value.to_string()) std::abort();
  });
}

void decode_error(const Message& message) {
  message.use([](Value::Reader in) {
    if (!in.isError()) return;
    const auto error = troupe::decode<std::exception_ptr>(in);
    if (error == nullptr) std::abort();
    static_cast<void>(troupe::describe_exception(error));
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<capnp::word> words(size / sizeof(capnp::word));
  if (words.empty()) return 0;
  std::memcpy(words.data(), data, words.size() * sizeof(capnp::word));
  const Message message(kj::arrayPtr(words.data(), words.size()));
  const fuzz::NoStackTraces callback;

  round_trip_dynamic(message);
  decode_error(message);
  decode_as<int>(message);
  decode_as<float>(message);
  decode_as<Color>(message);
  decode_as<std::string>(message);
  decode_as<const char*>(message);
  decode_as<std::vector<std::string>>(message);
  decode_as<std::vector<std::optional<int>>>(message);
  decode_as<std::vector<bool>>(message);
  decode_as<std::deque<short>>(message);
  decode_as<std::set<int>>(message);
  decode_as<std::map<std::string, troupe::Dynamic>>(message);
  decode_as<std::chrono::nanoseconds>(message);
  decode_as<std::chrono::duration<float>>(message);
  decode_as<Tree>(message);
  decode_as<Named>(message);
  decode_as<Everything>(message);
  decode_as<std::vector<std::monostate>>(message);
  decode_as<troupe::Typed<troupe::wire::Error>>(message);
  sum_view<double>(message);
  sum_view<std::byte>(message);
  sum_view<std::int16_t>(message);
  read_items<double>(message);
  read_items<bool>(message);
  read_items<std::uint64_t>(message);
  read_items<std::pair<int, std::string_view>>(message);
  return 0;
}
