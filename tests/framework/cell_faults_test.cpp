// Processes killed at every single instruction of what they do to cells, with others asleep there: after recover_cells
// nothing is lost, and nobody is left behind.

#include <troupe/barrier_cell.hpp>
#include <troupe/cell.hpp>
#include <troupe/condition_cell.hpp>
#include <troupe/event_cell.hpp>
#include <troupe/lock_cell.hpp>
#include <troupe/semaphore_cell.hpp>
#include <troupe/sync_slab.hpp>

#include "../support/forked.hpp"
#include "../support/one_piece.hpp"
#include "../support/processes.hpp"

#include <troupe/file_descriptor.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <memory>
#include <string>
#include <vector>

namespace troupe {
namespace {

using test::Forked;
using test::OnOneProcessor;
using test::patience;
using test::Stepped;

/// A slab with one cell in it, and words of the test's own, which all processes forked from here share.
template <class Cell>
struct Court {
  explicit Court(CellKind kind, std::size_t num_lines = 1) {
    cell->head.kind = kind;
    cell->head.lines = static_cast<std::uint16_t>(num_lines);
  }

  FileDescriptor file = create_memory_file("cells", 2 * slab_bytes);
  Mapping memory{file.get(), 0, 2 * slab_bytes, Mapping::Access::read_write, "cells"};
  Cell* cell = reinterpret_cast<Cell*>(memory.data() + cell_bytes);
  std::atomic<int>* count = reinterpret_cast<std::atomic<int>*>(memory.data() + slab_bytes);

