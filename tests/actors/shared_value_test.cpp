// Shared values and arrays: what may be shared, steps and locks, texts, and how long they live.

#include <troupe/error.hpp>
#include <troupe/pool.hpp>
#include <troupe/process.hpp>
#include <troupe/raw_value.hpp>
#include <troupe/shareable.hpp>
#include <troupe/shared_value.hpp>

#include "support/pools.hpp"
#include "support/processes.hpp"

#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <complex>
#include <csignal>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <ranges>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe;
using namespace troupe::test;
using testing::ElementsAre;

// --- What may be shared ---

enum class Colour { red, green };
struct Point {
  double x, y;
};
struct Line {
  Point from, to;
  Colour colour;
};
struct Label {
  char text[20];
  int length;
};
struct Many {
  int a, b, c, d, e, f, g, h, i, j, k, l;
};
struct Node {
  int value;
  Node* next;
};
struct Deep {
  std::array<Node, 2> nodes;
};
struct Viewing {
  int id;
  std::string_view name;
};
struct Named {
  std::string name;
};

static_assert(Shareable<int> && Shareable<bool> && Shareable<double> && Shareable<Colour> && Shareable<std::byte>);
static_assert(Shareable<Point> && Shareable<Line> && Shareable<Label> && Shareable<Many>);
static_assert(Shareable<std::complex<double>> && Shareable<std::array<Point, 3>> && Shareable<std::optional<int>>);
static_assert(Shareable<std::chrono::nanoseconds>);
static_assert(!Shareable<int*> && !Shareable<int Point::*> && !Shareable<void (*)()> && !Shareable<std::nullptr_t>);
static_assert(!Shareable<Node> && !Shareable<Deep> && !Shareable<std::array<int*, 2>> && !Shareable<Viewing>);
static_assert(!Shareable<std::string> && !Shareable<std::vector<int>> && !Shareable<Named>);
static_assert(!Shareable<std::string_view> && !Shareable<std::span<int>> && !Shareable<std::reference_wrapper<int>>);

// --- Steps and locks ---

void add_in_one_step(const Value<long>& counter, int times) {
  for (int i = 0; i < times; ++i) counter.update([](long& n) { ++n; });
}
void add_under_the_lock(const Value<long>& counter, int times) {
  for (int i = 0; i < times; ++i) {
    const std::lock_guard guard{counter};
    counter.set(counter.get() + 1);
  }
}

// Nothing is lost between processes, by either way to make several steps one.
TEST(SharedValue, CountsRightUnderItsLock) {
  for (const auto add : {add_in_one_step, add_under_the_lock}) {
    const Value<long> counter{0};
    std::deque<Process> processes;
    for (int i = 0; i < 4; ++i) processes.emplace_back(add, counter, 500).start();
    for (const auto& process : processes) process.join();
    EXPECT_EQ(counter.get(), 2000);
  }
}

// get and set are two steps: another thread comes in between unless the lock is held.
TEST(SharedValue, IsNotLockedBetweenTwoSteps) {
  const Value<int> value{1};
  const int before = value.get();
  std::jthread([&] { value.set(10); }).join();
  value.set(before + 1);
  EXPECT_EQ(value.get(), 2) << "the 10 is lost";

  std::jthread other;
  {
    const std::lock_guard guard{value};
    other = std::jthread{[&] { value.set(20); }};
    value.set(value.get() + 1);
    EXPECT_EQ(value.get(), 3);
  }
  other.join();
  EXPECT_EQ(value.get(), 20);
}

// One lock for several values.
TEST(SharedValue, SharesALock) {
  const RLock lock;
  const Value<int> value{1, lock};
  const Array<int> array{{1, 2}, lock};
  const std::lock_guard guard{lock};
  value.set(array.get(1));
  EXPECT_EQ(value.get(), 2);
}

TEST(SharedValue, IsDeducedFromWhatItIsGiven) {
  const RawArray squares(std::views::iota(0, 4) | std::views::transform([](int n) { return n * n; }));
  static_assert(std::is_same_v<decltype(squares), const RawArray<int>>);
  EXPECT_THAT(squares, ElementsAre(0, 1, 4, 9));
  const Array items(std::vector{1.5, 2.5});
  EXPECT_EQ(items.get(1), 2.5);
  const RawArray<int> list{10};
  EXPECT_EQ(list.size(), 1U);
  const RawArray<int> zeros(10);
  EXPECT_EQ(zeros.size(), 10U);
  EXPECT_EQ(RawArray<int>(0).size(), 0U);
  const RawArray<double> converted{std::set{1, 2}};
  EXPECT_THAT(converted, ElementsAre(1.0, 2.0));
}

// --- Texts ---

TEST(SharedValue, HoldsTexts) {
  const RawArray<char> text(8);
  EXPECT_EQ(text.value(), "");
  text.set_value("hello");
  EXPECT_EQ(text.value(), "hello");
  EXPECT_EQ(text.raw(), std::string("hello\0\0\0", 8));
  text.set_value("ab");
  EXPECT_EQ(text.value(), "ab");
  EXPECT_EQ(text.raw(), std::string("ab\0lo\0\0\0", 8)) << "a NUL byte, and the rest as it was";
  text.set_raw("xyz");
  EXPECT_EQ(text.value(), "xyzlo");
  text.set_value("12345678");
  EXPECT_EQ(text.value(), "12345678");
  EXPECT_THROW(text.set_value("123456789"), ValueError);
  EXPECT_THROW(text.set_raw("123456789"), ValueError);
  EXPECT_EQ(text.value(), "12345678");
}

// --- On the way ---

template <class To, class From>
To sent_as(const From& value) {
  capnp::MallocMessageBuilder message;
  auto out = message.initRoot<wire::Value>();
  encode(value, out);
  return decode<To>(out.asReader());
}

TEST(SharedValue, RefusesMemoryThatIsTooSmall) {
  const RawValue<char> small{'x'};
  EXPECT_THROW(sent_as<RawValue<double>>(small), CodecError);
  EXPECT_TRUE(is_same(sent_as<RawValue<char>>(small), small));
  const RawArray<std::uint16_t> odd(3);
  EXPECT_EQ(sent_as<RawArray<std::uint32_t>>(odd).size(), 1U);
  EXPECT_THROW(sent_as<Value<int>>(small), CodecError);
}

Value<int> make_value(int n) { return Value<int>{n}; }

TEST(SharedValue, IsReturnedByTasks) {
  Pool pool{1};
  const auto value = pool.apply(make_value, 42);
  EXPECT_EQ(value.get(), 42);
  pool.apply([](const Value<int>& its) { its.set(43); }, value);
  EXPECT_EQ(value.get(), 43);
  pool.terminate();
}

// A process that dies with the lock does not take it along.
TEST(SharedValue, IsUnlockedByTheDeathOfItsHolder) {
  const Value<int> value{1};
  Process process{[](const Value<int>& its) {
                    its.lock();
                    ::raise(SIGKILL);
                  },
                  value};
  process.start();
  process.join();
  value.set(2);
  EXPECT_EQ(value.get(), 2);
}

}  // namespace
