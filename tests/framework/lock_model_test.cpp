// Every order in which the steps of a lock's protocol can happen, for a few processes, with a kill at every step. The
// words are changed by the functions of lock_word that the lock itself uses; the steps around them are those of
// LockState. Also tried on protocols that are broken on purpose, to see that the search finds it.

#include <troupe/lock_cell.hpp>

#include "model_search.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace troupe {
namespace {

/// What is changed to break it.
struct Protocol {
  bool marks_stay = true;      ///< the mark of waiters stays when the lock is given back
  bool has_turns = true;       ///< giving back with waiters begins another turn
  bool recovery_frees = true;  ///< what a dead process held is given back
  bool recovery_wakes = true;  ///< a free lock with waiters gets a wake-up at each death
};

enum class Step : std::uint8_t {
  load,    ///< look at the word
  decide,  ///< take it, or mark it
  sleep,   ///< in the kernel: still the same word?
  asleep,
  inside,  ///< holds the lock
  free,    ///< give it back
  wake,    ///< in the kernel: somebody asleep?
  settle,  ///< nobody was: take the mark away
  done,
  dead,
};

struct Process {
  Step step = Step::load;
  std::uint8_t rounds = 0;  // still to go
  std::uint16_t unused = 0;
  std::uint32_t unused_too = 0;
  std::uint64_t seen = 0;
};

enum class Recovery : std::uint64_t { idle, load, wake };

constexpr std::size_t most_processes = 4;

/// One state of everything; compared and hashed by its bytes.
struct World {
  std::uint64_t word = 0;
  std::array<Process, most_processes> processes;
  Recovery recovery = Recovery::idle;
  std::uint64_t recovered = 0;  // bit for each dead process that the recovery was run for
  std::uint64_t recovering = 0;
  std::uint64_t kills_left = 0;
};

class Search : public troupe::test::ModelSearch<World> {
 public:
  Search(Protocol protocol, std::size_t num_processes, std::uint8_t rounds, std::uint64_t kills)
      : protocol_(protocol) {
    num_processes_ = num_processes;
    World first;
    first.kills_left = kills;
    for (std::size_t i = 0; i < most_processes; ++i) {
      if (i < num_processes) {
        first.processes[i].rounds = rounds;
      } else {
        first.processes[i].step = Step::done;
      }
    }
    reach(first);
  }

 private:
  static std::uint32_t pid(std::size_t index) { return static_cast<std::uint32_t>(index + 1); }

  std::uint64_t freed(std::uint64_t word) const {
    std::uint64_t result = lock_word::freed(word);
    if (!protocol_.has_turns) result &= lock_word::turn - 1;
    if (!protocol_.marks_stay) result &= ~lock_word::waiters;
    return result;
  }

  static void end_round(Process& process) {
    process.step = --process.rounds == 0 ? Step::done : Step::load;
    process.seen = 0;
  }

  void move(const World& world, std::size_t index) override {
    World next = world;
    Process& me = next.processes[index];
    switch (me.step) {
      case Step::load:
        me.seen = next.word;
        me.step = Step::decide;
        break;
      case Step::decide: decide(next, me, index); break;
      case Step::sleep:
        me.step = low_half(next.word) == low_half(me.seen) ? Step::asleep : Step::load;
        me.seen = 0;
        break;
      case Step::inside:
        me.seen = next.word;
        me.step = Step::free;
        break;
      case Step::free: give(next, me); break;
      case Step::wake: return wake(world, index);
      case Step::settle:
        if (next.word == me.seen) next.word = lock_word::settled(me.seen);
        end_round(me);
        break;
      case Step::asleep:
      case Step::done:
      case Step::dead: return;
    }
    reach(next);
  }

  static void decide(World& next, Process& me, std::size_t index) {
    if (next.word != me.seen) {  // each of the two compare-and-swaps would fail, and has seen the new word
      me.seen = next.word;
    } else if (lock_word::owner(me.seen) == 0) {
      next.word = lock_word::taken(me.seen, pid(index));
      me.step = Step::inside;
      me.seen = 0;
    } else {
      next.word = me.seen = me.seen | lock_word::waiters;
      me.step = Step::sleep;
    }
  }

  void give(World& next, Process& me) const {
    if (next.word != me.seen) {
      me.seen = next.word;
      return;
    }
    const bool wakes = lock_word::has_waiters(me.seen);
    next.word = freed(me.seen);
    if (!wakes) return end_round(me);
    me.seen = next.word;
    me.step = Step::wake;
  }

