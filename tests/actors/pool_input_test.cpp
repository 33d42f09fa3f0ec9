// Where tasks come from: inputs that are slow, that throw, that wait for something themselves.

#include <troupe/error.hpp>
#include <troupe/pool.hpp>

#include "support/one_piece.hpp"
#include "support/pools.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <iterator>
#include <numeric>
#include <ranges>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe::test;
using troupe::Pool;
using troupe::PoolOptions;

/// A stream of 0, 1, 2 ... that can be read once, each item when `await` has returned, and counts what was read.
class SlowStream : public std::ranges::view_base {
 public:
  SlowStream(int size, std::function<void()> await, int& num_read)
      : size_(size), await_(std::move(await)), num_read_(&num_read) {}

  class iterator {
   public:
    using iterator_concept = std::input_iterator_tag;
    using difference_type = std::ptrdiff_t;
    using value_type = int;

    iterator() = default;
    explicit iterator(SlowStream* stream) : stream_(stream) { read(); }
    int operator*() const { return value_; }
    iterator& operator++() {
      read();
      return *this;
    }
    void operator++(int) { read(); }
    friend bool operator==(const iterator& it, std::default_sentinel_t) { return it.at_end(); }

   private:
    bool at_end() const { return value_ == stream_->size_; }
    void read() {
      stream_->await_();
      value_ = (*stream_->num_read_)++;
    }
    SlowStream* stream_ = nullptr;
    int value_ = 0;
  };
  iterator begin() { return iterator{this}; }
  static std::default_sentinel_t end() { return {}; }

 private:
  int size_;
  std::function<void()> await_;
  int* num_read_;
};

// Results of a stream that somebody types come as they are ready, not when the window is full.
TEST(PoolInput, ImapGivesResultsBeforeASlowStreamGoesOn) {
  Pool pool{2};
  pool.apply(square, 1);
  for (const bool ordered : {true, false}) {
    int num_read = 0;
    const auto is_idle = [&] {
      const troupe::PoolStatistics now = pool.statistics();
      return now.queued + now.running == 0;
    };
    SlowStream stream{20, [&] { EXPECT_TRUE(comes_true(is_idle, 20s)); }, num_read};
    auto results = ordered ? pool.imap(square, stream) : pool.imap_unordered(square, stream);
    EXPECT_EQ(num_read, 0);
    std::vector<int> all;
    while (const auto result = results.next()) {
      all.push_back(*result);
      EXPECT_LE(num_read, static_cast<int>(all.size()) + 2) << "results wait for the input";
    }
    EXPECT_EQ(all.size(), 20U);
    EXPECT_EQ(std::accumulate(all.begin(), all.end(), 0), 2470);
    EXPECT_EQ(num_read, 21);
  }
}

TEST(PoolInput, ImapReadsNothingWhileAResultIsReady) {
  Pool pool{1};
  int num_read = 0;
  auto results = pool.imap(square, SlowStream{100, [] {}, num_read});
  EXPECT_EQ(results.next(), 0);
  const int before = num_read;
  EXPECT_GT(before, 0);
  pool.apply(square, 1);  // behind all others, so those are ready now
  for (int i = 1; i < before - 1; ++i) {
    EXPECT_EQ(results.next(), i * i);
    EXPECT_EQ(num_read, before);
  }
}

// Reading an input may itself wait for tasks of the same pool, even by looking again and again.
TEST(PoolInput, InputsMayWaitForOtherTasks) {
  Pool pool{2};
  const auto when_other_is_done = [&](int i) {
    const auto other = pool.apply_async(square, i);
    if (!comes_true([&] { return other.ready(); }, 20s)) throw std::runtime_error("nobody takes results");
    return i;
  };
  const std::vector<int> expected = {0, 1, 4, 9, 16};
  EXPECT_EQ(pool.map(square, std::views::iota(0, 5) | std::views::transform(when_other_is_done)), expected);
  std::vector<int> one_by_one;
  for (const int y : pool.imap(square, std::views::iota(0, 5) | std::views::transform(when_other_is_done)))
    one_by_one.push_back(y);
  EXPECT_EQ(one_by_one, expected);
}

std::size_t count_files(const std::string& name) {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    if (std::filesystem::read_symlink(entry, gone).string().find(name) != std::string::npos) ++count;
  }
  return count;
}

// Tasks that were encoded and never submitted go, and with them the last hold on the pool.
TEST(PoolInput, AMapThatFailsToBeSubmittedLeavesNothing) {
  const auto fourth_throws = [](int i) {
    if (i == 4) throw std::out_of_range("input");
    return i;
  };
  {
    Pool pool{PoolOptions{.workers = 2, .start_method = {}, .name = "failing-maps"}};
    EXPECT_THROW(pool.map(square, std::views::iota(0, 10) | std::views::transform(fourth_throws), 1),
                 std::out_of_range);
    EXPECT_THROW(pool.map_async(square, std::views::iota(0, 10) | std::views::transform(fourth_throws), 2),
                 std::out_of_range);
    EXPECT_GT(count_files("failing-maps"), 0U);
    pool.close();
    EXPECT_THROW(pool.map(square, std::vector<int>{1, 2, 3}, 1), troupe::ValueError);
    pool.join();
  }
  EXPECT_TRUE(comes_true([] { return count_files("failing-maps") == 0; }));
}

// Each takes a block of shared memory of its own; a list of many is no reason to fail.
TEST(PoolInput, TensOfThousandsOfLargeTasksMayWait) {
  Pool pool{2};
  const int count = 20'000;
  std::vector<troupe::AsyncResult<std::string>> results;
  const std::string text(10'000, 'x');
  const auto stopped = pool.apply_async([](const std::string& all) { return all; }, text);
  for (int i = 0; i < count; ++i) results.push_back(pool.apply_async([](const std::string& all) { return all; }, text));
  for (const auto& result : results) ASSERT_EQ(result.get().size(), text.size());
}

}  // namespace
