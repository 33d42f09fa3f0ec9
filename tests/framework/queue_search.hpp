#pragma once

/// \file
/// Every order in which the steps of a queue's protocol can happen, for a few processes that put, get and watch, with a
/// kill at every step. What is decided is decided by queue_rules and lock_word, as in the queue itself; the steps
/// between are those of QueueMemory, Bell, QueueCell::recover and NurseryStore::holder_ended. A lock is one step here:
/// lock_model_test.cpp has its own.

#include "model_search.hpp"
#include "queue_model.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace troupe::queue_model {

template <class Number>
constexpr std::uint8_t narrow(Number value) {
  return static_cast<std::uint8_t>(value);
}
constexpr std::uint8_t bit(std::size_t number) { return narrow(1U << (number - 1U)); }
constexpr std::uint8_t pid(std::size_t index) { return narrow(index + 1); }
constexpr std::uint8_t other(std::uint8_t side) { return narrow(1 - side); }

class Search : public test::ModelSearch<World> {
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
    const Step first_watch = protocol.watches_armed ? Step::forget_events : Step::announce;
    for (std::size_t i = 0; i < setting.num_watching; ++i)
      first.processes[num_processes_++] = {.step = first_watch, .role = watch};
    reach(first);
  }

 private:
  static Frame& frame_at(World& world, std::uint8_t region, std::uint8_t position) {
    return world.regions[region].frames[position % region_sizes[region]];
  }

  void move(const World& world, std::size_t index) override {
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
        me.bell = me.side;
        me.after_ring = Step::rouse;
        me.step = protocol_.recovery_rings ? Step::ring : Step::rouse;
        break;
      case Step::rouse:
        if (protocol_.recovery_rouses) wake_sleepers(next, me.side);
        me.step = me.side == put ? Step::recover : Step::tell;
        me.side = get;
        break;
      case Step::tell:
        if (protocol_.nursery_tells) send_events(next);
        me = {};
        break;
      case Step::forget_events:
      case Step::announce:
      case Step::find_region:
      case Step::find_last:
      case Step::find_head:
      case Step::find_tail:
      case Step::watching:
        if (!watch_for_item(next, me)) return;
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
      me.bell = me.side;
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
    me.bell = me.side;
    me.after_ring = Step::deliver;
    me.step = protocol_.rings_last ? Step::ring : Step::deliver;
  }

  static void wake_sleepers(World& next, std::uint8_t bell) {
    for (std::size_t i = 0; i < most_processes; ++i) {
      Process& process = next.processes[i];
      if (process.step == Step::asleep && other(process.role) == bell) process.step = Step::disarm;
    }
  }

  void ring(World& next, Process& me) const {
    std::uint8_t& bell = next.bells[me.bell];
    if (me.step == Step::ring && bell != 0) {
      me.seen = bell |= waking;
      me.step = Step::wake;
    } else if (me.step == Step::wake) {
      me.bell == watch ? send_events(next) : wake_sleepers(next, me.bell);
      me.step = Step::unring;
    } else {
      if (me.step == Step::unring && bell == me.seen) bell = 0;
      const bool rings_on = setting_.num_watching > 0 && me.bell == put && me.after_ring == Step::deliver;
      me.seen = 0;
      me.bell = rings_on ? watch : put;
      me.step = rings_on ? Step::ring : std::exchange(me.after_ring, Step::done);
    }
  }

  static void send_events(World& next) {
    for (Process& process : next.processes) process.has_event = process.role == watch && process.step != Step::done;
  }

  /// False: it sleeps.
  bool watch_for_item(World& next, Process& me) const {
    switch (me.step) {
      case Step::forget_events:
        me.has_event = 0;
        me.step = protocol_.watches_armed ? Step::announce : Step::find_region;
        return true;
      case Step::announce:
        next.bells[watch] = event_loop;
        me.step = protocol_.watches_armed ? Step::find_region : Step::forget_events;
        return true;
      case Step::find_region:
        me.number = next.region[get];
        me.step = Step::find_last;
        return true;
      case Step::find_last:
        me.item = next.region[put];
        me.step = Step::find_head;
        return true;
      case Step::find_head:
        me.seen = next.regions[me.number].moved[get];
        me.step = Step::find_tail;
        return true;
      case Step::find_tail: {
        const auto found = queue_rules::look(me.seen, next.regions[me.number].moved[put], me.number, me.item);
        const auto region = narrow(me.number + 1);
        me = {.step = Step::watching, .role = watch, .has_event = me.has_event};
        if (found == queue_rules::Found::item) me = {.step = Step::done, .role = watch};
        if (found != queue_rules::Found::next_region) return true;
        me.number = region;
        me.step = Step::find_last;
        return true;
      }
      default:
        if (me.has_event == 0) return false;
        me.step = protocol_.watches_armed ? Step::forget_events : Step::announce;
        return true;
    }
  }

  void deliver(World& next, Process& me) {
    if (me.role == get && (next.delivered & bit(me.item)) != 0) return fail("an item is delivered twice");
    if (me.role == get) next.delivered |= bit(me.item);
    const std::uint8_t rounds = narrow(me.rounds - 1);
    me = {.step = rounds == 0 ? Step::done : Step::take, .role = me.role, .rounds = rounds, .side = me.role};
  }

  void kill(const World& world) override {
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
  void recover(const World& world) override {
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


  void check_order(const World& world, std::uint8_t item) {
    const unsigned first = (item - 1U) / setting_.puts * setting_.puts;
    const unsigned later = (1U << (first + setting_.puts)) - (1U << (item - 1U));
    if ((world.moved[get] & later) != 0) fail("an item comes out after a later one, or again");
  }

  /// Whoever could take a lock now finds the counts right.
  void check(const World& world) override {
    for (const std::uint8_t side : {put, get}) {
      if (lock_word::owner(world.locks[side]) != 0 || lock_word::is_abandoned(world.locks[side])) continue;
      if (world.counts[side] != std::popcount(world.moved[side])) fail("a count is wrong");
      for (const Region& region : world.regions)
        if (region.settled[side] != region.moved[side]) fail("room is lost");
    }
  }

  void check_end(const World& end) override {
    World world = end;
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
      if (process.role != put && there != 0) fail("one sleeps for ever beside an item");
    }
    add(world.delivered);
    add(world.vanished);
    if (there != world.moved[put]) fail("an item is lost");
  }

  Protocol protocol_;
  Setting setting_;
};

}  // namespace troupe::queue_model
