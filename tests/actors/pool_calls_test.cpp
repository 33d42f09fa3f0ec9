// What the calls of both kinds of pools have in common: how inputs are read, iterators with timeouts, results that
// outlive the pool, chunk sizes and pools that are closed.

#include <troupe/error.hpp>
#include <troupe/pool.hpp>
#include <troupe/progress.hpp>
#include <troupe/thread_pool.hpp>

#include "support/one_piece.hpp"
#include "support/pools.hpp"
#include "support/processes.hpp"
#include "support/thread_pools.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <cstddef>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <ranges>
#include <set>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe::test;
using troupe::Pool;
using troupe::ThreadPool;

/// No worker runs anything while it lives.
class HeldWorkers {
 public:
  explicit HeldWorkers(const Pool& pool) {
    const auto pids = pool.worker_pids();
    for (const pid_t pid : pids) ::kill(pid, SIGSTOP);
    for (const pid_t pid : pids) EXPECT_TRUE(wait_for_state(pid, 'T'));
    let_go_ = [pids] {
      for (const pid_t pid : pids) ::kill(pid, SIGCONT);
    };
  }
  explicit HeldWorkers(ThreadPool& pool) {
    const Gate gate;
    occupy(pool, gate);
    let_go_ = [gate] { gate.open(); };
  }
  ~HeldWorkers() { let_go_(); }
  HeldWorkers(const HeldWorkers&) = delete;
  HeldWorkers& operator=(const HeldWorkers&) = delete;

 private:
  std::function<void()> let_go_;
};

/// The text of the ValueError that `call` throws.
template <class Call>
std::string refusal_of(Call call) {
  try {
    call();
  } catch (const troupe::ValueError& error) {
    return error.what();
  }
  return "not refused";
}

template <class PoolType>
class PoolCalls : public testing::Test {
 protected:
  void TearDown() override {
    if (pool) pool->terminate();
  }
  auto iterate(bool ordered, auto&& input, std::size_t chunksize = 1) {
    return ordered ? pool->imap(square, input, chunksize) : pool->imap_unordered(square, input, chunksize);
  }

  std::unique_ptr<PoolType> pool = std::make_unique<PoolType>(1);
};

struct KindName {
  template <class PoolType>
  static std::string GetName(int) {
    return std::is_same_v<PoolType, Pool> ? "Pool" : "ThreadPool";
  }
};
using Kinds = testing::Types<Pool, ThreadPool>;
TYPED_TEST_SUITE(PoolCalls, Kinds, KindName);

// An input may use the pool, or be what one thread alone may touch.
TYPED_TEST(PoolCalls, AMapReadsAnInputWithoutALengthHereAndToItsEndBeforeItSendsATask) {
  std::vector<std::thread::id> readers;
  std::size_t num_sent = 0;
  auto odd = std::views::iota(0, 100) | std::views::filter([&](int i) {
               const auto now = this->pool->statistics();
               num_sent += now.queued + now.running + now.done + now.failed;
               readers.push_back(std::this_thread::get_id());
               return i % 2 == 1;
             });
  static_assert(!std::ranges::sized_range<decltype(odd)>);
  std::vector<int> expected;
  for (int i = 1; i < 100; i += 2) expected.push_back(i * i);
  EXPECT_EQ(this->pool->map(square, odd, 1), expected);
  EXPECT_EQ(num_sent, 0U);
  EXPECT_EQ(readers, std::vector(100, std::this_thread::get_id()));
  EXPECT_TRUE(comes_true([&] { return this->pool->statistics().done == 50; }));
}

// The bound that docs/semantics.md names.
TYPED_TEST(PoolCalls, ImapReadsAnEndlessInput256TasksAhead) {
  constexpr int window = 256;
  for (const bool ordered : {true, false}) {
    int num_read = 0;
    auto endless = std::views::iota(0) | std::views::transform([&num_read](int i) { return ++num_read, i; });
    std::optional<HeldWorkers> held{*this->pool};
    auto results = this->iterate(ordered, endless);
    EXPECT_EQ(num_read, window);
    EXPECT_THROW(results.next(0ms), troupe::TimeoutError);
    EXPECT_EQ(num_read, window);
    held.reset();
    for (int taken = 1; taken <= 1000; ++taken) {
      ASSERT_TRUE(results.next(patience));
      ASSERT_LT(num_read - taken, window);
    }
  }
}

TYPED_TEST(PoolCalls, AnIteratorGoesOnAfterATimeout) {
  for (const bool ordered : {true, false}) {
    std::optional<HeldWorkers> held{*this->pool};
    auto results = this->iterate(ordered, std::views::iota(1, 4));
    EXPECT_THROW(results.next(10ms), troupe::TimeoutError);
    EXPECT_THROW(results.next(0s), troupe::TimeoutError);
    EXPECT_THROW(results.next(-1s), troupe::TimeoutError);
    held.reset();
    std::multiset<int> all;
    all.insert(results.next(patience).value());
    ASSERT_TRUE(results.wait(patience));
    all.insert(results.next(-1s).value());  // looks once, and it is there
    all.insert(results.next(patience).value());
    EXPECT_EQ(all, (std::multiset{1, 4, 9}));
    EXPECT_EQ(results.next(-1s), std::nullopt);
  }
}

