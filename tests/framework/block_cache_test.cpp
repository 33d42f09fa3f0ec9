#include <troupe/block_cache.hpp>

#include "../support/forked.hpp"
#include "../support/processes.hpp"

#include <troupe/child.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <latch>
#include <malloc.h>
#include <set>
#include <thread>
#include <vector>

namespace troupe {
namespace {

using test::patience;

template <class Cache>
void fill(std::vector<void*>& places) {
  for (void*& place : places) place = Cache::take();
}

template <class Cache>
std::vector<void*> take(std::size_t count) {
  std::vector<void*> blocks(count);
  fill<Cache>(blocks);
  return blocks;
}

template <class Cache>
void give(const std::vector<void*>& blocks) {
  for (void* block : blocks) Cache::give(block);
}

TEST(BlockCache, GivesOutWhatWasGivenBackLast) {
  using Cache = BlockCache<48>;
  void* block = Cache::take();
  Cache::give(block);
  void* again = Cache::take();
  EXPECT_EQ(again, block);
  Cache::give(again);
}

TEST(BlockCache, BlocksThatAreOutDoNotOverlap) {
  constexpr std::size_t bytes = 80;
  using Cache = BlockCache<bytes>;
  for (int round = 0; round < 3; ++round) {
    const auto blocks = take<Cache>(1000);
    for (std::size_t i = 0; i < blocks.size(); ++i) std::memset(blocks[i], static_cast<int>(i % 251), bytes);
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      const auto* content = static_cast<const unsigned char*>(blocks[i]);
      EXPECT_TRUE(std::all_of(content, content + bytes, [&](unsigned char byte) { return byte == i % 251; }));
    }
    give<Cache>(blocks);
  }
}

TEST(BlockCache, WhatAThreadKeptWhenItEndedIsForOthers) {
  constexpr std::size_t count = 1024;  // a number of whole bundles: a thread that has so many out keeps none
  using Cache = BlockCache<112>;
  const auto blocks_of_a_thread = [] {
    std::set<void*> seen;
    std::jthread{[&] {
      const auto blocks = take<Cache>(count);
      seen.insert(blocks.begin(), blocks.end());
      give<Cache>(blocks);
    }}.join();
    return seen;
  };
  const auto first = blocks_of_a_thread();
  EXPECT_EQ(first.size(), count);
  EXPECT_EQ(blocks_of_a_thread(), first);
}

// Each block says who has it: nobody may get one that somebody else has.
TEST(BlockCache, ThreadsExchangeBlocks) {
  struct Block {
    std::atomic<int> num_owners;
  };
  using Cache = BlockCache<64>;
  constexpr std::size_t num_threads = 4;
  const int num_rounds = test::rounds(2000);
  std::atomic<std::size_t> wrong{0};
  {
    auto all = take<Cache>(num_threads * 2000);
    for (void* block : all) new (block) Block{0};
    give<Cache>(all);
  }
  std::vector<std::jthread> threads;
  for (std::size_t thread = 0; thread < num_threads; ++thread)
    threads.emplace_back([&, thread] {
      for (int round = 0; round < num_rounds; ++round) {
        const auto blocks = take<Cache>(1 + (static_cast<std::size_t>(round) * 37 + thread * 91) % 400);
        for (void* block : blocks)
          if (static_cast<Block*>(block)->num_owners.fetch_add(1) != 0) ++wrong;
        for (void* block : blocks) static_cast<Block*>(block)->num_owners.fetch_sub(1);
        give<Cache>(blocks);
      }
    });
  threads.clear();
  EXPECT_EQ(wrong, 0U);
}

TEST(BlockCache, WhatIsTooMuchGoesBackToTheSystem) {
  if (test::sanitized) GTEST_SKIP() << "asks malloc, which a sanitizer replaces";
  constexpr std::size_t bytes = 64 * 1024;
  using Cache = BlockCache<bytes>;
  const auto in_use = [] {
    const auto info = ::mallinfo2();
    return info.uordblks + info.hblkhd;
  };
  const auto blocks = take<Cache>(2 * BlockDepot::max_bytes / bytes);
  const std::size_t all_out = in_use();
  EXPECT_GE(all_out, 2 * BlockDepot::max_bytes);
  std::jthread{[&] { give<Cache>(blocks); }}.join();  // it keeps none when it has ended
  EXPECT_LE(in_use(), all_out - BlockDepot::max_bytes + BlockDepot::max_bytes / 8);
}

// The depot's lock is taken nearly all the time while the processes are forked; malloc's is not, which AddressSanitizer's
// does not make free in a forked process.
TEST(BlockCache, AForkedProcessDoesNotWaitForThreadsOfItsParent) {
  if (test::thread_sanitized) GTEST_SKIP() << "ThreadSanitizer cannot follow a fork from a process with threads";
  using Cache = BlockCache<96>;
  std::latch begun{1};
  const std::jthread exchanger{[&](const std::stop_token& stop) {
    auto blocks = take<Cache>(2000);
    give<Cache>(blocks);
    begun.count_down();
    while (!stop.stop_requested()) {
      fill<Cache>(blocks);
      give<Cache>(blocks);
    }
  }};
  begun.wait();
  for (int i = 0; i < 50; ++i) {
    const Child child = Child::launch(
        {.name = "block cache test", .method = StartMethod::fork, .closure = [] { give<Cache>(take<Cache>(2000)); }});
    ASSERT_EQ(child.wait(std::chrono::steady_clock::now() + patience), 0) << "round " << i;
  }
}

#ifdef __SANITIZE_ADDRESS__
TEST(BlockCacheDeathTest, AddressSanitizerSeesWhoUsesWhatItGaveBack) {
  using Cache = BlockCache<56>;
  auto* block = static_cast<volatile char*>(Cache::take());
  Cache::give(const_cast<char*>(block));
  EXPECT_DEATH(block[3] = 1, "use-after-poison");
}
#endif

}  // namespace
}  // namespace troupe