  /// One move for each sleeper that the kernel may choose. `index`: who wakes; num_processes_: the recovery.
  void wake(const World& world, std::size_t index) {
    bool has_woken = false;
    for (std::size_t i = 0; i < num_processes_; ++i) {
      if (world.processes[i].step != Step::asleep) continue;
      World next = world;
      next.processes[i].step = Step::load;
      if (index == num_processes_) {
        next.recovery = Recovery::idle;
      } else {
        end_round(next.processes[index]);
      }
      has_woken = true;
      reach(next);
    }
    if (has_woken) return;
    World next = world;
    if (index == num_processes_) {
      next.recovery = Recovery::idle;
    } else {
      next.processes[index].step = Step::settle;
    }
    reach(next);
  }

  void kill(const World& world) override {
    if (world.kills_left == 0) return;
    for (std::size_t i = 0; i < num_processes_; ++i) {
      if (world.processes[i].step == Step::done || world.processes[i].step == Step::dead) continue;
      World next = world;
      --next.kills_left;
      next.processes[i] = Process{.step = Step::dead};
      reach(next);
    }
  }

  /// The nursery goes through the dead one by one, some time after their end.
  void recover(const World& world) override {
    if (world.recovery == Recovery::wake) return wake(world, num_processes_);
    if (world.recovery == Recovery::load) {
      World next = world;
      next.recovery = Recovery::idle;
      if (protocol_.recovery_frees && lock_word::owner(next.word) == next.recovering)
        next.word = lock_word::left_behind(next.word);
      if (protocol_.recovery_wakes && lock_word::owner(next.word) == 0 && lock_word::has_waiters(next.word))
        next.recovery = Recovery::wake;
      return reach(next);
    }
    for (std::size_t i = 0; i < num_processes_; ++i) {
      if (world.processes[i].step != Step::dead || (world.recovered >> i & 1U) != 0) continue;
      World next = world;
      next.recovered |= std::uint64_t{1} << i;
      next.recovering = pid(i);
      next.recovery = Recovery::load;
      reach(next);
    }
  }

  void check(const World& world) override {
    std::size_t num_inside = 0;
    for (std::size_t i = 0; i < num_processes_; ++i) {
      const Step step = world.processes[i].step;
      if (step != Step::inside && step != Step::free) continue;
      ++num_inside;
      if (lock_word::owner(world.word) != pid(i)) fail("one is inside and the word says otherwise");
    }
    if (num_inside > 1) fail("two are inside");
  }

  void check_end(const World& world) override {
    for (std::size_t i = 0; i < num_processes_; ++i) {
      const Step step = world.processes[i].step;
      if (step != Step::done && step != Step::dead) fail("one sleeps for ever");
    }
    if (lock_word::owner(world.word) != 0) fail("nobody is left and the lock is held");
  }

  Protocol protocol_;
};

TEST(LockModel, TwoProcessesThatAreKilledAnywhereLeaveNobodyBehind) {
  Search search{Protocol{}, 2, 4, 2};
  EXPECT_EQ(search.run(), "");
  EXPECT_GT(search.num_states(), 1000U);
}

TEST(LockModel, ThreeProcessesOfWhichOneIsKilledAnywhereLeaveNobodyBehind) {
  Search search{Protocol{}, 3, 2, 1};
  EXPECT_EQ(search.run(), "");
  EXPECT_GT(search.num_states(), 10'000U);
}

TEST(LockModel, ThreeProcessesOfWhichTwoAreKilledAnywhereLeaveNobodyBehind) {
  Search search{Protocol{}, 3, 2, 2};
  EXPECT_EQ(search.run(), "");
}

TEST(LockModel, FourProcessesOfWhichOneIsKilledAnywhereLeaveNobodyBehind) {
  Search search{Protocol{}, 4, 1, 1};
  EXPECT_EQ(search.run(), "");
}

TEST(LockModel, TheSearchFindsALockThatStaysHeld) {
  EXPECT_NE(Search(Protocol{.recovery_frees = false}, 2, 1, 1).run(), "");
}

TEST(LockModel, TheSearchFindsAWakeUpThatDiesWithItsSender) {
  EXPECT_EQ(Search(Protocol{.recovery_wakes = false}, 2, 2, 1).run(), "one sleeps for ever");
  EXPECT_EQ(Search(Protocol{.marks_stay = false}, 3, 2, 1).run(), "one sleeps for ever");
}

// Without turns a mark can be taken away that belongs to a later sleeper.
TEST(LockModel, TheSearchFindsAMarkThatIsTakenFromASleeper) {
  EXPECT_EQ(Search(Protocol{.has_turns = false}, 4, 1, 0).run(), "one sleeps for ever");
}

}  // namespace
}  // namespace troupe
