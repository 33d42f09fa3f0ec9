#pragma once

/// \file
/// Every order in which the steps of a queue's protocol can happen, for a few processes that put and get, with a kill
/// at every step. What is decided is decided by queue_rules and lock_word, as in the queue itself; the steps between
/// are those of QueueMemory, Bell and QueueCell::recover. A lock is one step here: lock_model_test.cpp has its own.

#include <troupe/queue_cell.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_set>
#include <utility>
#include <vector>

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
};

struct Setting {
  std::uint8_t num_putting = 1;
  std::uint8_t puts = 1;  // of each
  std::uint8_t num_getting = 1;
  std::uint8_t gets = 1;
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
  recover, rouse,  ///< by the nursery: the lock of one side, and who sleeps beside it
  done,
  dead,
};

constexpr std::uint8_t put = 0;
constexpr std::uint8_t get = 1;

struct Process {
  Step step = Step::done;
  Step after_ring = Step::done;
  std::uint8_t role = put;
  std::uint8_t rounds = 0;  // still to go
  std::uint8_t side = put;  // whose lock it holds and whose bell it rings
  std::uint8_t seen = 0;
  std::uint8_t item = 0;
  std::uint8_t number = 0;
  std::uint8_t is_armed = 0;
  std::uint8_t is_tired = 0;  // its deadline is over
};

constexpr std::size_t most_processes = 4;
constexpr std::size_t nursery = most_processes;
constexpr std::array<std::uint8_t, 2> region_sizes{2, 4};
constexpr std::uint8_t announced = static_cast<std::uint8_t>(Bell::Sleeper::thread);
constexpr std::uint8_t waking = 4;  // as in Bell

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
  std::array<std::uint8_t, 2> bells{};
  std::uint8_t num_deaths = 0;
  std::uint8_t num_deaths_seen = 0;
  std::uint8_t kills_left = 0;
  std::uint8_t recovered = 0;  // a bit for each dead process
  // A bit for each item:
  std::array<std::uint8_t, 2> moved{};  // in, and out
  std::uint8_t delivered = 0;
  std::uint8_t vanished = 0;
  std::array<std::uint8_t, 4> unused{};
};
static_assert(std::has_unique_object_representations_v<World>);

struct Bytes {
  std::size_t operator()(const World& world) const {
    return std::hash<std::string_view>{}({reinterpret_cast<const char*>(&world), sizeof world});
  }
  bool operator()(const World& a, const World& b) const { return std::memcmp(&a, &b, sizeof a) == 0; }
};

template <class Number>
constexpr std::uint8_t narrow(Number value) {
  return static_cast<std::uint8_t>(value);
}
constexpr std::uint8_t bit(std::size_t number) { return narrow(1U << (number - 1U)); }
constexpr std::uint8_t pid(std::size_t index) { return narrow(index + 1); }
constexpr std::uint8_t other(std::uint8_t side) { return narrow(1 - side); }

class Search {
 public:
  Search(Protocol protocol, Setting setting) : protocol_(protocol), setting_(setting) {
    World first;
    first.kills_left = setting.kills;
    num_processes_ = std::size_t{setting.num_putting} + setting.num_getting;
    for (std::size_t i = 0; i < num_processes_; ++i) {
      const std::uint8_t role = i < setting.num_putting ? put : get;
      first.processes[i] = {
          .step = Step::take, .role = role, .rounds = role == put ? setting.puts : setting.gets, .side = role};
    }
    reach(first);
  }

  /// Goes everywhere; the first thing found wrong, empty if nothing is.
  std::string run() {
    while (!open_.empty() && wrong_.empty()) {
      const World world = open_.back();
      open_.pop_back();
      check_counts(world);
      const std::size_t before = num_moves_;
      for (std::size_t i = 0; i < num_processes_; ++i) move(world, i);
      recover(world);
      if (num_moves_ == before) check_end(world);
      kill(world);
    }
    return wrong_;
  }
  std::size_t num_states() const { return known_.size(); }

 private:
  void reach(const World& world) {
    ++num_moves_;
    if (known_.insert(world).second) open_.push_back(world);
  }

  static Frame& frame_at(World& world, std::uint8_t region, std::uint8_t position) {
    return world.regions[region].frames[position % region_sizes[region]];
  }

