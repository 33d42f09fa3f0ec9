#pragma once

/// \file
/// A queue as queue_search.hpp sees it: the steps of those who use it, and a state of everything.

#include <troupe/queue_cell.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace troupe::queue_model {

/// What is changed to break it.
struct Protocol {
  bool settles = true;           ///< who takes a lock whose holder died counts what that one had moved
  bool settling_rings = true;    ///< and wakes who waits for the count
  bool looks_after_gets = true;  ///< who waits for room settles the other side, if nobody else comes to do it
  bool recovery_rings = true;    ///< whom a dead process was about to wake is woken
  bool recovery_rouses = true;   ///< also if another ring has taken his announcement away
  bool looks_armed = true;       ///< who is announced looks once more before he sleeps
  bool moves_first = true;       ///< the tail or head is moved before that is counted
  bool rings_last = true;        ///< the bell is rung when the tail or head is moved
  bool watches_armed = true;     ///< who watches lets old events pass before he is announced
  bool nursery_tells = true;     ///< who watches is told of every death
};

struct Setting {
  std::uint8_t num_putting = 1;
  std::uint8_t puts = 1;  // of each
  std::uint8_t num_getting = 1;
  std::uint8_t gets = 1;
  std::uint8_t num_watching = 0;
  std::uint64_t capacity = 0;
  std::uint8_t kills = 0;
  bool is_leasing = false;
  bool has_deadlines = false;
};

enum class Step : std::uint8_t {
  take,  ///< the lock of its side, and find out whether its holder died
  settle_count, settle_counted, settled,  ///< what that one had moved is counted; nobody has to do it any more
  look, look_at_tail,  ///< for room, or for an item: at the region where items are put, then at the tail
  follow,              ///< into the next region
  arm, sleep, asleep, disarm,
  take_other, give_other,  ///< the lock of the other side, if it is left behind
  find_orphan,             ///< an item whose taker has died
  frame,                   ///< write it, or read it
  keep,                    ///< as a lease
  region,                  ///< where items are put from now on
  move,                    ///< the tail, or the head: the item is in, or out
  count, counted,          ///< or, for who gets, released
  give,
  ring, wake, unring,
  deliver,
  recover, rouse, tell,  ///< by the nursery: the lock of one side, who sleeps beside it, who watches
  forget_events, announce, find_region, find_last, find_head, find_tail, watching,  ///< `wait`, for an item
  done,
  dead,
};

inline constexpr std::uint8_t put = 0;
inline constexpr std::uint8_t get = 1;
inline constexpr std::uint8_t watch = 2;

struct Process {
  Step step = Step::done;
  Step after_ring = Step::done;
  std::uint8_t role = put;
  std::uint8_t rounds = 0;  // still to go
  std::uint8_t side = put;  // whose lock it holds
  std::uint8_t bell = put;  // that it rings
  std::uint8_t seen = 0;    // of who watches: the head
  std::uint8_t item = 0;    // of who watches: the last region
  std::uint8_t number = 0;  // of who watches: the region
  std::uint8_t has_event = 0;
  std::uint8_t is_armed = 0;
  std::uint8_t is_tired = 0;  // its deadline is over
};

inline constexpr std::size_t most_processes = 4;
inline constexpr std::size_t nursery = most_processes;
inline constexpr std::array<std::uint8_t, 2> region_sizes{2, 4};
inline constexpr std::uint8_t announced = static_cast<std::uint8_t>(Bell::Sleeper::thread);
inline constexpr std::uint8_t event_loop = static_cast<std::uint8_t>(Bell::Sleeper::event_loop);
inline constexpr std::uint8_t waking = 4;  // as in Bell

struct Frame {
  std::uint8_t item;
  std::uint8_t number;
};

struct Region {
  std::array<std::uint8_t, 2> moved;    // tail and head
  std::array<std::uint8_t, 2> settled;  // counted and released
  std::array<Frame, 4> frames;
};

struct Lease {
  std::uint8_t owner;
  Frame frame;
};

/// One state of everything; compared and hashed by its bytes.
struct World {
  std::array<std::uint64_t, 2> locks{};
  std::array<Process, most_processes + 1> processes;
  std::array<Region, 2> regions{};
  std::array<Lease, 4> leases{};
  std::array<std::uint8_t, 2> counts{};
  std::array<std::uint8_t, 2> region{};
  std::array<std::uint8_t, 3> bells{};
  std::uint8_t num_deaths = 0;
  std::uint8_t num_deaths_seen = 0;
  std::uint8_t kills_left = 0;
  std::uint8_t recovered = 0;  // a bit for each dead process
  // A bit for each item:
  std::array<std::uint8_t, 2> moved{};  // in, and out
  std::uint8_t delivered = 0;
  std::uint8_t vanished = 0;
  std::array<std::uint8_t, 1> unused{};
};
static_assert(std::has_unique_object_representations_v<World>);

}  // namespace troupe::queue_model
