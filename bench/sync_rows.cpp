#include "sync_rows.hpp"

#include <troupe/barrier.hpp>
#include <troupe/event.hpp>
#include <troupe/lock.hpp>
#include <troupe/process.hpp>
#include <troupe/semaphore.hpp>

#include "figure.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <sys/mman.h>

namespace bench {

namespace {

constexpr std::size_t num_batches = 5;

template <class Lock>
double pair_nanoseconds(const Lock& lock) {
  constexpr int count = 1'000'000;
  return 1e9 / count * median_seconds(num_batches, [&] {
           for (int i = 0; i < count; ++i) {
             lock.acquire();
             lock.release();
           }
         });
}

/// A counter that only the lock protects. The memory is made before main, so that all processes share it.
struct Contest {
  volatile long counter;
  double begin[2];  // seconds of the clock that all processes share
  double end[2];
};
Contest& contest = *static_cast<Contest*>(
    ::mmap(nullptr, sizeof(Contest), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

void count_up(const troupe::Lock& lock, const troupe::Barrier& start, int count) {
  const int place = start.wait();
  contest.begin[place] = now();
  for (int i = 0; i < count; ++i) {
    lock.acquire();
    contest.counter = contest.counter + 1;
    lock.release();
  }
  contest.end[place] = now();
}

void wake(const troupe::Semaphore& semaphore) { semaphore.release(); }
void wait(const troupe::Semaphore& semaphore) { semaphore.acquire(); }

void wake(const troupe::Event& event) { event.set(); }
void wait(const troupe::Event& event) {
  event.wait();
  event.clear();
}

/// Two processes wake each other in turn.
template <class Sync>
double wake_microseconds(const Sync& ping, const Sync& pong) {
  constexpr int count = 2'000;
  troupe::Process other{[](const Sync& in, const Sync& out, std::size_t rounds) {
                          for (std::size_t i = 0; i < rounds; ++i) {
                            wait(in);
                            wake(out);
                          }
                        },
                        ping, pong, count * (num_batches + 1)};
  other.start();
  const double seconds = median_seconds(num_batches, [&] {
    for (int i = 0; i < count; ++i) {
      wake(ping);
      wait(pong);
    }
  });
  other.join();
  return seconds / count * 1e6;
}

}  // namespace

double lock_uncontended() { return pair_nanoseconds(troupe::Lock{}); }

double semaphore_uncontended() { return pair_nanoseconds(troupe::Semaphore{1}); }

double lock_contended() {
  constexpr int count = 5'000'000;
  const troupe::Lock lock;
  const troupe::Barrier start{2};
  contest.counter = 0;
  troupe::Process one{count_up, lock, start, count};
  troupe::Process other{count_up, lock, start, count};
  one.start();
  other.start();
  one.join();
  other.join();
  expect(contest.counter == 2L * count, "what the lock protects");
  return 2 * count / (std::max(contest.end[0], contest.end[1]) - std::min(contest.begin[0], contest.begin[1]));
}

double semaphore_wake() { return wake_microseconds(troupe::Semaphore{0}, troupe::Semaphore{0}); }

double event_wake() { return wake_microseconds(troupe::Event{}, troupe::Event{}); }

double barrier_2() {
  constexpr int count = 2'000;
  const troupe::Barrier barrier{2};
  troupe::Process other{[](const troupe::Barrier& meeting, std::size_t rounds) {
                          for (std::size_t i = 0; i < rounds; ++i) meeting.wait();
                        },
                        barrier, count * (num_batches + 1)};
  other.start();
  const double seconds = median_seconds(num_batches, [&] {
    for (int i = 0; i < count; ++i) barrier.wait();
  });
  other.join();
  return seconds / count * 1e6;
}

}  // namespace bench
