// The cases of CPython's _TestValue, _TestArray and _TestSharedCTypes under their names and for every start method.
// What each pins down is restated in one line.

#include <troupe/context.hpp>
#include <troupe/error.hpp>
#include <troupe/process.hpp>
#include <troupe/raw_value.hpp>
#include <troupe/shared_value.hpp>

#include "support/processes.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace troupe;
using namespace troupe::test;

class SharedTest : public testing::TestWithParam<StartMethod> {
 protected:
  void SetUp() override { set_start_method(GetParam(), true); }
  void TearDown() override { set_start_method(std::nullopt, true); }
};
class TestValue : public SharedTest {};
class TestArray : public SharedTest {};
class TestSharedCTypes : public SharedTest {};

template <class... Args>
void run(Args... target) {
  Process process{std::move(target)...};
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
}

const auto methods = testing::Values(StartMethod::fork, StartMethod::forkserver, StartMethod::spawn);
const auto method_name = [](const auto& its) { return std::string(to_string(its.param)); };
INSTANTIATE_TEST_SUITE_P(Methods, TestValue, methods, method_name);
INSTANTIATE_TEST_SUITE_P(Methods, TestArray, methods, method_name);
INSTANTIATE_TEST_SUITE_P(Methods, TestSharedCTypes, methods, method_name);

template <template <class> class V>
void set_others(const V<int>& i, const V<double>& d, const V<short>& h, const V<std::int64_t>& q, const V<char>& c) {
  i.set(24234);
  d.set(-4.25);
  h.set(static_cast<short>(234));
  q.set(std::int64_t{1} << 34U);
  c.set('y');
}

template <template <class> class V>
void check_values() {
  const V<int> i{4343};
  const V<double> d{3.625};
  const V<short> h{static_cast<short>(-232)};
  const V<std::int64_t> q{std::int64_t{1} << 33U};
  const V<char> c{'x'};
  EXPECT_EQ(i.get(), 4343);
  EXPECT_EQ(d.get(), 3.625);
  EXPECT_EQ(h.get(), -232);
  EXPECT_EQ(q.get(), std::int64_t{1} << 33U);
  EXPECT_EQ(c.get(), 'x');
  run(set_others<V>, i, d, h, q, c);
  EXPECT_EQ(i.get(), 24234);
  EXPECT_EQ(d.get(), -4.25);
  EXPECT_EQ(h.get(), 234);
  EXPECT_EQ(q.get(), std::int64_t{1} << 34U);
  EXPECT_EQ(c.get(), 'y');
  const std::int64_t large = std::int64_t{1} << 31U;
  i.set(large);
  EXPECT_EQ(i.get(), -large) << "integers wrap";
}

template <class T>
using LockedValue = Value<T>;

// Values of several types, changed by another process.
TEST_P(TestValue, test_value) { check_values<LockedValue>(); }

// The same without a lock.
TEST_P(TestValue, test_rawvalue) { check_values<RawValue>(); }

template <class T>
concept HasObjAndLock = requires(const T& shared) {
  shared.get_obj();
  shared.get_lock();
};

// The default has a lock and an object; a lock that is passed in is the one handed back; without lock there is neither.
TEST_P(TestValue, test_getobj_getlock) {
  const Value<int> one{5};
  EXPECT_TRUE(one.get_lock().acquire());
  one.get_lock().release();
  EXPECT_EQ(one.get_obj().get(), 5);
  const RLock lock;
  const Value<int> other{5, lock};
  EXPECT_TRUE(other.get_lock() == lock);
  EXPECT_FALSE(one.get_lock() == lock);
  static_assert(HasObjAndLock<Value<int>>);
  static_assert(!HasObjAndLock<RawValue<int>>);
  static_assert(!ProcessLock<int> && !ProcessLock<std::mutex>);
}

void sum_up(std::span<int> items) {
  for (std::size_t i = 1; i < items.size(); ++i) items[i] += items[i - 1];
}
void sum_up_locked(const Array<int>& array) { array.update(sum_up); }
void sum_up_raw(const RawArray<int>& array) { sum_up(array.span()); }

template <class A>
void check_array(void (*sum)(const A&)) {
  std::vector<int> expected{680, 626, 934, 821, 150, 233, 548, 982, 714, 831};
  const A array{expected};
  const auto slice = [&](std::ptrdiff_t start, std::ptrdiff_t stop) {
    const auto part = array.slice(start, stop);
    return std::vector<int>(part.begin(), part.end());
  };
  EXPECT_EQ(array.size(), expected.size());
  EXPECT_EQ(array.get(3), expected[3]);
  EXPECT_EQ(slice(2, 7), std::vector(expected.begin() + 2, expected.begin() + 7));
  array.set_slice(4, 8, {1, 2, 3, 4});
  std::ranges::copy(std::array{1, 2, 3, 4}, expected.begin() + 4);
  EXPECT_EQ(slice(0, 10), expected);
  sum_up(expected);
  run(sum, array);
  EXPECT_EQ(slice(0, 10), expected);

  EXPECT_EQ(array.get(-1), expected.back());
  EXPECT_EQ(slice(-3, 100), std::vector(expected.end() - 3, expected.end()));
  EXPECT_EQ(slice(7, 3), std::vector<int>{});
  EXPECT_THROW(array.get(10), IndexError);
  EXPECT_THROW(array.get(-11), IndexError);
  EXPECT_THROW(array.set(10, 1), IndexError);
  EXPECT_THROW(array.set_slice(0, 2, {1, 2, 3}), ValueError);
  EXPECT_EQ(slice(0, 10), expected);
}

