// Processes that are killed, terminated or stopped at random moments while they use locks and the like that others use
// as well. Whatever happens: one holder at a time, no permit lost, nobody left behind.

#include <troupe/barrier.hpp>
#include <troupe/condition.hpp>
#include <troupe/event.hpp>
#include <troupe/lock.hpp>
#include <troupe/process.hpp>
#include <troupe/semaphore.hpp>

#include "support/faults.hpp"
#include "support/forked.hpp"
#include "support/pools.hpp"
#include "support/processes.hpp"
#include "support/sync_flavours.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <iterator>
#include <mutex>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <tuple>
#include <unistd.h>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe;
using test::patience;

constexpr int max_others = 3;
constexpr int victim_place = max_others;  // after those of the others

/// What the processes of a case tell each other. The memory is made before main, so that all of them share it.
struct Board {
  std::atomic<bool> is_over;
  std::atomic<bool> is_victim_there;
  std::atomic<bool> is_victim_doomed;               // it has been, or is about to be, killed
  std::atomic<long> begun;                          // turns that were begun
  std::array<std::atomic<long>, max_others + 1> ended;  // and those that were ended, by place
  std::array<std::atomic<bool>, max_others + 1> waits;  // for the condition; its lock protects it
  std::atomic<int> inside;                          // who is in its turn: a process, or a bit for each place
  std::atomic<int> mistakes;                        // turns that met another
  volatile long counter;                            // counts turns, and only the lock protects it
};
Board& board = test::make_shared_memory<Board>();

/// All that the cases use.
struct Court {
  Lock lock;
  RLock rlock;
  Semaphore permits{2, {.robust = true}};
  Event event;
  Condition condition;
  Barrier barrier{2};

  TROUPE_FIELDS(lock, rlock, permits, event, condition, barrier)
};

/// One turn under a lock that the caller holds.
template <class AnyLock>
void take_turn(const AnyLock& lock, int place) {
  const int before = board.inside.exchange(::getpid());
  if (before != 0 && !lock.abandoned()) ++board.mistakes;
  ++board.begun;
  board.counter = board.counter + 1;
  ++board.ended[static_cast<std::size_t>(place)];
  board.inside = 0;
}

template <class Turn>
void repeat(Turn turn) {
  while (!board.is_over) turn();
}

void end_turn(int place) { ++board.ended[static_cast<std::size_t>(place)]; }

void use_lock(const Court& court, int place) {
  repeat([&] {
    const std::lock_guard guard{court.lock};
    take_turn(court.lock, place);
  });
}

void use_rlock(const Court& court, int place) {
  repeat([&] {
    const std::lock_guard outer{court.rlock};
    const std::lock_guard inner{court.rlock};
    take_turn(court.rlock, place);
  });
}

// A victim that is killed inside does not take its bit away; until the next one comes it does not count.
void use_semaphore(const Court& court, int place) {
  const int self = 1 << place;
  repeat([&] {
    const std::lock_guard guard{court.permits};
    int all = board.inside.fetch_or(self) | self;
    if (board.is_victim_doomed) all &= ~(1 << victim_place);
    if (std::popcount(static_cast<unsigned>(all)) > 2) ++board.mistakes;
    end_turn(place);
    board.inside &= ~self;
  });
}

void set_event(const Court& court, int place) {
  repeat([&] {
    court.event.set();
    end_turn(place);
  });
}

void await_event(const Court& court, int place) {
  repeat([&] {
    court.event.wait();
    court.event.clear();
    end_turn(place);
  });
}

void notify(const Court& court, int place) {
  repeat([&] {
    const std::lock_guard guard{court.condition};
    court.condition.notify();
    end_turn(place);
  });
}

void await_notification(const Court& court, int place) {
  std::atomic<bool>& waits = board.waits[static_cast<std::size_t>(place)];
  for (;;) {
    const std::lock_guard guard{court.condition};
    if (board.is_over) return;
    waits = true;
    court.condition.wait();
    waits = false;
    end_turn(place);
  }
}

void meet(const Court& court, int place) {
  repeat([&] {
    try {
      court.barrier.wait();
      end_turn(place);
    } catch (const BrokenBarrierError&) {
      court.barrier.reset();
    }
  });
}

using Role = void (*)(const Court&, int);

/// What the victims do, and what the others do.
struct Scene {
  std::string name;
  Role victim;
  std::vector<Role> others;
  /// What main does over and over while the victim is there.
  void (*meanwhile)(const Court&) = [](const Court&) {};
  /// What main does, once, after the victim's end: all others then get on. Whether they were ready for it.
  bool (*help)(const Court&) = [](const Court&) { return true; };
  /// What main does, once, for them to see that it is over.
  void (*end)(const Court&) = [](const Court&) {};
};

void set(const Court& court) { court.event.set(); }

/// A set event lets the one who waits go on, who clears it.
bool set_when_cleared(const Court& court) {
  if (!test::comes_true([&] { return !court.event.is_set(); }, patience)) return false;
  court.event.set();
  return true;
}

template <std::size_t num_waiting>
bool notify_as_many(const Court& court) {
  return test::comes_true(
      [&] {
        const std::lock_guard guard{court.condition};
        if (std::count(board.waits.begin(), board.waits.begin() + num_waiting, true) < std::ptrdiff_t{num_waiting})
          return false;
        court.condition.notify(num_waiting);
        return true;
      },
      patience);
}

void notify_all(const Court& court) {
  const std::lock_guard guard{court.condition};
  court.condition.notify_all();
}

