// Every order of the steps of a queue (queue_search.hpp), and of protocols that are broken on purpose, to see that the
// search finds it.

#include "queue_search.hpp"

#include <gtest/gtest.h>

#include <cstdint>

namespace troupe::queue_model {
namespace {

void expect_sound(Setting setting) {
  Search search{Protocol{}, setting};
  EXPECT_EQ(search.run(), "");
  EXPECT_GT(search.num_states(), 10'000U);
}

// Three items from one to the other, with and without room for all; both may be killed, both may have deadlines.
TEST(QueueModel, OnePutsAndOneGets) {
  for (const std::uint64_t capacity : {1U, 2U})
    expect_sound({.puts = 3, .gets = 3, .capacity = capacity, .kills = 2, .has_deadlines = true});
}

TEST(QueueModel, OnePutsAndTwoGet) {
  for (const std::uint64_t capacity : {1U, 2U})
    expect_sound({.puts = 3, .num_getting = 2, .capacity = capacity, .kills = 1});
  expect_sound({.puts = 2, .num_getting = 2, .capacity = 1, .kills = 2});
}

// The third item begins another region.
TEST(QueueModel, OnePutsWithoutBoundAndTwoGet) { expect_sound({.puts = 3, .num_getting = 2, .kills = 1}); }

TEST(QueueModel, TwoPutAndOneGets) { expect_sound({.num_putting = 2, .gets = 2, .capacity = 1, .kills = 2}); }

TEST(QueueModel, TwoPutAndTwoGet) { expect_sound({.num_putting = 2, .num_getting = 2, .capacity = 1, .kills = 1}); }

// What a killed process had taken goes to the other one, which may be killed as well.
TEST(QueueModel, TwoGetWithLeases) { expect_sound({.num_getting = 2, .kills = 2, .is_leasing = true}); }

// One waits for an item with `wait`, beside one who gets, or alone.
TEST(QueueModel, OneWatches) {
  expect_sound({.num_watching = 1, .kills = 2});
  expect_sound({.puts = 2, .gets = 2, .num_watching = 1, .kills = 1});
  expect_sound({.num_putting = 2, .num_getting = 0, .num_watching = 1, .kills = 1});
}

constexpr Setting small{.puts = 2, .num_getting = 2, .capacity = 1, .kills = 2};

TEST(QueueModel, TheSearchFindsACountThatStaysWrong) {
  EXPECT_NE(Search(Protocol{.settles = false}, small).run(), "");
  EXPECT_EQ(Search(Protocol{.moves_first = false}, small).run(), "a count is wrong");
  EXPECT_EQ(Search(Protocol{.settles = false}, {.num_getting = 2, .kills = 2, .is_leasing = true}).run(),
            "an item is lost");
}

TEST(QueueModel, TheSearchFindsARingThatIsMissing) {
  EXPECT_NE(Search(Protocol{.recovery_rings = false}, small).run(), "");
  EXPECT_NE(Search(Protocol{.rings_last = false}, small).run(), "");
  EXPECT_NE(Search(Protocol{.looks_armed = false}, small).run(), "");
}

// An item is out and not counted; whoever waits for its room must hear of it.
TEST(QueueModel, TheSearchFindsRoomThatNobodyTellsOf) {
  EXPECT_EQ(Search(Protocol{.settling_rings = false}, small).run(), "one sleeps for ever beside room");
  EXPECT_EQ(Search(Protocol{.looks_after_gets = false}, small).run(), "one sleeps for ever beside room");
}

// One ring ends while another one that the sleeper needs has only been announced.
TEST(QueueModel, TheSearchFindsARingThatEndsAnother) {
  EXPECT_EQ(Search(Protocol{.recovery_rouses = false}, {.num_putting = 2, .gets = 2, .kills = 1}).run(),
            "one sleeps for ever beside an item");
}

TEST(QueueModel, TheSearchFindsAnEventThatIsMissing) {
  EXPECT_EQ(Search(Protocol{.watches_armed = false}, {.puts = 2, .num_watching = 1}).run(),
            "one sleeps for ever beside an item");
  EXPECT_EQ(Search(Protocol{.nursery_tells = false}, {.num_watching = 1, .kills = 2}).run(),
            "one sleeps for ever beside an item");
}

}  // namespace
}  // namespace troupe::queue_model
