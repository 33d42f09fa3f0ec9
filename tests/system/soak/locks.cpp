// Lock, RLock, Semaphore: one holder at a time, or as many as there are permits, and whoever comes after a dead one is
// told, once.

#include <troupe/lock.hpp>
#include <troupe/semaphore.hpp>

#include "chamber.hpp"
#include "scenes.hpp"
#include "support/faults.hpp"
#include "support/forked.hpp"
#include "support/processes.hpp"
#include "verdict.hpp"

#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <unistd.h>

namespace troupe::test {

namespace {

using namespace std::chrono_literals;

/// Leaves a lock to others, as who takes it again at once gets it before any that sleeps. Survivors also leave a
/// processor to those that start.
void leave_to_others(bool is_survivor, std::minstd_rand& random) {
  if (is_survivor)
    ::usleep(20);
  else
    busy_pause(random() % 20'000);
}

/// Takes it in one of the ways there are. Survivors wait without a deadline: nothing but being woken helps them.
template <class Lock>
void take(const Lock& lock, bool is_survivor, std::minstd_rand& random) {
  const auto way = is_survivor ? 0 : random() % 4;
  if (way == 0) return lock.lock();
  while (!(way == 1 ? lock.try_lock() : lock.try_lock_for(std::chrono::microseconds{random() % 100}))) continue;
}

template <class Lock>
void use_lock(const Lock& lock, std::size_t place, bool is_survivor) {
  std::minstd_rand random{static_cast<unsigned>(::getpid())};
  Place& mine = board.places[place];
  play(mine, [&] {
    leave_to_others(is_survivor, random);
    take(lock, is_survivor, random);
    chamber.enter(lock.abandoned());
    chamber.leave();
    lock.unlock();
  });
}

void use_rlock(const RLock& lock, std::size_t place, bool is_survivor) {
  std::minstd_rand random{static_cast<unsigned>(::getpid())};
  play(board.places[place], [&] {
    leave_to_others(is_survivor, random);
    const auto depth = 1 + random() % 3;
    take(lock, is_survivor, random);
    chamber.enter(lock.abandoned());
    for (auto i = depth; i > 1; --i) lock.lock();
    for (auto i = depth; i > 1; --i) lock.unlock();
    chamber.leave();
    lock.unlock();
  });
}

template <class Lock, void (*Use)(const Lock&, std::size_t, bool)>
class LockScene : public Scene {
 public:
  LockScene() { chamber.reset(); }
  std::size_t num_survivors() const override { return 2; }
  std::size_t num_victims() const override { return 2; }
  Process make(std::size_t place) override { return Process{Use, lock_, place, place < num_survivors()}; }
  bool died(std::size_t /*place*/) override { return chamber.count_death(); }
  void check() override {
    chamber.check();
    require(lock_.try_lock(), "a lock is held by nobody");
    chamber.enter(lock_.abandoned());
    chamber.leave();
    lock_.unlock();
  }

 private:
  Lock lock_;
};

// --- Semaphores ---

constexpr int num_permits = 2;

/// Who has a permit.
struct Holders {
  std::atomic<std::uint32_t> mask;  ///< a bit for each place
  std::array<std::atomic<pid_t>, max_places> pids;
};
Holders& holders = make_shared_memory<Holders>();

/// Called with a permit; `pids` is who was there before it was taken.
void check_holders(std::uint32_t mask, const std::array<pid_t, max_places>& pids) {
  if (std::popcount(mask) <= num_permits) return;
  // The bit of a dead process stays for a moment. Whose process is the same as before, and lives, has its permit.
  int num_alive = 0;
  for (std::size_t place = 0; place < max_places; ++place)
    if ((mask >> place & 1U) != 0 && pids[place] == holders.pids[place] && is_running(pids[place])) ++num_alive;
  if (num_alive > num_permits) complain("semaphore: " + std::to_string(num_alive) + " have a permit of " +
                                        std::to_string(num_permits));
}

void use_semaphore(const BoundedSemaphore& permits, std::size_t place, bool is_survivor) {
  std::minstd_rand random{static_cast<unsigned>(::getpid())};
  const std::uint32_t bit = 1U << place;
  holders.pids[place] = ::getpid();
  play(board.places[place], [&] {
    leave_to_others(is_survivor, random);
    std::array<pid_t, max_places> pids{};
    for (std::size_t i = 0; i < max_places; ++i) pids[i] = holders.pids[i];
    take(permits, is_survivor, random);
    check_holders(holders.mask.fetch_or(bit) | bit, pids);
    holders.mask.fetch_and(~bit);
    permits.unlock();
  });
}

class SemaphoreScene : public Scene {
 public:
  SemaphoreScene() { new (&holders) Holders{}; }
  std::size_t num_survivors() const override { return 2; }
  std::size_t num_victims() const override { return 2; }
  Process make(std::size_t place) override {
    return Process{use_semaphore, permits_, place, place < num_survivors()};
  }
  bool died(std::size_t place) override {
    holders.mask.fetch_and(~(1U << place));
    return true;
  }
  void check() override {
    require(permits_.get_value() == num_permits, "semaphore: " + std::to_string(permits_.get_value()) + " permits of " +
                                                     std::to_string(num_permits) + " are left");
    require(holders.mask == 0, "semaphore: somebody has left without giving a permit back");
  }

 private:
  BoundedSemaphore permits_{num_permits, {.robust = true}};
};

}  // namespace

std::vector<NamedScene> lock_scenes() {
  return {{"lock", [] { return std::unique_ptr<Scene>{new LockScene<Lock, use_lock<Lock>>}; }},
          {"rlock", [] { return std::unique_ptr<Scene>{new LockScene<RLock, use_rlock>}; }},
          {"semaphore", [] { return std::unique_ptr<Scene>{new SemaphoreScene}; }}};
}

}  // namespace troupe::test
