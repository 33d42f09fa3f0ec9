// Processes that are killed, terminated or stopped at random moments while they use locks and the like that others use as
// well. Whatever happens: one holder at a time, no permit lost, nobody left behind.

#include <troupe/barrier.hpp>
#include <troupe/condition.hpp>
#include <troupe/event.hpp>
#include <troupe/lock.hpp>
#include <troupe/process.hpp>
#include <troupe/semaphore.hpp>

#include "support/forked.hpp"
#include "support/processes.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <iterator>
#include <mutex>
#include <random>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <tuple>
#include <unistd.h>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe;
using test::patience;

/// What the processes of a case tell each other. The memory is made before main, so that all of them share it.
struct Board {
  std::atomic<bool> is_over;
  std::atomic<bool> is_victim_there;
  std::atomic<long> begun;   // turns that were begun
  std::atomic<long> ended;   // and those that were ended
  std::atomic<int> inside;   // who is in its turn
  std::atomic<int> mistakes; // turns that met another
  volatile long counter;     // counts turns, and only the lock protects it
};
Board& board =
    *static_cast<Board*>(::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));

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
void take_turn(const AnyLock& lock) {
  const int before = board.inside.exchange(::getpid());
  if (before != 0 && !lock.abandoned()) ++board.mistakes;
  ++board.begun;
  board.counter = board.counter + 1;
  ++board.ended;
  board.inside = 0;
}

template <class Turn>
void repeat(Turn turn) {
  while (!board.is_over) turn();
}

void use_lock(const Court& court) {
  repeat([&] {
    const std::lock_guard guard{court.lock};
    take_turn(court.lock);
  });
}

void use_rlock(const Court& court) {
  repeat([&] {
    const std::lock_guard outer{court.rlock};
    const std::lock_guard inner{court.rlock};
    take_turn(court.rlock);
  });
}

void use_semaphore(const Court& court) {
  repeat([&] {
    const std::lock_guard guard{court.permits};
    ++board.begun;
    ++board.ended;
  });
}

void set_event(const Court& court) {
  repeat([&] {
    ++board.begun;
    court.event.set();
    ++board.ended;
  });
}

void await_event(const Court& court) {
  repeat([&] {
    court.event.wait(patience);
    court.event.clear();
    ++board.ended;
  });
}

void notify(const Court& court) {
  repeat([&] {
    ++board.begun;
    const std::lock_guard guard{court.condition};
    court.condition.notify();
    ++board.ended;
  });
}

void await_notification(const Court& court) {
  repeat([&] {
    const std::lock_guard guard{court.condition};
    ++board.begun;
    if (court.condition.wait(patience)) ++board.ended;
  });
}

void meet(const Court& court) {
  repeat([&] {
    try {
      ++board.begun;
      court.barrier.wait();
      ++board.ended;
    } catch (const BrokenBarrierError&) {
      court.barrier.reset();
    }
  });
}

using Role = void (*)(const Court&);

/// What the victims do, what the others do meanwhile, and how it is brought to an end.
struct Scene {
  std::string name;
  Role victim;
  Role other;
  int num_others;
  void (*end)(const Court&);
};

const Scene scenes[] = {
    {"lock", use_lock, use_lock, 2, [](const Court&) {}},
    {"rlock", use_rlock, use_rlock, 2, [](const Court&) {}},
    {"semaphore", use_semaphore, use_semaphore, 3, [](const Court&) {}},
    {"event_set", set_event, await_event, 2, [](const Court& court) { court.event.set(); }},
    {"event_wait", await_event, set_event, 1, [](const Court& court) { court.event.set(); }},
    {"notify", notify, await_notification, 2,
     [](const Court& court) {
       const std::lock_guard guard{court.condition};
       court.condition.notify_all();
     }},
    {"wait", await_notification, notify, 2,
     [](const Court& court) {
       const std::lock_guard guard{court.condition};
       court.condition.notify_all();
     }},
    {"barrier", meet, meet, 1, [](const Court& court) { court.barrier.abort(); }},
};

void be_victim(const Court& court, std::size_t scene) {
  board.is_victim_there = true;
  scenes[scene].victim(court);
}

class SyncFaults : public testing::TestWithParam<std::tuple<std::size_t, int>> {
 protected:
  void SetUp() override {
    board.is_over = false;
    board.begun = 0;
    board.ended = 0;
    board.inside = 0;
    board.mistakes = 0;
    board.counter = 0;
  }

  /// Whether the others still get on: more turns end than have, within `patience`.
  static bool goes_on(const Scene& scene, const Court& court) {
    const long before = board.ended;
    const auto deadline = std::chrono::steady_clock::now() + patience;
    while (board.ended <= before) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      // Who needs a partner that is not there any more is helped out by the way in which it ends.
      if (scene.num_others == 1 || scene.victim == set_event || scene.victim == notify) scene.end(court);
      if (scene.victim == meet) board.ended += court.barrier.broken() ? 1 : 0;
      ::usleep(100);
    }
    return true;
  }
};

TEST_P(SyncFaults, LeaveNobodyBehind) {
  const auto [number, signal_number] = GetParam();
  const Scene& scene = scenes[number];
  const Court court;
  std::vector<Process> others;
  for (int i = 0; i < scene.num_others; ++i) others.emplace_back(scene.other, court).start();
  std::minstd_rand random{static_cast<unsigned>(signal_number)};
  for (int round = 0; round < test::rounds(60); ++round) {
    SCOPED_TRACE(round);
    board.is_victim_there = false;
    Process victim{ProcessOptions{.daemon = true}, be_victim, court, number};
    victim.start();
    while (!board.is_victim_there && victim.is_alive()) std::this_thread::yield();
    test::busy_pause(random() % 300'000);
    ASSERT_EQ(::kill(*victim.pid(), signal_number), 0);
    if (signal_number == SIGSTOP) {
      ASSERT_TRUE(test::wait_for_state(*victim.pid(), 'T'));
      ::kill(*victim.pid(), SIGCONT);
      test::busy_pause(random() % 300'000);
      victim.kill();
    }
    ASSERT_TRUE(victim.join(patience));
    EXPECT_EQ(*victim.exitcode(), signal_number == SIGSTOP ? -SIGKILL : -signal_number);
    ASSERT_TRUE(goes_on(scene, court));
  }
  board.is_over = true;
  for (const Process& other : others) {
    while (!other.join(1ms)) scene.end(court);
    EXPECT_EQ(other.exitcode(), 0);
  }
  EXPECT_EQ(board.mistakes, 0);
  if (scene.victim == use_lock || scene.victim == use_rlock) {
    EXPECT_GE(board.counter, board.ended);
    EXPECT_LE(board.counter, board.begun);
  }
  if (scene.victim == use_semaphore) {
    EXPECT_EQ(court.permits.get_value(), 2);
  }
}

INSTANTIATE_TEST_SUITE_P(P, SyncFaults,
                         testing::Combine(testing::Range<std::size_t>(0, std::size(scenes)), testing::Values(SIGKILL, SIGTERM, SIGSTOP)),
                         [](const auto& scene) {
                           return scenes[std::get<0>(scene.param)].name + "_" + signal_name(std::get<1>(scene.param));
                         });

}  // namespace
