// A pool under constant load while its workers are killed at random. Every result is checked, every task is counted in
// memory that all processes share, and in the end nothing may have grown.
// Usage: pool_soak [--minutes M] [--kills N] [--workers N] [--gap-us MEAN] [--seed N]
//
//   2 submitters ── apply_async, map, imap_unordered ──► pool of workers ◄── SIGKILL ── killer
//        └ expected counts ── compared with ── ledger (shared) ◄── begun, ended ──┘

#include <troupe/error.hpp>
#include <troupe/pool.hpp>
#include <troupe/runtime.hpp>

#include "soak/deaths.hpp"
#include "soak/footprint.hpp"
#include "soak/options.hpp"
#include "soak/verdict.hpp"
#include "support/faults.hpp"
#include "support/pools.hpp"
#include "support/processes.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <sys/types.h>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using troupe::AsyncResult;
using troupe::Pool;
using troupe::WorkerDied;
using troupe::test::Deaths;
using troupe::test::fail;
using troupe::test::Footprint;
using troupe::test::nursery_and_spare;
using troupe::test::require;
using troupe::test::settled;

/// So long without any result means that something hangs; a task takes 0.3 ms at most, a replacement a few.
constexpr std::chrono::seconds patience{20};
/// What may be resident in the end beyond what was after the warm-up: freed blocks of large messages lie about in ever
/// other sizes. A leak of one page per kill is 80 MiB in 20,000.
constexpr long allowed_growth_kib = 16 * 1024;
constexpr long nursery_growth_kib = 256;

// --- The ledger: how often each task was begun and ended, whoever ran it ---

constexpr std::size_t num_submitters = 2;
constexpr std::uint32_t jobs_per_round = 256;

struct Cell {
  std::atomic<std::uint32_t> begun;
  std::atomic<std::uint32_t> ended;
};
using Ledger = std::array<Cell, num_submitters * jobs_per_round>;

// Made before main, so that the nursery and all workers inherit it.
Ledger& ledger = troupe::test::make_shared_memory<Ledger>();

// --- Tasks ---

struct Job {
  std::uint32_t cell = 0;
  std::uint32_t number = 0;
  std::uint32_t busy_us = 0;
};

