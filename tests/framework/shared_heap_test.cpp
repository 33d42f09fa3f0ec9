// The shared-memory heap: how it cuts arenas, joins blocks, and when it gives memory back.

#include <troupe/error.hpp>
#include <troupe/shared_heap.hpp>

#include "support/forked.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <map>
#include <random>
#include <sys/resource.h>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace troupe;
using namespace troupe::test;

/// Pieces tile each arena from 0 to its end, and free ones are joined; returns {free bytes, used bytes}.
std::pair<std::size_t, std::size_t> check_tiling(const SharedHeap& heap) {
  std::map<Ticket, std::size_t> ends;
  std::map<Ticket, bool> ends_free;
  std::pair<std::size_t, std::size_t> sums;
  for (const auto& piece : heap.pieces()) {
    EXPECT_EQ(piece.offset, ends[piece.arena]);
    ends[piece.arena] += piece.bytes;
    EXPECT_FALSE(std::exchange(ends_free[piece.arena], piece.is_free) && piece.is_free) << "at " << piece.offset;
    (piece.is_free ? sums.first : sums.second) += piece.bytes;
  }
  std::size_t all = 0;
  for (const auto& [arena, end] : ends) {
    EXPECT_EQ(end, heap.find(arena)->size_bytes());
    all += end;
  }
  EXPECT_EQ(all, heap.statistics().arena_bytes);
  EXPECT_EQ(sums.first + sums.second, all);
  return sums;
}

// Random allocations leave books without gaps or overlaps; freeing everything leaves nothing.
TEST(TestHeap, test_heap) {
  SharedHeap heap{0};
  std::mt19937 random{42};
  std::lognormal_distribution<double> sizes{0, 1};
  std::vector<SharedHeap::Block> blocks;
  for (int i = 0; i < 5000; ++i) {
    blocks.push_back(heap.allocate(static_cast<std::ptrdiff_t>(sizes(random) * 1000)));
    if (blocks.size() > 50) {
      const auto victim = blocks.begin() + static_cast<std::ptrdiff_t>(random() % blocks.size());
      heap.release(*victim);
      blocks.erase(victim);
    }
  }
  const auto [free_bytes, used_bytes] = check_tiling(heap);
  EXPECT_GT(used_bytes, 0U);
  EXPECT_GT(free_bytes, 0U);
  EXPECT_EQ(heap.statistics().num_allocations, 5000U);

  std::ranges::shuffle(blocks, random);
  for (const auto& block : blocks) heap.release(block);
  const auto rest = heap.statistics();
  EXPECT_EQ(rest.num_frees, rest.num_allocations);
  EXPECT_EQ(rest.num_arenas, 0U);
  EXPECT_EQ(rest.num_pending, 0U);
  EXPECT_TRUE(heap.pieces().empty());
}

TEST(SharedHeap, AlignsBlocksAndTakesAnySize) {
  SharedHeap heap;
  EXPECT_THROW(heap.allocate(-1), ValueError);
  std::vector<SharedHeap::Block> blocks;
  for (const std::ptrdiff_t bytes : {0, 1, 8, 17, 4095, 4096, 4097}) {
    blocks.push_back(heap.allocate(bytes));
    EXPECT_EQ(blocks.back().offset % shared_block_alignment, 0U);
    EXPECT_EQ(blocks.back().bytes, static_cast<std::size_t>(bytes));
    const std::byte* data = blocks.back().arena->data(blocks.back().offset);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(data) % shared_block_alignment, 0U);
  }
  for (const auto& block : blocks) heap.release(block);
}

// One page first, then twice as much each time, up to 4 MiB; larger blocks get what they need.
TEST(SharedHeap, DoublesItsArenas) {
  SharedHeap heap;
  std::vector<SharedHeap::Block> blocks;
  std::vector<std::size_t> sizes;
  std::size_t before = 0;
  while (sizes.empty() || sizes.size() < 13) {
    blocks.push_back(heap.allocate(4000));
    const std::size_t now = heap.statistics().arena_bytes;
    if (now > before) sizes.push_back(now - before);
    before = now;
  }
  std::size_t expected = SharedHeap::first_arena_bytes;
  for (const std::size_t size : sizes) {
    EXPECT_EQ(size, expected);
    expected = std::min(2 * expected, SharedHeap::largest_doubled);
  }
  blocks.push_back(heap.allocate(10'000'000));
  EXPECT_EQ(heap.statistics().arena_bytes - before, 10'002'432U);  // whole pages
  for (const auto& block : blocks) heap.release(block);
}

// What is empty and has 4 MiB or more goes back at once, smaller arenas are kept.
TEST(SharedHeap, GivesLargeEmptyArenasBack) {
  SharedHeap heap;
  const auto small = heap.allocate(100);
  const auto large = heap.allocate(SharedHeap::largest_doubled);
  EXPECT_EQ(heap.statistics().num_arenas, 2U);
  heap.release(large);
  EXPECT_TRUE(large.arena->is_retired());
  EXPECT_EQ(heap.statistics().num_arenas, 1U);
  heap.release(small);
  EXPECT_EQ(heap.statistics().num_arenas, 1U);
  EXPECT_FALSE(small.arena->is_retired());
}