  void move(const World& world, std::size_t index) {
    World next = world;
    Process& me = next.processes[index];
    std::uint64_t& lock = next.locks[me.side];
    switch (me.step) {
      case Step::take:
        if (lock_word::owner(lock) != 0) return;
        lock = lock_word::taken(lock, pid(index));
        me.step = lock_word::is_abandoned(lock) ? Step::settle_count : Step::look;
        break;
      case Step::settle_count:
      case Step::settle_counted: settle(next, me); break;
      case Step::settled:
        lock &= ~lock_word::abandoned;
        me.step = me.side == me.role ? Step::look : Step::give_other;
        break;
      case Step::look: look(next, me); break;
      case Step::look_at_tail: look_at_tail(next, me); break;
      case Step::follow:
        next.regions[next.region[get]].frames = {};
        ++next.region[get];
        me.step = Step::look;
        break;
      case Step::arm:
        next.bells[other(me.role)] = announced;
        me.is_armed = 1;
        me.step = protocol_.looks_armed ? Step::look : Step::sleep;
        break;
      case Step::sleep: me.step = next.bells[other(me.role)] == announced ? Step::asleep : Step::disarm; break;
      case Step::asleep:
        if (!setting_.has_deadlines) return;
        me.is_tired = 1;
        me.step = Step::disarm;
        break;
      case Step::disarm:
        next.bells[other(me.role)] = 0;
        me.is_armed = 0;
        me.step = Step::look;
        break;
      case Step::take_other:
        me.step = Step::look;
        if (!lock_word::is_left_behind(next.locks[get])) break;
        next.locks[get] = lock_word::taken(next.locks[get], pid(index));
        me.side = get;
        me.step = Step::settle_count;
        break;
      case Step::give_other:
        lock = lock_word::freed(lock);
        me.side = me.role;
        me.step = Step::look;
        break;
      case Step::find_orphan: find_orphan(next, index); break;
      case Step::keep: {
        const auto free = std::ranges::find(next.leases, 0, &Lease::owner);
        *free = {.owner = pid(index), .frame = {.item = me.item, .number = me.number}};
        me.step = Step::move;
        break;
      }
      case Step::region:
        next.region[put] = me.seen;
        me.step = protocol_.moves_first ? Step::move : Step::count;
        break;
      case Step::move:
        if (me.role == get) check_order(next, me.item);
        ++next.regions[next.region[me.side]].moved[me.side];
        next.moved[me.side] |= bit(me.item);
        me.step = protocol_.moves_first ? Step::count : Step::counted;
        break;
      case Step::count:
        next.counts[me.side] = me.number;
        me.step = protocol_.moves_first ? Step::counted : Step::move;
        break;
      case Step::counted: {
        Region& region = next.regions[next.region[me.side]];
        region.settled[me.side] = region.moved[me.side];
        me.number = 0;
        me.seen = 0;
        me.step = Step::give;
        break;
      }
      case Step::give: give(next, me); break;
      case Step::ring:
      case Step::wake:
      case Step::unring: ring(next, me); break;
      case Step::deliver:
        for (Lease& lease : next.leases)
          if (lease.owner == pid(index)) lease = {};
        deliver(next, me);
        break;
      case Step::recover:
        if (lock_word::owner(lock) == me.item) lock = lock_word::left_behind(lock);
        me.after_ring = Step::rouse;
        me.step = protocol_.recovery_rings ? Step::ring : Step::rouse;
        break;
      case Step::rouse:
        if (protocol_.recovery_rouses) wake_sleepers(next, me.side);
        me.step = me.side == put ? Step::recover : Step::done;
        me.side = get;
        break;
      case Step::frame:
      case Step::done:
      case Step::dead: return;
    }
    // What nobody else sees is no step of its own.
    if (me.step == Step::frame) me.role == put ? write(next, index) : read(next, me);
    if (me.step == Step::deliver && !setting_.is_leasing) deliver(next, me);
    reach(next);
  }

