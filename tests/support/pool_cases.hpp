#pragma once

// What the cases of CPython's _TestPool use, and those of them that are the same for a pool of processes (flavour P) and
// one of threads (flavour T).

#include <troupe/error.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <optional>
#include <ranges>
#include <string>
#include <utility>
#include <vector>

namespace troupe::test::pool_cases {

inline int sqr(int x) { return x * x; }
struct Keywords {
  int factor = 1;
  int x = 0;
};
inline int sqr_with(const Keywords& keywords) { return keywords.factor * sqr(keywords.x); }
inline int mul(int x, int y) { return x * y; }

inline std::vector<int> numbers(int count) {
  std::vector<int> all(static_cast<std::size_t>(count));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

inline std::vector<int> squares(int count) {
  auto all = numbers(count);
  for (int& x : all) x *= x;
  return all;
}

inline std::vector<std::pair<int, int>> pairs(int count) {
  std::vector<std::pair<int, int>> all;
  for (int i = 0; i < count; ++i) all.emplace_back(i, i + 1);
  return all;
}

inline std::vector<int> products(int count) {
  std::vector<int> all;
  for (const auto& [x, y] : pairs(count)) all.push_back(x * y);
  return all;
}

template <class Results>
std::vector<int> collect(Results results) {
  std::vector<int> all;
  for (const int value : results) all.push_back(value);
  return all;
}

inline std::vector<int> sorted(std::vector<int> values) {
  std::ranges::sort(values);
  return values;
}

/// A range of `count` numbers that throws when it is asked for the one at `bad`.
inline auto throwing_at(int bad, int count) {
  return std::views::iota(0, count) | std::views::transform([bad](int i) {
           if (i == bad) throw ValueError("a bad item at " + std::to_string(bad));
           return i;
         });
}

inline int throw_at_five(int x) {
  if (x == 5) throw KeyError("five");
  return x;
}

// --- Cases; `pool` has four workers ---

/// An input that throws makes map throw the same error, and the pool stays usable.
template <class Pool>
void map_handles_iterable_exception(Pool& pool) {
  for (int round = 0; round < 2; ++round) {
    EXPECT_THROW(pool.map(sqr, throwing_at(0, 10)), ValueError);
    EXPECT_THROW(pool.map(sqr, throwing_at(4, 10)), ValueError);
    EXPECT_THROW(pool.map(sqr, throwing_at(4, 10), 2), ValueError);
    EXPECT_THROW(pool.map(sqr, throwing_at(4, 10) | std::views::filter([](int) { return true; })), ValueError)
        << "an input without a length";
    EXPECT_EQ(pool.map(sqr, numbers(10)), squares(10));
  }
}

template <class Pool>
void imap(Pool& pool) {
  EXPECT_EQ(collect(pool.imap(sqr, numbers(10))), squares(10));
  auto results = pool.imap(sqr, numbers(10));
  for (int i = 0; i < 10; ++i) EXPECT_EQ(results.next(), i * i);
  EXPECT_EQ(results.next(), std::nullopt);
  EXPECT_EQ(results.next(), std::nullopt);
  EXPECT_EQ(collect(pool.imap(sqr, numbers(1000), 100)), squares(1000));
}

/// The results of what was read before come first, then the error; an unfinished chunk is lost.
template <class Pool>
void imap_handles_iterable_exception(Pool& pool) {
  auto at_once = pool.imap(sqr, throwing_at(0, 10));
  EXPECT_THROW(at_once.next(), ValueError);

  auto at_three = pool.imap(sqr, throwing_at(3, 10));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(at_three.next(), i * i);
  EXPECT_THROW(at_three.next(), ValueError);

  auto in_twos = pool.imap(sqr, throwing_at(7, 20), 2);
  for (int i = 0; i < 6; ++i) EXPECT_EQ(in_twos.next(), i * i);
  EXPECT_THROW(in_twos.next(), ValueError);

  auto in_fours = pool.imap(sqr, throwing_at(7, 20), 4);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(in_fours.next(), i * i);
  EXPECT_THROW(in_fours.next(), ValueError);
}

template <class Pool>
void imap_unordered(Pool& pool) {
  EXPECT_EQ(sorted(collect(pool.imap_unordered(sqr, numbers(10)))), squares(10));
  EXPECT_EQ(sorted(collect(pool.imap_unordered(sqr, numbers(1000), 100))), squares(1000));
}

template <class Pool>
void imap_unordered_handles_iterable_exception(Pool& pool) {
  auto at_once = pool.imap_unordered(sqr, throwing_at(0, 10));
  EXPECT_THROW(at_once.next(), ValueError);
  auto at_three = pool.imap_unordered(sqr, throwing_at(3, 10));
  int sum = 0;
  for (int i = 0; i < 3; ++i) sum += at_three.next().value();
  EXPECT_EQ(sum, 0 + 1 + 4);
  EXPECT_THROW(at_three.next(), ValueError);
}

template <class Pool>
void empty_iterable(Pool& pool) {
  const std::vector<int> nothing;
  EXPECT_EQ(pool.map(sqr, nothing), nothing);
  EXPECT_EQ(collect(pool.imap(sqr, nothing)), nothing);
  EXPECT_EQ(collect(pool.imap_unordered(sqr, nothing)), nothing);
  EXPECT_EQ(pool.map_async(sqr, nothing).get(), nothing);
}

/// With chunksize 1 imap goes on after a task that threw; with larger chunks it ends there.
template <class Pool>
void imap_goes_on_after_a_task_that_threw(Pool& pool) {
  auto singles = pool.imap(throw_at_five, numbers(8));
  for (int i = 0; i < 5; ++i) EXPECT_EQ(singles.next(), i);
  EXPECT_THROW(singles.next(), KeyError);
  EXPECT_EQ(singles.next(), 6);
  EXPECT_EQ(singles.next(), 7);
  EXPECT_EQ(singles.next(), std::nullopt);

  auto chunks = pool.imap(throw_at_five, numbers(8), 4);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(chunks.next(), i);
  EXPECT_THROW(chunks.next(), KeyError);
  EXPECT_EQ(chunks.next(), std::nullopt);
}

}  // namespace troupe::test::pool_cases