TEST(SharedHeap, ClearsWhatItGivesOutAgain) {
  SharedHeap heap;
  for (int round = 0; round < 3; ++round) {
    std::vector<SharedHeap::Block> blocks;
    for (const std::ptrdiff_t bytes : {100, 2000, 50, 9000}) {
      blocks.push_back(heap.allocate(bytes));
      std::byte* data = blocks.back().arena->data(blocks.back().offset);
      EXPECT_TRUE(std::all_of(data, data + bytes, [](std::byte b) { return b == std::byte{0}; }));
      std::fill_n(data, bytes, std::byte{0xff});
    }
    for (const auto& block : blocks) heap.release(block);
  }
}

// A block that others use waits for them; the next call finds that they have gone.
TEST(SharedHeap, KeepsABlockThatIsInUseElsewhere) {
  SharedHeap heap;
  const auto block = heap.allocate(64);
  ASSERT_TRUE(block.arena->add_message(block.offset, block.serial));
  heap.release(block);
  EXPECT_EQ(heap.statistics().num_pending, 1U);
  ASSERT_TRUE(block.arena->add_user(block.offset, block.serial, true));
  heap.release(heap.allocate(8));
  EXPECT_EQ(heap.statistics().num_pending, 1U);
  block.arena->drop_user(block.offset, block.serial, block.bytes);
  heap.release(heap.allocate(8));
  EXPECT_EQ(heap.statistics().num_pending, 0U);
  EXPECT_EQ(heap.statistics().num_frees, heap.statistics().num_allocations);
  EXPECT_FALSE(block.arena->add_user(block.offset, block.serial, false)) << "the block is gone";
}

// The place is used again; a handle to the block that lay there before does not open the new one.
TEST(SharedHeap, TellsABlockFromItsPredecessor) {
  SharedHeap heap;
  const auto old_block = heap.allocate(64);
  heap.release(old_block);
  const auto new_block = heap.allocate(64);
  ASSERT_EQ(new_block.offset, old_block.offset);
  EXPECT_FALSE(new_block.arena->add_user(old_block.offset, old_block.serial, false));
  EXPECT_FALSE(new_block.arena->add_message(old_block.offset, old_block.serial));
  new_block.arena->drop_user(old_block.offset, old_block.serial, old_block.bytes);
  EXPECT_TRUE(new_block.arena->add_user(new_block.offset, new_block.serial, false)) << "its user is still counted";
  heap.release(new_block);
  heap.release(new_block);
  EXPECT_EQ(heap.statistics().num_pending, 0U);
}

// A lower bound of what a damaged or dead user could do: counts never go below zero.
TEST(SharedHeap, DropsNoMoreUsersThanThereAre) {
  SharedHeap heap;
  const auto block = heap.allocate(64);
  for (int i = 0; i < 3; ++i) block.arena->drop_user(block.offset, block.serial, block.bytes);
  heap.release(block);
  EXPECT_EQ(heap.statistics().num_frees, 1U);
  EXPECT_EQ(heap.statistics().num_pending, 0U);
}

TEST(SharedHeap, IsUsedByManyThreads) {
  SharedHeap heap{0};
  std::atomic<int> overlaps{0};
  {
    std::vector<std::jthread> threads;
    for (int number = 1; number <= 4; ++number)
      threads.emplace_back([&heap, &overlaps, number] {
        std::mt19937 random{static_cast<unsigned>(number)};
        std::vector<SharedHeap::Block> blocks;
        for (int i = 0; i < rounds(2000); ++i) {
          blocks.push_back(heap.allocate(static_cast<std::ptrdiff_t>(random() % 3000 + 1)));
          std::fill_n(blocks.back().arena->data(blocks.back().offset), blocks.back().bytes, std::byte(number));
          if (blocks.size() < 20) continue;
          const auto& block = blocks[random() % blocks.size()];
          const std::byte* data = block.arena->data(block.offset);
          if (!std::all_of(data, data + block.bytes, [&](std::byte b) { return b == std::byte(number); })) ++overlaps;
          heap.release(blocks.front());
          blocks.erase(blocks.begin());
        }
        for (const auto& block : blocks) heap.release(block);
      });
  }
  EXPECT_EQ(overlaps, 0);
  EXPECT_EQ(heap.statistics().num_arenas, 0U);
}

// Too much is an error that says so, and the heap works on.
TEST(SharedHeap, SaysThatThereIsNoMemory) {
  SharedHeap heap;
  try {
    heap.allocate(std::ptrdiff_t{1} << 47U);
    ADD_FAILURE() << "128 TiB";
  } catch (const OSError& error) {
    EXPECT_EQ(error.errno_value(), ENOMEM);
    EXPECT_THAT(error.what(), testing::HasSubstr("shared memory"));
  }
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  const rlimit low{1 << 20, before.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &low);
  try {
    heap.allocate(2 << 20);
    ADD_FAILURE() << "more than RLIMIT_FSIZE";
  } catch (const OSError& error) {
    EXPECT_EQ(error.errno_value(), EFBIG);
    EXPECT_THAT(error.what(), testing::HasSubstr("ulimit -f"));
  }
  ::setrlimit(RLIMIT_FSIZE, &before);
  heap.release(heap.allocate(2 << 20));
  check_tiling(heap);
}

}  // namespace