// What was under way ends with an error, and so does the input that nobody can run any more.
TYPED_TEST(PoolCalls, AnIteratorMayOutliveThePool) {
  for (const bool ordered : {true, false}) {
    this->pool = std::make_unique<TypeParam>(2);
    auto results = this->iterate(ordered, std::views::iota(0));
    EXPECT_TRUE(results.next());
    this->pool->terminate();
    this->pool.reset();
    int num_cancelled = 0;
    int num_refused = 0;
    for (int i = 0; i < 2000; ++i) {
      try {
        if (!results.next()) break;
      } catch (const troupe::Cancelled&) {
        ++num_cancelled;
      } catch (const troupe::ValueError&) {
        ++num_refused;
      }
    }
    EXPECT_LE(num_cancelled, 256);
    EXPECT_EQ(num_refused, 1);
    EXPECT_EQ(results.next(), std::nullopt);
  }
}

// The results of the chunks that were done are there; the first chunk that is not ends the iteration.
TYPED_TEST(PoolCalls, AnIteratorWithChunksMayOutliveThePool) {
  for (const bool ordered : {true, false}) {
    this->pool = std::make_unique<TypeParam>(1);
    auto results = this->iterate(ordered, std::views::iota(0), 4);
    EXPECT_EQ(results.next(), 0);
    this->pool->terminate();
    this->pool.reset();
    int num_results = 1;
    std::string errors;
    try {
      for (; const auto result = results.next(); ++num_results) EXPECT_EQ(*result, num_results * num_results);
    } catch (const troupe::Cancelled&) {
      errors += "cancelled ";
    } catch (const troupe::ValueError&) {  // all that had been read was done
      errors += "refused ";
    }
    EXPECT_TRUE(errors == "cancelled " || errors == "refused ") << errors;
    EXPECT_EQ(num_results % 4, 0);
    EXPECT_EQ(results.next(), std::nullopt);
  }
}

TYPED_TEST(PoolCalls, TheResultOfAMapMayOutliveThePool) {
  const auto done = this->pool->map_async(square, std::views::iota(0, 10), 3);
  done.wait();
  std::optional<HeldWorkers> held{*this->pool};
  const auto open = this->pool->map_async(square, std::views::iota(0, 10), 3);
  this->pool->terminate();
  held.reset();
  this->pool.reset();
  for (int i = 0; i < 2; ++i) EXPECT_EQ(done.get(), (std::vector{0, 1, 4, 9, 16, 25, 36, 49, 64, 81}));
  EXPECT_TRUE(done.successful());
  ASSERT_TRUE(open.wait(patience));
  EXPECT_THROW(open.get(), troupe::Cancelled);
  EXPECT_FALSE(open.successful());
}

/// Every call that takes a chunk size, with this one; what each is refused with.
template <class PoolType>
std::vector<std::string> refusals_of_maps(const PoolType& pool, std::size_t chunksize) {
  const auto difference = [](int x, int y) { return x - y; };
  const std::vector items{1, 2, 3};
  const std::vector<std::pair<int, int>> pairs{{3, 1}, {4, 1}};
  const auto bar = troupe::progress("items");
  return {refusal_of([&] { pool.map(square, items, chunksize); }),
          refusal_of([&] { pool.map(square, items, bar, chunksize); }),
          refusal_of([&] { pool.map_async(square, items, chunksize); }),
          refusal_of([&] { pool.starmap(difference, pairs, chunksize); }),
          refusal_of([&] { pool.starmap(difference, pairs, bar, chunksize); }),
          refusal_of([&] { pool.starmap_async(difference, pairs, chunksize); }),
          refusal_of([&] { pool.imap(square, items, chunksize); }),
          refusal_of([&] { pool.imap_unordered(square, items, chunksize); })};
}

// A negative number arrives as a huge one.
TYPED_TEST(PoolCalls, ChunksOfNoItemsOrLessAreRefused) {
  for (const std::size_t chunksize : {std::size_t{0}, static_cast<std::size_t>(-1)})
    for (const std::string& text : refusals_of_maps(*this->pool, chunksize))
      EXPECT_EQ(text, "chunksize must be at least 1; leave it out for a good one");
  EXPECT_EQ(this->pool->statistics().done, 0U);
}

// One chunk takes what there is.
TYPED_TEST(PoolCalls, ChunksMayBeLargerThanTheInput) {
  for (const std::size_t chunksize : {std::size_t{1000}, std::numeric_limits<std::size_t>::max() / 2}) {
    EXPECT_EQ(this->pool->map(square, std::vector{1, 2, 3}, chunksize), (std::vector{1, 4, 9}));
    EXPECT_EQ(this->pool->map(square, std::vector{1, 2, 3}, troupe::progress("items"), chunksize),
              (std::vector{1, 4, 9}));
    for (const bool ordered : {true, false}) {
      auto results = this->iterate(ordered, std::views::iota(1, 4), chunksize);
      for (const int i : {1, 2, 3}) EXPECT_EQ(results.next(), i * i);
      EXPECT_EQ(results.next(), std::nullopt);
    }
  }
  EXPECT_TRUE(comes_true([&] { return this->pool->statistics().done == 8; })) << "tasks, all chunks of three items";
}

TYPED_TEST(PoolCalls, WorkForAPoolThatHasEndedIsRefusedByItsNameAndHow) {
  for (const std::string how : {"closed", "terminated"}) {
    TypeParam ended{{.workers = 1, .name = "ended"}};
    how == "closed" ? ended.close() : ended.terminate();
    auto refusals = refusals_of_maps(ended, 1);
    refusals.push_back(refusal_of([&] { ended.apply(square, 1); }));
    refusals.push_back(refusal_of([&] { ended.apply_async(square, 1); }));
    refusals.push_back(refusal_of([&] { ended.try_apply_async(square, 1); }));
    refusals.push_back(refusal_of([&] { ended.map(square, std::vector<int>{}); }));
    refusals.push_back(refusal_of([&] { ended.resize(2); }));
    for (const std::string& text : refusals) EXPECT_EQ(text, "ended is not running: it was " + how);
  }
}

}  // namespace