  void settle(World& next, Process& me) const {
    const std::uint8_t number = next.region[me.side];
    Region& region = next.regions[number];
    const std::uint8_t settled = region.settled[me.side];
    if (settled == region.moved[me.side] || !protocol_.settles) {
      me.step = Step::settled;
    } else if (me.step == Step::settle_count) {
      next.counts[me.side] = frame_at(next, number, settled).number;
      me.step = Step::settle_counted;
    } else {
      region.settled[me.side] = region.moved[me.side];
      me.after_ring = Step::settled;
      me.step = protocol_.settling_rings ? Step::ring : Step::settled;
    }
  }

  static void found(Process& me, Step then) { me.step = me.is_armed != 0 ? Step::disarm : then; }
  static void not_found(Process& me) {
    me.step = me.is_tired != 0 ? Step::give : me.is_armed != 0 ? Step::sleep : Step::arm;
  }

  void look(World& next, Process& me) const {
    if (me.role == get && next.num_deaths != next.num_deaths_seen && setting_.is_leasing) {
      me.seen = next.num_deaths;
      found(me, Step::find_orphan);
    } else if (me.role == get) {
      me.seen = next.region[put];
      me.step = Step::look_at_tail;
    } else if (queue_rules::has_capacity(setting_.capacity, next.counts[put], next.counts[get])) {
      found(me, Step::frame);
    } else if (protocol_.looks_after_gets && lock_word::is_left_behind(next.locks[get])) {
      found(me, Step::take_other);
    } else {
      not_found(me);
    }
  }

  static void look_at_tail(World& next, Process& me) {
    const std::uint8_t number = next.region[get];
    const Region& region = next.regions[number];
    const std::uint8_t last = std::exchange(me.seen, std::uint8_t{0});
    switch (queue_rules::look(region.moved[get], region.moved[put], number, last)) {
      case queue_rules::Found::item: return found(me, Step::frame);
      case queue_rules::Found::next_region: me.step = Step::follow; return;
      case queue_rules::Found::nothing: return not_found(me);
    }
  }

  static void find_orphan(World& next, std::size_t index) {
    Process& me = next.processes[index];
    for (Lease& lease : next.leases) {
      if (lease.owner == 0 || next.processes[lease.owner - 1U].step != Step::dead) continue;
      lease.owner = lease.frame.number > next.counts[get] ? std::uint8_t{0} : pid(index);
      if (lease.owner == 0) continue;
      me.item = lease.frame.item;
      me.step = Step::give;
      me.seen = 0;
      return;
    }
    next.num_deaths_seen = std::exchange(me.seen, std::uint8_t{0});
    me.step = Step::look;
  }

  void write(World& next, std::size_t index) {
    Process& me = next.processes[index];
    me.seen = next.region[put];
    for (;; ++me.seen) {
      if (me.seen == region_sizes.size()) return fail("there is no room");
      const Region& region = next.regions[me.seen];
      if (queue_rules::has_room(region_sizes[me.seen], region.moved[put], region.settled[get], 1)) break;
    }
    me.item = narrow(index * setting_.puts + setting_.puts - me.rounds + 1);
    me.number = narrow(next.counts[put] + 1);
    frame_at(next, me.seen, next.regions[me.seen].moved[put]) = {.item = me.item, .number = me.number};
    me.step = me.seen != next.region[put] ? Step::region : protocol_.moves_first ? Step::move : Step::count;
  }

  void read(World& next, Process& me) {
    const std::uint8_t region = next.region[get];
    const Frame frame = frame_at(next, region, next.regions[region].moved[get]);
    if (frame.item == 0) return fail("what is read was not written");
    me.item = frame.item;
    me.number = frame.number;
    me.step = setting_.is_leasing ? Step::keep : protocol_.moves_first ? Step::move : Step::count;
  }

  void give(World& next, Process& me) const {
    next.locks[me.side] = lock_word::freed(next.locks[me.side]);
    me.seen = 0;
    if (me.item == 0) {  // gives up
      me = {.step = Step::done, .role = me.role};
      return;
    }
    me.after_ring = Step::deliver;
    me.step = protocol_.rings_last ? Step::ring : Step::deliver;
  }

  static void wake_sleepers(World& next, std::uint8_t bell) {
    for (std::size_t i = 0; i < most_processes; ++i) {
      Process& process = next.processes[i];
      if (process.step == Step::asleep && other(process.role) == bell) process.step = Step::disarm;
    }
  }