constexpr std::uint32_t answer_to(std::uint32_t number) { return number * 2'654'435'761U + 1; }

std::uint32_t run(Job job) {
  Cell& cell = ledger[job.cell];
  ++cell.begun;
  const auto until = Clock::now() + std::chrono::microseconds{job.busy_us};
  while (Clock::now() < until) continue;
  ++cell.ended;
  return answer_to(job.number);
}

/// Argument and result lie in arenas.
std::vector<std::uint32_t> run_large(Job job, std::span<const std::uint32_t> numbers) {
  std::vector<std::uint32_t> more(numbers.begin(), numbers.end());
  for (std::uint32_t& number : more) number += job.number;
  run(job);
  return more;
}

// --- Load ---

class Submitter {
 public:
  Submitter(Pool& pool, Deaths& deaths, std::size_t index, unsigned seed)
      : pool_(pool), deaths_(deaths), first_cell_(static_cast<std::uint32_t>(index) * jobs_per_round), random_(seed) {}

  void round() {
    jobs_.clear();
    for (std::uint32_t i = 0; i < jobs_per_round; ++i)
      jobs_.push_back({.cell = first_cell_ + i, .number = ++number_, .busy_us = pick(100)});
    switch (pick(4)) {
      case 0: return with_map();
      case 1: return with_imap_unordered();
      default: return with_apply_async();
    }
  }

  std::uint64_t num_done() const { return num_done_; }
  /// For the watchdog. Thread: any.
  std::string doing() const {
    return std::string(doing_.load()) + ", result " + std::to_string(waits_for_) + " of " +
           std::to_string(jobs_per_round) + ", " + std::to_string(num_done_) + " done before";
  }

 private:
  std::uint32_t pick(std::uint32_t below) {
    return std::uniform_int_distribution<std::uint32_t>{0, below - 1}(random_);
  }

  void with_apply_async() {
    doing_ = "apply_async";
    std::map<std::uint32_t, AsyncResult<std::uint32_t>> small;
    std::map<std::uint32_t, AsyncResult<std::vector<std::uint32_t>>> large;
    std::vector<std::uint32_t> numbers(1'000 + pick(40'000));
    std::iota(numbers.begin(), numbers.end(), 0U);
    for (std::uint32_t i = 0; i < jobs_.size(); ++i) {
      if (pick(25) == 0)
        large.emplace(i, pool_.apply_async(run_large, jobs_[i], numbers));
      else
        small.emplace(i, pool_.apply_async(run, jobs_[i]));
    }
    for (const auto& [i, result] : small)
      settle(i, [&] { require(result.get() == answer_to(jobs_[i].number), "a wrong result of apply_async"); });
    for (const auto& [i, result] : large)
      settle(i, [&] {
        const auto more = result.get();
        require(more.size() == numbers.size(), "a large result of a wrong size");
        for (std::size_t k = 0; k < more.size(); ++k)
          require(more[k] == numbers[k] + jobs_[i].number, "a wrong large result");
      });
  }

  void with_map() {
    doing_ = "map";
    waits_for_ = 0;
    const auto result = pool_.map_async(run, jobs_, 1 + pick(16));
    try {
      const auto answers = result.get();
      require(answers.size() == jobs_.size(), "map gave too few results");
      for (std::uint32_t i = 0; i < jobs_.size(); ++i) {
        require(answers[i] == answer_to(jobs_[i].number), "a wrong result of map");
        check_done(i);
      }
    } catch (const WorkerDied& error) {
      deaths_.report(error);
      for (std::uint32_t i = 0; i < jobs_.size(); ++i) check_not_twice(i);
    }
    num_done_ += jobs_.size();
  }

  // Results come in any order, and each exactly once; an error does not tell which task it was.
  void with_imap_unordered() {
    doing_ = "imap_unordered";
    auto results = pool_.imap_unordered(run, jobs_);
    std::map<std::uint32_t, std::uint32_t> missing;
    for (std::uint32_t i = 0; i < jobs_.size(); ++i) missing.emplace(answer_to(jobs_[i].number), i);
    for (std::uint32_t i = 0, num_died = 0; i <= jobs_.size(); ++i) {
      waits_for_ = i;
      try {
        const auto answer = results.next();
        require(answer.has_value() == (i < jobs_.size()), "imap_unordered gave too few or too many results");
        if (!answer) {
          require(missing.size() == num_died, "imap_unordered lost a result");
          break;
        }
        const auto found = missing.extract(*answer);
        require(!found.empty(), "imap_unordered gave a result twice, or one of nobody");
        check_done(found.mapped());
      } catch (const WorkerDied& error) {
        deaths_.report(error);
        ++num_died;
      }
    }
    for (const auto& [answer, i] : missing) check_not_twice(i);
    num_done_ += jobs_.size();
  }

  template <class Take>
  void settle(std::uint32_t i, Take take) {
    waits_for_ = i;
    try {
      take();
      check_done(i);
    } catch (const WorkerDied& error) {
      deaths_.report(error);
      check_not_twice(i);
    }
    ++num_done_;
  }

  void check_done(std::uint32_t i) {
    const Cell& cell = ledger[first_cell_ + i];
    require(cell.begun == ++begun_[i], "a task with a result was begun twice, or never");
    require(cell.ended == ++ended_[i], "a task with a result has ended twice, or never");
  }
  // One that runs again later shows when its cell is used next.
  void check_not_twice(std::uint32_t i) {
    const Cell& cell = ledger[first_cell_ + i];
    require(cell.begun - begun_[i] <= 1 && cell.ended - ended_[i] <= 1, "a task of a dead worker has run twice");
    begun_[i] = cell.begun;
    ended_[i] = cell.ended;
  }

  Pool& pool_;
  Deaths& deaths_;
  const std::uint32_t first_cell_;
  std::mt19937 random_;
  std::uint32_t number_ = 0;
  std::vector<Job> jobs_;
  std::array<std::uint32_t, jobs_per_round> begun_{};
  std::array<std::uint32_t, jobs_per_round> ended_{};
  std::atomic<const char*> doing_{"nothing"};
  std::atomic<std::uint32_t> waits_for_{0};
  std::atomic<std::uint64_t> num_done_{0};
};

struct Settings {
  double minutes = 0.05;
  std::uint64_t kills = ~std::uint64_t{0};
  std::uint64_t workers = 4;
  std::uint64_t gap_us = 3000;
  std::uint64_t seed = 1;
};

class Soak {
 public:
  explicit Soak(const Settings& settings)
      : settings_(settings), pool_(static_cast<int>(settings.workers)), random_(static_cast<unsigned>(settings.seed)) {
    for (std::size_t i = 0; i < num_submitters; ++i)
      submitters_.push_back(
          std::make_unique<Submitter>(pool_, deaths_, i, static_cast<unsigned>(settings.seed + 1 + i)));
  }

  Pool& pool() { return pool_; }
  const Deaths& deaths() const { return deaths_; }
  std::uint64_t num_replacements() const { return num_replacements_; }
  std::uint64_t num_done() const {
    std::uint64_t sum = 0;
    for (const auto& submitter : submitters_) sum += submitter->num_done();
    return sum;
  }

  /// Loads and kills until `end` or so many kills. This thread is the watchdog meanwhile.
  void run_until(Clock::time_point end, std::uint64_t most_kills) {
    stop_ = false;
    num_running_ = submitters_.size();
    std::vector<std::jthread> threads;
    threads.emplace_back([&, end, most_kills] { kill_until(end, most_kills); });
    for (const auto& submitter : submitters_)
      threads.emplace_back([&] {
        try {
          while (!stop_) submitter->round();
        } catch (const std::exception& error) {
          fail(submitter->doing() + ": " + error.what());
        }
        const std::lock_guard lock{mutex_};
        --num_running_;
        changed_.notify_all();
      });
    watch();
  }