// Length, items, slices, and running sums made by another process.
TEST_P(TestArray, test_array) { check_array<Array<int>>(sum_up_locked); }

// The same without a lock.
TEST_P(TestArray, test_rawarray) { check_array<RawArray<int>>(sum_up_raw); }

// A number instead of items: so many zeros.
TEST_P(TestArray, test_array_from_size) {
  const Array<int> array(10);
  EXPECT_EQ(array.slice(0, 10), std::vector<int>(10));
  array.set_slice(0, 10, std::vector{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  EXPECT_EQ(array.get(9), 9);
  const Array<int> again(10);
  EXPECT_EQ(again.slice(0, 10), std::vector<int>(10));
  EXPECT_THROW(Array<int>(-1), ValueError);
}

// The lock options of Value hold for Array.
TEST_P(TestArray, test_getobj_getlock_obj) {
  const Array<int> one{1, 2, 3};
  EXPECT_EQ(one.get_obj()[1], 2);
  const RLock lock;
  const Array<int> other{{1, 2, 3}, lock};
  EXPECT_TRUE(other.get_lock() == lock);
  static_assert(HasObjAndLock<Array<int>>);
  static_assert(!HasObjAndLock<RawArray<int>>);
}

struct Foo {
  int x;
  double y;
  std::int64_t z;
};

void double_raw(const RawValue<int>& x, const RawValue<double>& y, const RawValue<std::int64_t>& z,
                const RawValue<Foo>& foo, const RawArray<double>& array, const RawArray<char>& text) {
  x.set(x.get() * 2);
  y.set(y.get() * 2);
  z.set(z.get() * 2);
  foo->x *= 2;
  foo->y *= 2;
  text.set_value(text.value() + text.value());
  for (double& item : array) item *= 2;
}

// Numbers, a struct, an array and a text, doubled by another process.
TEST_P(TestSharedCTypes, test_sharedctypes) {
  const RawValue<int> x{7};
  const RawValue<double> y{1.0 / 3};
  const RawValue<std::int64_t> z{std::int64_t{1} << 33U};
  const RawValue<Foo> foo{Foo{3, 2, 0}};
  const RawArray<double> array(10);
  const RawArray<char> text(20);
  text.set_value("hello");
  for (std::ptrdiff_t i = 0; i < 10; ++i) array[i] = static_cast<double>(i);
  run(double_raw, x, y, z, foo, array, text);
  EXPECT_EQ(x.get(), 14);
  EXPECT_NEAR(y.get(), 2.0 / 3, 1e-15);
  EXPECT_EQ(z.get(), std::int64_t{1} << 34U);
  EXPECT_EQ(foo->x, 6);
  EXPECT_EQ(foo.get().y, 4.0);
  for (std::ptrdiff_t i = 0; i < 10; ++i) EXPECT_EQ(array[i], 2.0 * static_cast<double>(i));
  EXPECT_EQ(text.value(), "hellohello");
}

void double_locked(const Value<int>& x, const Value<double>& y, const Value<std::int64_t>& z, const Value<Foo>& foo,
                   const Array<double>& array, const Array<char>& text) {
  x.update([](int& n) { n *= 2; });
  y.update([](double& n) { n *= 2; });
  z.set(z.get() * 2);
  foo.set(&Foo::x, foo.get(&Foo::x) * 2);
  foo.update([](Foo& its) { its.y *= 2; });
  text.set_value(text.value() + text.value());
  for (std::ptrdiff_t i = 0; i < 10; ++i) array.set(i, array.get(i) * 2);
}

// The same with locks.
TEST_P(TestSharedCTypes, test_synchronize) {
  const Value<int> x{7};
  const Value<double> y{1.0 / 3};
  const Value<std::int64_t> z{std::int64_t{1} << 33U};
  const Value<Foo> foo{Foo{3, 2, 0}};
  const Array<double> array(10);
  const Array<char> text(20);
  text.set_value("hello");
  for (std::ptrdiff_t i = 0; i < 10; ++i) array.set(i, static_cast<double>(i));
  run(double_locked, x, y, z, foo, array, text);
  EXPECT_EQ(x.get(), 14);
  EXPECT_NEAR(y.get(), 2.0 / 3, 1e-15);
  EXPECT_EQ(z.get(), std::int64_t{1} << 34U);
  EXPECT_EQ(foo.get(&Foo::x), 6);
  EXPECT_EQ(foo.get_obj()->y, 4.0);
  for (std::ptrdiff_t i = 0; i < 10; ++i) EXPECT_EQ(array.get(i), 2.0 * static_cast<double>(i));
  EXPECT_EQ(text.value(), "hellohello");
}

// A copy of the value, in memory of its own.
TEST_P(TestSharedCTypes, test_copy) {
  const RawValue<Foo> foo{Foo{2, 5.0, std::int64_t{1} << 33U}};
  const RawValue<Foo> bar{foo.get()};
  *foo = Foo{};
  EXPECT_EQ(bar->x, 2);
  EXPECT_EQ(bar->y, 5.0);
  EXPECT_EQ(bar->z, std::int64_t{1} << 33U);
}

}  // namespace