  void recover(pid_t dead) const { recover_cells({memory.data(), slab_bytes}, dead); }
};

Deadline soon() { return std::chrono::steady_clock::now() + patience; }

/// A process that runs `body`, which waits until `soon()`, and is asleep in it when this returns. It fails if nobody
/// wakes it: at its deadline it would see by itself what it waits for.
template <class Body>
std::unique_ptr<Forked> asleep(Body body) {
  auto process = std::make_unique<Forked>([&] {
    const Deadline latest = soon();
    body();
    EXPECT_FALSE(is_over(latest)) << "nobody woke it";
  });
  EXPECT_TRUE(test::wait_for_state(process->pid(), 'S'));
  return process;
}

/// Has a process do `act` and kills it after 0, 1, 2 ... instructions (after the first 150 every second, and so on),
/// until it gets to the end. Each time with a court of its own: `before(court, victim's pid)`, some instructions, kill,
/// `after(court, victim's pid, was it done)`.
template <class MakeCourt, class Before, class Act, class After>
void kill_everywhere(MakeCourt make_court, Before before, Act act, After after) {
  const OnOneProcessor quick;
  const int stride = test::sanitized ? 17 : 1;
  bool is_done = false;
  for (int steps = 0; !is_done && !testing::Test::HasFailure(); steps += stride + steps / 150) {
    SCOPED_TRACE("killed after " + std::to_string(steps) + " instructions");
    auto court = make_court();
    Stepped victim{[&] {
      act(court);
      Stepped::end_of_steps();
    }};
    if (!victim.is_traced()) GTEST_SKIP() << "processes may not be traced here";
    const pid_t pid = victim.pid();
    before(court, pid);
    for (int i = 0; i < steps && !is_done; ++i) is_done = !victim.step();
    victim.kill(SIGKILL);
    EXPECT_EQ(victim.wait(), -SIGKILL);
    after(court, pid, is_done);
  }
}

Court<LockCell> lock_court() { return Court<LockCell>{CellKind::lock}; }
Court<LockCell> recursive_court() { return Court<LockCell>{CellKind::recursive_lock}; }

TEST(LockCellFaults, TakenByAKilledProcessIsFreeForTheNext) {
  kill_everywhere(
      lock_court, [](auto&, pid_t) {}, [](auto& court) { court.cell->state.take(own_pid(), no_deadline); },
      [](auto& court, pid_t dead, bool is_done) {
        const bool held = lock_word::owner(court.cell->state.word) == static_cast<std::uint32_t>(dead);
        EXPECT_TRUE(held || !is_done);
        court.recover(dead);
        EXPECT_TRUE(court.cell->state.try_take(own_pid()));
        EXPECT_EQ(court.cell->state.is_abandoned(), held);
        EXPECT_TRUE(court.cell->state.give());
        EXPECT_FALSE(court.cell->state.is_abandoned());
      });
}

TEST(LockCellFaults, GivenBackByAKilledProcessWakesWhoWaits) {
  std::unique_ptr<Forked> waiter;
  kill_everywhere(
      lock_court,
      [&](auto& court, pid_t victim) {
        court.cell->state.word = static_cast<std::uint32_t>(victim);
        waiter = asleep([&] {
          EXPECT_TRUE(court.cell->state.take(own_pid(), soon()));
          EXPECT_TRUE(court.cell->state.give());
        });
      },
      [](auto& court) { court.cell->state.give(); },
      [&](auto& court, pid_t dead, bool) {
        court.recover(dead);
        EXPECT_EQ(waiter->wait(), 0);
        EXPECT_TRUE(court.cell->state.try_take(own_pid()));
      });
}

TEST(LockCellFaults, ARecursiveOneIsFreeWhateverItsDepth) {
  kill_everywhere(
      recursive_court, [](auto&, pid_t) {},
      [](auto& court) {
        for (int i = 0; i < 3; ++i) court.cell->state.take_recursive(no_deadline);
        for (int i = 0; i < 3; ++i) court.cell->state.give_recursive();
      },
      [](auto& court, pid_t dead, bool) {
        court.recover(dead);
        LockState& state = court.cell->state;
        EXPECT_FALSE(state.give_recursive());
        EXPECT_TRUE(state.try_take_recursive());
        EXPECT_TRUE(state.try_take_recursive());
        EXPECT_TRUE(state.give_recursive());
        EXPECT_TRUE(state.is_own_recursive());
        EXPECT_TRUE(state.give_recursive());
        EXPECT_FALSE(state.give_recursive());
      });
}

TEST(SemaphoreCellFaults, APermitGivenByAKilledProcessReachesWhoWaits) {
  std::unique_ptr<Forked> waiter;
  kill_everywhere(
      [] {
        Court<SemaphoreCell> court{CellKind::semaphore};
        court.cell->bound = 100;
        return court;
      },
      [&](auto& court, pid_t) {
        waiter = asleep([&] { EXPECT_TRUE(court.cell->take(soon())); });
      },
      [](auto& court) { court.cell->give(); },
      [&](auto& court, pid_t dead, bool is_done) {
        // If the victim gave the permit, which began another turn, the waiter gets it without another.
        const bool was_given = court.cell->word >= semaphore_word::turn;
        EXPECT_TRUE(was_given || !is_done);
        court.recover(dead);
        if (!was_given) {
          EXPECT_TRUE(court.cell->give());
        }
        EXPECT_EQ(waiter->wait(), 0);
        EXPECT_EQ(court.cell->value(), 0U);
      });
}

constexpr std::size_t robust_lines = 2;

Court<RobustSemaphoreCell> robust_court() {
  Court<RobustSemaphoreCell> court{CellKind::robust_semaphore, robust_lines};
  court.cell->bound = 100;
  court.cell->total = 1;
  return court;
}

TEST(SemaphoreCellFaults, TheOnlyPermitOfARobustOneComesBackAndWakesWhoWaits) {
  std::unique_ptr<Forked> waiter;
  kill_everywhere(
      robust_court,
      [&](auto& court, pid_t victim) {
        SlotTable{court.cell->head}[0] = (static_cast<std::uint64_t>(victim) << 32U) + 1;
        waiter = asleep([&] {
          EXPECT_EQ(court.cell->take(soon()), RobustSemaphoreCell::Outcome::done);
          EXPECT_EQ(court.cell->give(), RobustSemaphoreCell::Outcome::done);
        });
      },
      [](auto& court) { court.cell->give(); },
      [&](auto& court, pid_t dead, bool) {
        court.recover(dead);
        EXPECT_EQ(waiter->wait(), 0);
        EXPECT_EQ(court.cell->value(), 1U);
      });
}

TEST(SemaphoreCellFaults, APermitTakenByAKilledProcessIsThereAgain) {
  kill_everywhere(
      robust_court, [](auto&, pid_t) {}, [](auto& court) { court.cell->take(at_once); },
      [](auto& court, pid_t dead, bool is_done) {
        if (is_done) {
          EXPECT_EQ(court.cell->value(), 0U);
        }
        court.recover(dead);
        EXPECT_EQ(court.cell->value(), 1U);
      });
}

TEST(EventCellFaults, SetByAKilledProcessWakesWhoWaits) {
  std::unique_ptr<Forked> waiter;
  kill_everywhere([] { return Court<EventCell>{CellKind::event}; },
                  [&](auto& court, pid_t) { waiter = asleep([&] { EXPECT_TRUE(court.cell->wait(soon())); }); },
                  [](auto& court) { court.cell->set(); },
                  [&](auto& court, pid_t dead, bool) {
                    const bool was_set = court.cell->is_set();
                    court.recover(dead);
                    if (!was_set) court.cell->set();
                    EXPECT_EQ(waiter->wait(), 0);
                  });
}

Court<ConditionCell> condition_court() { return Court<ConditionCell>{CellKind::condition, 3}; }

/// A process that waits in the condition; the exit status tells that it was notified.
std::unique_ptr<Forked> condition_waiter(Court<ConditionCell>& court) {
  return asleep([&] {
    const auto slot = court.cell->enter();
    if (!slot || !court.cell->wait(*slot, soon())) ::_exit(2);
    ++*court.count;
  });
}

TEST(ConditionCellFaults, ANotifierThatIsKilledHasWokenOneOrNone) {
  std::vector<std::unique_ptr<Forked>> waiters;
  kill_everywhere(
      condition_court,
      [&](auto& court, pid_t) {
        waiters.clear();
        for (int i = 0; i < 2; ++i) waiters.push_back(condition_waiter(court));
      },
      // The answer is not waited for: a process that sleeps cannot be stepped.
      [](auto& court) {
        std::atomic<std::uint64_t>& slot = SlotTable{court.cell->head}[0];
        std::uint64_t seen = slot;
        slot.compare_exchange_strong(seen, (seen & ~(std::uint64_t{1} << 28U)) | (std::uint64_t{1} << 29U));
        futex_wake(low_half(slot), 1);
      },
      [&](auto& court, pid_t dead, bool is_done) {
        court.recover(dead);
        court.cell->notify(is_done ? 1 : 2);
        for (const auto& waiter : waiters) EXPECT_EQ(waiter->wait(), 0);
        EXPECT_EQ(*court.count, 2);
      });
}

TEST(ConditionCellFaults, TheTurnOfANotifiedProcessThatIsKilledGoesToTheNext) {
  std::unique_ptr<Forked> next;
  kill_everywhere(
      condition_court,
      [&](auto& court, pid_t victim) {
        SlotTable{court.cell->head}[0] = static_cast<std::uint32_t>(victim) | (std::uint64_t{1} << 29U);
        next = condition_waiter(court);
      },
      [](auto& court) { court.cell->wait(0, no_deadline); },
      [&](auto& court, pid_t dead, bool) {
        const bool was_taken = SlotTable{court.cell->head}[0] == 0;
        court.recover(dead);
        if (was_taken) court.cell->notify(1);
        EXPECT_EQ(next->wait(), 0);
        court.cell->notify(5);  // does not wait for one who is dead
      });
}

TEST(ConditionCellFaults, AWaiterThatIsKilledTakesNoNotification) {
  std::unique_ptr<Forked> next;
  kill_everywhere(
      condition_court, [](auto&, pid_t) {},
      [](auto& court) {
        const auto slot = court.cell->enter();
        court.cell->wait(*slot, std::chrono::steady_clock::time_point{});
      },
      [&](auto& court, pid_t dead, bool) {
        court.recover(dead);
        next = condition_waiter(court);
        court.cell->notify(1);
        EXPECT_EQ(next->wait(), 0);
      });
}

Court<BarrierCell> barrier_court() {
  Court<BarrierCell> court{CellKind::barrier, BarrierCell::lines_for(3)};
  court.cell->parties = 3;
  return court;
}

/// A party that waits; `count` tells how many have passed.
std::unique_ptr<Forked> barrier_party(Court<BarrierCell>& court) {
  return asleep([&] {
    court.cell->lock.take_recursive(no_deadline);
    const auto slot = court.cell->arrive();
    court.cell->lock.give_recursive();
    const auto outcome = court.cell->wait(slot.value(), 0, soon());
    if (!outcome) ::_exit(2);
    if (*outcome == BarrierCell::Outcome::passed) ++*court.count;
  });
}

TEST(BarrierCellFaults, WhenTheLastToComeIsKilledAllPassOrNone) {
  std::vector<std::unique_ptr<Forked>> parties;
  int num_passed = 0;
  kill_everywhere(
      barrier_court,
      [&](auto& court, pid_t) {
        parties.clear();
        for (int i = 0; i < 2; ++i) parties.push_back(barrier_party(court));
      },
      [](auto& court) {
        court.cell->lock.take_recursive(no_deadline);
        court.cell->trip();
        court.cell->lock.give_recursive();
      },
      [&](auto& court, pid_t dead, bool is_done) {
        court.recover(dead);
        // Killed before it came: the others still wait.
        if (court.cell->num_waiting() == 2) court.cell->abort();
        for (const auto& party : parties) EXPECT_EQ(party->wait(), 0);
        EXPECT_TRUE(*court.count == 0 || *court.count == 2);
        EXPECT_TRUE(*court.count == 2 || !is_done);
        num_passed += *court.count;
      });
  EXPECT_GT(num_passed, 0);
}

TEST(BarrierCellFaults, WhoIsKilledWhileItWaitsBreaksIt) {
  std::unique_ptr<Forked> party;
  kill_everywhere(
      barrier_court, [&](auto& court, pid_t) { party = barrier_party(court); },
      [](auto& court) {
        court.cell->lock.take_recursive(no_deadline);
        court.cell->arrive();
        court.cell->lock.give_recursive();
      },
      [&](auto& court, pid_t dead, bool is_done) {
        const bool was_arriving = lock_word::owner(court.cell->lock.word) == static_cast<std::uint32_t>(dead);
        court.recover(dead);
        EXPECT_TRUE(court.cell->is_broken() || !(is_done || was_arriving));
        if (!court.cell->is_broken()) court.cell->abort();
        EXPECT_EQ(party->wait(), 0);
        EXPECT_EQ(*court.count, 0);
        EXPECT_TRUE(court.cell->lock.try_take_recursive());
        court.cell->reset();
        EXPECT_FALSE(court.cell->is_broken());
        EXPECT_EQ(court.cell->num_waiting(), 0U);
      });
}

// Nothing that a hostile process writes into a slab keeps the recovery from its end, or leads it out of the slab.
TEST(CellRecovery, SurvivesNonsense) {
  Court<LockCell> court{CellKind::lock};
  std::uint64_t random = 1;
  for (int round = 0; round < test::rounds(300); ++round) {
    auto* words = reinterpret_cast<std::uint64_t*>(court.memory.data());
    for (std::size_t i = 0; i < slab_bytes / sizeof(std::uint64_t); ++i) {
      random = random * 6364136223846793005U + 1442695040888963407U;
      words[i] = random >> (random % 7 * 8);
    }
    for (std::size_t i = 1; i < slab_bytes / cell_bytes; ++i) {
      auto& head = *reinterpret_cast<CellHead*>(court.memory.data() + i * cell_bytes);
      head.kind = static_cast<CellKind>(static_cast<unsigned>(round + static_cast<int>(i)) % 12);
    }
    court.recover(round);
  }
}

}  // namespace
}  // namespace troupe