  static void ring(World& next, Process& me) {
    std::uint8_t& bell = next.bells[me.side];
    if (me.step == Step::ring && bell != 0) {
      me.seen = bell |= waking;
      me.step = Step::wake;
    } else if (me.step == Step::wake) {
      wake_sleepers(next, me.side);
      me.step = Step::unring;
    } else {
      if (me.step == Step::unring && bell == me.seen) bell = 0;
      me.seen = 0;
      me.step = std::exchange(me.after_ring, Step::done);
    }
  }

  void deliver(World& next, Process& me) {
    if (me.role == get && (next.delivered & bit(me.item)) != 0) return fail("an item is delivered twice");
    if (me.role == get) next.delivered |= bit(me.item);
    const std::uint8_t rounds = narrow(me.rounds - 1);
    me = {.step = rounds == 0 ? Step::done : Step::take, .role = me.role, .rounds = rounds, .side = me.role};
  }

  void kill(const World& world) {
    if (world.kills_left == 0) return;
    for (std::size_t i = 0; i < num_processes_; ++i) {
      const Process& victim = world.processes[i];
      if (victim.step == Step::done || victim.step == Step::dead) continue;
      World next = world;
      --next.kills_left;
      if (victim.role == get && victim.item != 0 && !setting_.is_leasing)
        next.vanished = narrow(next.vanished | (world.moved[get] & bit(victim.item)));
      next.processes[i] = {.step = Step::dead, .role = victim.role};
      reach(next);
    }
  }

  /// The nursery goes through the dead one by one, some time after their end.
  void recover(const World& world) {
    if (world.processes[nursery].step != Step::done) return move(world, nursery);
    for (std::size_t i = 0; i < num_processes_; ++i) {
      if (world.processes[i].step != Step::dead || (world.recovered & bit(pid(i))) != 0) continue;
      World next = world;
      next.recovered |= bit(pid(i));
      ++next.num_deaths;
      next.processes[nursery] = {.step = Step::recover, .item = pid(i)};
      reach(next);
    }
  }

  void fail(const std::string& what) { wrong_ = what; }

  void check_order(const World& world, std::uint8_t item) {
    const unsigned first = (item - 1U) / setting_.puts * setting_.puts;
    const unsigned later = (1U << (first + setting_.puts)) - (1U << (item - 1U));
    if ((world.moved[get] & later) != 0) fail("an item comes out after a later one, or again");
  }

  /// Whoever could take a lock now finds the counts right.
  void check_counts(const World& world) {
    for (const std::uint8_t side : {put, get}) {
      if (lock_word::owner(world.locks[side]) != 0 || lock_word::is_abandoned(world.locks[side])) continue;
      if (world.counts[side] != std::popcount(world.moved[side])) fail("a count is wrong");
      for (const Region& region : world.regions)
        if (region.settled[side] != region.moved[side]) fail("room is lost");
    }
  }

  void check_end(World world) {
    std::uint8_t there = 0;
    const auto add = [&](std::uint8_t items) {
      if ((there & items) != 0) fail("an item is in two places");
      there |= items;
    };
    for (std::uint8_t region = 0; region < world.regions.size(); ++region) {
      const auto [tail, head] = world.regions[region].moved;
      for (std::uint8_t i = head; i != tail; ++i) add(bit(frame_at(world, region, i).item));
    }
    const bool has_room = queue_rules::has_capacity(setting_.capacity, narrow(std::popcount(there)), 0);
    for (const Lease& lease : world.leases)
      if (lease.owner != 0 && (world.moved[get] & bit(lease.frame.item)) != 0) add(bit(lease.frame.item));
    for (const Process& process : world.processes) {
      if (process.step == Step::done || process.step == Step::dead) continue;
      if (process.role == put && has_room) fail("one sleeps for ever beside room");
      if (process.role == get && there != 0) fail("one sleeps for ever beside an item");
    }
    add(world.delivered);
    add(world.vanished);
    if (there != world.moved[put]) fail("an item is lost");
  }

  Protocol protocol_;
  Setting setting_;
  std::size_t num_processes_;
  std::unordered_set<World, Bytes, Bytes> known_;
  std::vector<World> open_;
  std::size_t num_moves_ = 0;
  std::string wrong_;
};

}  // namespace troupe::queue_model