 private:
  void kill_until(Clock::time_point end, std::uint64_t most_kills) {
    std::exponential_distribution<double> gap{1.0 / static_cast<double>(settings_.gap_us)};
    std::vector<pid_t> before = pool_.worker_pids();
    std::vector<pid_t> killed;
    while (deaths_.num_kills() < most_kills && Clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::microseconds{static_cast<long>(gap(random_))});  // the load, not a wait
      std::vector<pid_t> pids = pool_.worker_pids();
      for (const pid_t pid : pids) num_replacements_ += std::ranges::find(before, pid) == before.end() ? 1U : 0U;
      before = pids;
      std::erase_if(killed, [&](pid_t pid) { return std::ranges::find(pids, pid) == pids.end(); });
      std::erase_if(pids, [&](pid_t pid) { return std::ranges::find(killed, pid) != killed.end(); });
      // The last one is spared: eight in a row that are killed before they are ready make a pool give up, rightly.
      if (pids.size() < 2) continue;
      const pid_t pid = pids[random_() % pids.size()];
      if (deaths_.kill(pid)) killed.push_back(pid);
    }
    stop_ = true;
  }

  void watch() {
    std::uint64_t done = num_done();
    auto last_progress = Clock::now();
    std::unique_lock lock{mutex_};
    while (!changed_.wait_for(lock, 100ms, [&] { return num_running_ == 0; })) {
      if (const std::uint64_t now = num_done(); now != done) {
        done = now;
        last_progress = Clock::now();
      } else if (Clock::now() - last_progress > patience) {
        std::string text = "no result for " + std::to_string(patience.count()) + " s. Outstanding:";
        for (const auto& submitter : submitters_) text += "\n  " + submitter->doing();
        for (const pid_t pid : pool_.worker_pids())
          text += "\n  worker " + std::to_string(pid) + " in state " + troupe::test::process_state(pid);
        fail(text);
      }
    }
  }

  const Settings settings_;
  Deaths deaths_;
  Pool pool_;
  std::mt19937 random_;
  std::vector<std::unique_ptr<Submitter>> submitters_;
  std::uint64_t num_replacements_ = 0;
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t num_running_ = 0;  // guarded by mutex_
};

void expect_whole(Pool& pool) {
  require(troupe::test::comes_true([&] { return pool.worker_pids().size() == pool.num_workers(); }, patience),
          "the pool is not whole again");
  require(pool.map_async(troupe::test::square, std::vector<int>{1, 2, 3}, 1).get(patience) == std::vector{1, 4, 9},
          "the pool does not work any more");
}

void soak(const Settings& settings) {
  const auto duration =
      std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double, std::ratio<60>>(settings.minutes));
  {
    Pool first{static_cast<int>(settings.workers)};  // starts the pump, which stays
    expect_whole(first);
    first.close();
    first.join();
  }
  const Footprint empty = settled(nursery_and_spare);

  auto soak = std::make_unique<Soak>(settings);
  const auto start = Clock::now();
  soak->run_until(start + std::min<Clock::duration>(duration / 5, 20s), settings.kills / 5);
  expect_whole(soak->pool());
  const Footprint warm = settled(nursery_and_spare + settings.workers);
  soak->run_until(start + duration, settings.kills);
  expect_whole(soak->pool());
  const Footprint late = settled(nursery_and_spare + settings.workers);
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  soak->pool().close();
  require(soak->pool().join(patience), "the pool does not end");
  const std::array counts{soak->deaths().num_kills(), soak->num_done(), soak->deaths().num_reported(),
                          soak->num_replacements()};
  soak.reset();
  const Footprint left = settled(nursery_and_spare);

  const auto line = [](const char* when, const Footprint& what) { std::printf("%s: %s\n", when, what.text().c_str()); };
  const auto number = [](std::uint64_t value) { return std::to_string(value); };
  std::printf("%s kills, %s tasks, %s died, %s replacements, %.1f s\n", number(counts[0]).c_str(),
              number(counts[1]).c_str(), number(counts[2]).c_str(), number(counts[3]).c_str(), seconds);
  line("before the pool   ", empty);
  line("after the warm-up ", warm);
  line("after the load    ", late);
  line("after the pool    ", left);
  require(late.same_counts(warm), "the load has left something in the pool");
  require(left.same_counts(empty), "the pool has left something");
  require(late.resident_kib - warm.resident_kib <= allowed_growth_kib, "memory has grown under load");
  require(late.nursery_resident_kib - warm.nursery_resident_kib <= nursery_growth_kib, "the nursery has grown");
  require(counts[0] > 0 && counts[1] > 0, "nothing was tried");
}

Settings settings_from(std::span<char* const> arguments) {
  Settings settings;
  troupe::test::read_options(arguments, {{"--minutes", &settings.minutes},
                                         {"--kills", &settings.kills},
                                         {"--workers", &settings.workers},
                                         {"--gap-us", &settings.gap_us},
                                         {"--seed", &settings.seed}});
  return settings;
}

}  // namespace

int main(int argc, char** argv) {
  const troupe::Runtime runtime{argc, argv};
  try {
    soak(settings_from({argv, static_cast<std::size_t>(argc)}));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "pool_soak: %s\n", error.what());
    return 2;
  }
  return 0;
}
