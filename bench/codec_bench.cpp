// What encoding and decoding cost, per value and per byte. Messages are built in memory that is used again, as a ring
// is.

#include <troupe/codec.hpp>
#include <troupe/dynamic.hpp>

#include <benchmark/benchmark.h>
#include <capnp/message.h>

#include <cstring>
#include <string>
#include <vector>

namespace {

using troupe::wire::Value;

/// Builds one message after another in the same memory, cleared as far as it was used.
class Scratch {
 public:
  explicit Scratch(std::size_t words) : words_(words) {}

  template <class T>
  void encode(const T& value) {
    capnp::MallocMessageBuilder message{kj::arrayPtr(words_.data(), words_.size())};
    troupe::encode(value, message.initRoot<Value>());
    benchmark::ClobberMemory();
  }

 private:
  std::vector<capnp::word> words_;
};

/// Holds one encoded value.
template <class T>
class Encoded {
 public:
  explicit Encoded(const T& value) { troupe::encode(value, message_.initRoot<Value>()); }
  Value::Reader value() { return message_.getRoot<Value>().asReader(); }

 private:
  capnp::MallocMessageBuilder message_;
};

struct Order {
  std::int64_t id;
  double price;
  std::string customer;
  std::vector<int> items;

  static Order example() { return {17, 9.75, "somebody", {1, 2, 3}}; }
};

struct NamedOrder {
  std::int64_t id = 17;
  double price = 9.75;
  std::string customer = "somebody";
  std::vector<int> items = {1, 2, 3};
  TROUPE_FIELDS(id, price, customer, items)

  static NamedOrder example() { return {}; }
};

template <class T>
T example() {
  return T::example();
}
template <>
int example<int>() {
  return 42;
}
template <>
std::string example<std::string>() {
  return "twenty characters...";
}

/// Into a Value that exists already: the cost of the codec alone.
template <class T>
void overwrite(benchmark::State& state) {
  capnp::MallocMessageBuilder message;
  auto out = message.initRoot<Value>();
  T value = example<T>();
  for (auto _ : state) {
    benchmark::DoNotOptimize(value);
    troupe::encode(value, out);
    benchmark::ClobberMemory();
  }
}
BENCHMARK(overwrite<int>);

/// A whole message each time.
template <class T>
void encode(benchmark::State& state) {
  Scratch scratch(1024);
  const T value = example<T>();
  for (auto _ : state) scratch.encode(value);
}
BENCHMARK(encode<int>);
BENCHMARK(encode<std::string>);
BENCHMARK(encode<Order>);
BENCHMARK(encode<NamedOrder>);

template <class T>
void decode(benchmark::State& state) {
  Encoded<T> encoded(example<T>());
  const auto in = encoded.value();
  for (auto _ : state) {
    benchmark::ClobberMemory();
    T value = troupe::decode<T>(in);
    benchmark::DoNotOptimize(value);
  }
}
BENCHMARK(decode<int>);
BENCHMARK(decode<std::string>);
BENCHMARK(decode<Order>);
BENCHMARK(decode<NamedOrder>);

void set_bytes(benchmark::State& state) {
  state.SetBytesProcessed(state.iterations() * state.range(0) * static_cast<std::int64_t>(sizeof(double)));
}

/// The limit of the next: the same bytes copied.
void copy_vector(benchmark::State& state) {
  const std::vector<double> items(static_cast<std::size_t>(state.range(0)), 1.5);
  std::vector<double> to(items.size());
  for (auto _ : state) {
    std::memcpy(to.data(), items.data(), items.size() * sizeof(double));
    benchmark::ClobberMemory();
  }
  set_bytes(state);
}
BENCHMARK(copy_vector)->Arg(1'000)->Arg(1'000'000);

void encode_vector(benchmark::State& state) {
  const std::vector<double> items(static_cast<std::size_t>(state.range(0)), 1.5);
  std::vector<capnp::word> memory(items.size() + 64);
  for (auto _ : state) {
    // A ring's memory is not cleared for a list that overwrites all of it; only the head is.
    std::memset(memory.data(), 0, 64 * sizeof(capnp::word));
    capnp::FlatMessageBuilder message{kj::arrayPtr(memory.data(), memory.size())};
    troupe::encode(items, message.initRoot<Value>());
    benchmark::ClobberMemory();
  }
  set_bytes(state);
}

BENCHMARK(encode_vector)->Arg(1'000)->Arg(1'000'000);

void decode_vector(benchmark::State& state) {
  Encoded<std::vector<double>> encoded(std::vector<double>(static_cast<std::size_t>(state.range(0)), 1.5));
  const auto in = encoded.value();
  std::vector<double> items;
  for (auto _ : state) {
    items.clear();
    troupe::decode_items(in, items);
    benchmark::DoNotOptimize(items.data());
  }
  set_bytes(state);
}
BENCHMARK(decode_vector)->Arg(1'000)->Arg(1'000'000);

template <class Items>
[[gnu::noinline]] double sum_of(const Items& items) {
  double sum = 0;
  for (std::size_t i = 0; i < items.size(); ++i) sum += items[i];
  return sum;
}

/// The limit of the next: the same loop over a plain array.
void sum_of_array(benchmark::State& state) {
  const std::vector<double> items(static_cast<std::size_t>(state.range(0)), 1.5);
  for (auto _ : state) benchmark::DoNotOptimize(sum_of(items));
  set_bytes(state);
}
BENCHMARK(sum_of_array)->Arg(1'000)->Arg(1'000'000);

void sum_of_items_reader(benchmark::State& state) {
  Encoded<std::vector<double>> encoded(std::vector<double>(static_cast<std::size_t>(state.range(0)), 1.5));
  const auto in = encoded.value();
  for (auto _ : state) benchmark::DoNotOptimize(sum_of(troupe::ItemsReader<double>(in)));
  set_bytes(state);
}
BENCHMARK(sum_of_items_reader)->Arg(1'000)->Arg(1'000'000);

void decode_dynamic(benchmark::State& state) {
  Encoded<Order> encoded(Order::example());
  const auto in = encoded.value();
  for (auto _ : state) {
    auto value = troupe::decode<troupe::Dynamic>(in);
    benchmark::DoNotOptimize(value);
  }
}
BENCHMARK(decode_dynamic);

}  // namespace

BENCHMARK_MAIN();
