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
    busy_pause(random() % 5'000);
}

/// Takes it in one of the ways there are. Survivors wait without a deadline: nothing but being woken helps them.
template <class Lock>
void take(const Lock& lock, bool is_survivor, std::minstd_rand& random) {
  const auto way = is_survivor ? 0 : random() % 4;
  if (way == 0) return lock.lock();
  while (!(way == 1 ? lock.try_lock() : lock.try_lock_for(std::chrono::microseconds{random() % 100}))) continue;
}

/// Of all these: its steps follow each other without a gap.
const Part user{"user", {Step::acquire, Step::hold, Step::release}};

/// Stays for a moment with what was taken. A survivor is quick, so that others get on.
void keep(bool is_survivor, std::minstd_rand& random) {
  if (!is_survivor) busy_pause(random() % 2'000);
}

template <class Lock>
void use_lock(const Lock& lock, std::size_t place, bool is_survivor) {
  std::minstd_rand random{static_cast<unsigned>(::getpid())};
  Place& mine = board.places[place];
  play(mine, [&] {
    leave_to_others(is_survivor, random);
    mine.step = Step::acquire;
    take(lock, is_survivor, random);
    mine.step = Step::hold;
    chamber.enter(lock.abandoned());
    keep(is_survivor, random);
    chamber.leave();
    mine.step = Step::release;
    lock.unlock();
    mine.step = Step::none;
  });
}

void use_rlock(const RLock& lock, std::size_t place, bool is_survivor) {
  std::minstd_rand random{static_cast<unsigned>(::getpid())};
  Place& mine = board.places[place];
  play(mine, [&] {
    leave_to_others(is_survivor, random);
    const auto depth = 1 + random() % 3;
    mine.step = Step::acquire;
    take(lock, is_survivor, random);
    mine.step = Step::hold;
    chamber.enter(lock.abandoned());
    for (auto i = depth; i > 1; --i) lock.lock();
    keep(is_survivor, random);
    for (auto i = depth; i > 1; --i) lock.unlock();
    keep(is_survivor, random);
    chamber.leave();
    mine.step = Step::release;
    lock.unlock();
    mine.step = Step::none;
  });
}

template <class Lock, void (*Use)(const Lock&, std::size_t, bool)>
class LockScene : public Scene {
 public:
  LockScene() { chamber.reset(); }
  std::size_t num_survivors() const override { return 2; }
  std::size_t num_victims() const override { return 2; }
  Process make(std::size_t place) override { return Process{Use, lock_, place, place < num_survivors()}; }
  const Part& part(std::size_t /*place*/) const override { return user; }
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

constexpr int num_permits = 3;

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
  Place& mine = board.places[place];
  holders.pids[place] = ::getpid();
  play(mine, [&] {
    leave_to_others(is_survivor, random);
    std::array<pid_t, max_places> pids{};
    for (std::size_t i = 0; i < max_places; ++i) pids[i] = holders.pids[i];
    mine.step = Step::acquire;
    take(permits, is_survivor, random);
    mine.step = Step::hold;
    check_holders(holders.mask.fetch_or(bit) | bit, pids);
    keep(is_survivor, random);
    holders.mask.fetch_and(~bit);
    mine.step = Step::release;
    permits.unlock();
    mine.step = Step::none;
  });
}

/// A robust one gets back what dies with a process. Of the other one the main process gives back what is missing in a
/// calm, and that has to be what the dead have had.
template <bool is_robust>
class SemaphoreScene : public Scene {
 public:
  SemaphoreScene() { new (&holders) Holders{}; }
  std::size_t num_survivors() const override { return 2; }
  std::size_t num_victims() const override { return 3; }
  Process make(std::size_t place) override {
    return Process{use_semaphore, permits_, place, place < num_survivors()};
  }
  const Part& part(std::size_t /*place*/) const override { return user; }
  bool died(std::size_t place) override {
    holders.mask.fetch_and(~(1U << place));
    if (is_robust) return true;
    const Step step = board.places[place].step;
    num_lost_ += step == Step::hold ? 1 : 0;
    num_doubtful_ += step == Step::acquire || step == Step::release ? 1 : 0;
    return true;
  }
  // Somebody has to get on until then.
  bool wants_calm() const override { return num_lost_ + num_doubtful_ == num_permits - 1; }
  void check() override {
    const int left = permits_.get_value();
    require(left <= num_permits - num_lost_ && left >= num_permits - num_lost_ - num_doubtful_,
            "semaphore: " + std::to_string(left) + " permits of " + std::to_string(num_permits) +
                " are left, with the dead are " + std::to_string(num_lost_) + " to " +
                std::to_string(num_lost_ + num_doubtful_));
    for (int i = left; i < num_permits; ++i) permits_.release();
    num_lost_ = 0;
    num_doubtful_ = 0;
    require(holders.mask == 0, "semaphore: somebody has left without giving a permit back");
  }

 private:
  BoundedSemaphore permits_{num_permits, {.robust = is_robust}};
  int num_lost_ = 0;      // with the dead, since the last calm
  int num_doubtful_ = 0;  // those who died while they took or gave one
};

}  // namespace

std::vector<NamedScene> lock_scenes() {
  return {{"lock", [] { return std::unique_ptr<Scene>{new LockScene<Lock, use_lock<Lock>>}; }},
          {"rlock", [] { return std::unique_ptr<Scene>{new LockScene<RLock, use_rlock>}; }},
          {"semaphore", [] { return std::unique_ptr<Scene>{new SemaphoreScene<false>}; }},
          {"robust_semaphore", [] { return std::unique_ptr<Scene>{new SemaphoreScene<true>}; }}};
}

}  // namespace troupe::test
