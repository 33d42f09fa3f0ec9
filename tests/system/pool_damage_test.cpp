// Workers that go mad: they write over the memory that they share with their pool. That costs them themselves, nobody
// else.

#include <troupe/error.hpp>
#include <troupe/event.hpp>
#include <troupe/pool.hpp>
#include <troupe/process.hpp>
#include <troupe/ring.hpp>

#include "support/one_piece.hpp"
#include "support/pools.hpp"
#include "support/processes.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <span>
#include <sstream>
#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe::test;
using troupe::Pool;

/// What is written over the memory.
enum class Pattern : std::uint8_t { zeros, ones, noise };
/// How much of the slot's file: the positions of both rings, or what lies in them, or all.
enum class Part : std::uint8_t { positions, frames, all };

constexpr std::size_t position_bytes = 4096;  // of the file, then come the tasks' frames, then the results'

/// A mapped piece of a memory file.
struct Range {
  std::span<char> memory;
  std::size_t offset = 0;  // in the file
};

void overwrite(std::span<char> memory, Pattern pattern) {
  std::uint32_t noise = 12'345;
  for (char& byte : memory) {
    noise = noise * 1'664'525U + 1'013'904'223U;
    byte = static_cast<char>(pattern == Pattern::zeros ? 0 : pattern == Pattern::ones ? 0xff : noise >> 24U);
  }
}

// In a worker: where the memory file "troupe-<pool>-<number>" is mapped.
std::vector<Range> rings_of(const std::string& pool) {
  std::vector<Range> ranges;
  for (const auto& line : mappings_of(::getpid())) {
    if (line.find("/memfd:troupe-" + pool + "-") == std::string::npos) continue;
    if (line.find("-results") != std::string::npos || line.find("-tasks") != std::string::npos) continue;
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
    char dash = 0;
    std::string access;
    Range range;
    std::istringstream{line} >> std::hex >> begin >> dash >> end >> access >> range.offset;
    range.memory = {reinterpret_cast<char*>(begin), reinterpret_cast<char*>(end)};
    ranges.push_back(range);
  }
  return ranges;
}

int damage(Part part, Pattern pattern, const std::string& pool) {
  const auto ranges = rings_of(pool);
  for (const Range& range : ranges)
    if (part == Part::all || (part == Part::positions) == (range.offset == 0)) overwrite(range.memory, pattern);
  return static_cast<int>(ranges.size());
}

struct Damage {
  Part part;
  Pattern pattern;
};

class PoolDamageEverywhere : public testing::TestWithParam<Damage> {};

TEST_P(PoolDamageEverywhere, CostsTheWorkerThatDidIt) {
  Pool pool{troupe::PoolOptions{.workers = 2, .name = "damaged"}};
  expect_works(pool, 2);
  EXPECT_GE(pool.apply(damage, Part::positions, Pattern::zeros, std::string("no such pool")), 0);
  for (int round = 0; round < 3; ++round) {
    const auto guilty = pool.apply_async(damage, GetParam().part, GetParam().pattern, std::string("damaged"));
    std::vector<troupe::AsyncResult<int>> others;
    for (int i = 0; i < 20; ++i) others.push_back(pool.apply_async(square, i));
    try {
      EXPECT_GE(guilty.get(20s), 2);  // what was damaged may have been needed no more
    } catch (const troupe::WorkerDied&) {
    }
    for (int i = 0; i < 20; ++i) {
      try {
        EXPECT_EQ(others[static_cast<std::size_t>(i)].get(20s), i * i);
      } catch (const troupe::WorkerDied&) {  // it lay in the same ring: nobody knows any more whether it was begun
      }
    }
    expect_works(pool, 2);
  }
  pool.terminate();
  EXPECT_TRUE(comes_true([] { return troupe::active_children().empty(); }));
}

std::string name_of(const testing::TestParamInfo<Damage>& info) {
  const char* const parts[] = {"Positions", "Frames", "All"};
  const char* const patterns[] = {"Zeros", "Ones", "Noise"};
  return std::string(parts[static_cast<int>(info.param.part)]) + patterns[static_cast<int>(info.param.pattern)];
}

// The task says that nothing lies behind it in the ring.
int hide_what_follows(const std::string& pool, const troupe::Event& go) {
  go.wait();
  const auto ranges = rings_of(pool);
  const auto positions = std::ranges::find(ranges, std::size_t{0}, &Range::offset);
  const auto frames = std::ranges::find(ranges, position_bytes, &Range::offset);
  auto* control = reinterpret_cast<troupe::RingControl*>(positions->memory.data());
  const std::uint64_t head = control->head;
  const auto* header = reinterpret_cast<const troupe::FrameHeader*>(frames->memory.data() + head % troupe::ring_bytes);
  control->tail = head + troupe::frame_bytes(header->words, header->segments);
  return 1;
}

// With tasks behind it.
void expect_all_are_seen(Pool& pool, bool when_held_up) {
  const troupe::Event go;
  if (!when_held_up) go.set();
  const auto guilty = pool.apply_async(hide_what_follows, std::string("damaged"), go);
  std::vector<troupe::AsyncResult<int>> others;
  for (int i = 0; i < 20; ++i) others.push_back(pool.apply_async(square, i));
  const auto is_held_up = [&] { return pool.statistics().workers.at(0).state == troupe::WorkerState::held_up; };
  if (when_held_up) {
    EXPECT_TRUE(comes_true(is_held_up, patience));
    go.set();
  }
  EXPECT_EQ(guilty.get(20s), 1);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(others[static_cast<std::size_t>(i)].get(20s), i * i);
}

TEST(PoolDamage, WhatAWorkerDoesNotSeeIsShownToItAgain) {
  Pool pool{troupe::PoolOptions{.workers = 1, .name = "damaged"}};
  run_short_tasks(pool);
  for (int round = 0; round < 20; ++round) expect_all_are_seen(pool, false);
  pool.terminate();
}

TEST(PoolDamage, WhatAWorkerDoesNotSeeWhenItGetsOnAgainIsShownToItAgain) {
  Pool pool{troupe::PoolOptions{.workers = 1, .name = "damaged"}};
  run_short_tasks(pool);
  expect_all_are_seen(pool, true);
  pool.terminate();
}

constexpr Damage all_damages[] = {
    {Part::positions, Pattern::zeros}, {Part::positions, Pattern::ones}, {Part::positions, Pattern::noise},
    {Part::frames, Pattern::zeros},    {Part::frames, Pattern::ones},    {Part::frames, Pattern::noise},
    {Part::all, Pattern::zeros},       {Part::all, Pattern::ones},       {Part::all, Pattern::noise}};
INSTANTIATE_TEST_SUITE_P(P, PoolDamageEverywhere, testing::ValuesIn(all_damages), name_of);

}  // namespace