/// Takes the victim's place. It was broken if the victim waited in it, until the other has reset it.
bool meet_once(const Court& court) {
  return test::comes_true(
      [&] {
        try {
          court.barrier.wait(patience);
          return true;
        } catch (const BrokenBarrierError&) {
          return false;
        }
      },
      patience);
}

const Scene scenes[] = {
    {.name = "lock", .victim = use_lock, .others = {use_lock, use_lock}},
    {.name = "rlock", .victim = use_rlock, .others = {use_rlock, use_rlock}},
    {.name = "semaphore", .victim = use_semaphore, .others = {use_semaphore, use_semaphore, use_semaphore}},
    {.name = "event_set", .victim = set_event, .others = {await_event}, .help = set_when_cleared, .end = set},
    {.name = "event_wait",
     .victim = await_event,
     .others = {await_event},
     .meanwhile = set,
     .help = set_when_cleared,
     .end = set},
    {.name = "notify",
     .victim = notify,
     .others = {await_notification, await_notification},
     .help = notify_as_many<2>,
     .end = notify_all},
    {.name = "wait",
     .victim = await_notification,
     .others = {await_notification},
     .meanwhile = notify_all,
     .help = notify_as_many<1>,
     .end = notify_all},
    {.name = "barrier",
     .victim = meet,
     .others = {meet},
     .help = meet_once,
     .end = [](const Court& court) { court.barrier.abort(); }},
};

void be_victim(const Court& court, std::size_t scene) {
  board.is_victim_there = true;
  scenes[scene].victim(court, victim_place);
}

class SyncFaults : public testing::TestWithParam<std::tuple<std::size_t, int>> {
 protected:
  void SetUp() override {
    board.is_over = false;
    board.begun = 0;
    for (auto& ended : board.ended) ended = 0;
    for (auto& waits : board.waits) waits = false;
    board.inside = 0;
    board.mistakes = 0;
    board.counter = 0;
  }

  void play_for(std::chrono::nanoseconds time) const {
    const auto end = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < end) scene_.meanwhile(court_);
  }
  /// Whether the victim, stopped and continued, ends a turn.
  bool victim_goes_on() const {
    const long before = board.ended[victim_place];
    return test::comes_true(
        [&] {
          scene_.meanwhile(court_);
          return board.ended[victim_place] > before;
        },
        patience);
  }
  /// Whether each of the others ends a turn.
  bool others_go_on() const {
    std::vector<long> before;
    for (const auto& ended : board.ended) before.push_back(ended);
    if (!scene_.help(court_)) return false;
    for (std::size_t place = 0; place < scene_.others.size(); ++place)
      if (!test::comes_true([&] { return board.ended[place] > before[place]; }, patience)) return false;
    return true;
  }

  const Scene& scene_ = scenes[std::get<0>(GetParam())];
  const Court court_;
};

TEST_P(SyncFaults, LeaveNobodyBehind) {
  const auto [number, signal_number] = GetParam();
  std::vector<Process> others;
  for (const Role other : scene_.others)
    others.emplace_back(ProcessOptions{.daemon = true}, other, court_, static_cast<int>(others.size())).start();
  std::minstd_rand random{static_cast<unsigned>(signal_number)};
  const auto a_moment = [&] { return std::chrono::nanoseconds{random() % 300'000}; };
  for (int round = 0; round < test::rounds(40); ++round) {
    SCOPED_TRACE(round);
    board.is_victim_there = false;
    board.waits[victim_place] = false;
    if (scene_.victim == use_semaphore) board.inside &= ~(1 << victim_place);
    board.is_victim_doomed = false;
    Process victim{ProcessOptions{.daemon = true}, be_victim, court_, number};
    victim.start();
    while (!board.is_victim_there && victim.is_alive()) std::this_thread::yield();
    play_for(a_moment());
    if (signal_number == SIGSTOP) {
      ASSERT_EQ(::kill(*victim.pid(), SIGSTOP), 0);
      ASSERT_TRUE(test::wait_for_state(*victim.pid(), 'T'));
      ASSERT_EQ(::kill(*victim.pid(), SIGCONT), 0);
      ASSERT_TRUE(victim_goes_on());
      play_for(a_moment());
    }
    board.is_victim_doomed = true;
    const int fatal = signal_number == SIGSTOP ? SIGKILL : signal_number;
    ASSERT_EQ(::kill(*victim.pid(), fatal), 0);
    ASSERT_TRUE(victim.join(patience));
    EXPECT_EQ(victim.exitcode(), -fatal);
    ASSERT_TRUE(others_go_on());
  }
  board.is_over = true;
  scene_.end(court_);
  test::expect_all_end(others);
  EXPECT_EQ(board.mistakes, 0);
  if (scene_.victim == use_lock || scene_.victim == use_rlock) {
    EXPECT_GE(board.counter, std::accumulate(board.ended.begin(), board.ended.end(), 0L));
    EXPECT_LE(board.counter, board.begun);
  }
  if (scene_.victim == use_semaphore) {
    EXPECT_EQ(court_.permits.get_value(), 2);
  }
}

INSTANTIATE_TEST_SUITE_P(P, SyncFaults,
                         testing::Combine(testing::Range<std::size_t>(0, std::size(scenes)),
                                          testing::Values(SIGKILL, SIGTERM, SIGSTOP)),
                         [](const auto& scene) {
                           return scenes[std::get<0>(scene.param)].name + "_" + signal_name(std::get<1>(scene.param));
                         });

}  // namespace
