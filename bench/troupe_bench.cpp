// Measures one named row of the benchmark table with troupe and prints its figure.
// Usage: troupe_bench ROW, for example: troupe_bench pool_apply_hot

#include <troupe/context.hpp>
#include <troupe/error.hpp>
#include <troupe/event.hpp>
#include <troupe/lock.hpp>
#include <troupe/pipe.hpp>
#include <troupe/pool.hpp>
#include <troupe/process.hpp>
#include <troupe/queue.hpp>
#include <troupe/runtime.hpp>
#include <troupe/shared_array.hpp>
#include <troupe/thread_pool.hpp>

#include "figure.hpp"
#include "proc_figures.hpp"
#include "queue_rows.hpp"
#include "sync_rows.hpp"

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <latch>
#include <ranges>
#include <set>
#include <span>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using bench::expect;
using std::chrono::milliseconds;

constexpr int num_workers = 2;
constexpr std::size_t num_batches = 5;
/// For a figure at the edge of what the machine can do: where a host moves processors about, they are near each other
/// and far by turns of a second or two.
constexpr std::size_t num_batches_for_seconds = 60;

int square(int x) { return x * x; }

/// For items that are too large to be squared.
int remainder_squared(int x) { return square(x % 1000); }

void nothing() {}

std::size_t num_bytes(std::span<const std::byte> bytes) { return bytes.size(); }

void work_for(milliseconds duration) { std::this_thread::sleep_for(duration); }

pid_t pid_after(milliseconds duration) {
  std::this_thread::sleep_for(duration);
  return ::getpid();
}

/// A pool whose end at the end of its scope is meant.
class ScopedPool : public troupe::Pool {
 public:
  using Pool::Pool;
  ScopedPool(const ScopedPool&) = delete;
  ScopedPool& operator=(const ScopedPool&) = delete;
  ~ScopedPool() { terminate(); }
};

using IntResults = std::vector<decltype(std::declval<troupe::Pool&>().apply_async(square, 1))>;

/// Submits squares of 0..count-1 modulo 1000, waits for all and checks the last.
void async_batch(troupe::Pool& pool, int count) {
  IntResults results;
  results.reserve(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) results.push_back(pool.apply_async(square, i % 1000));
  int last = 0;
  for (auto& result : results) last = result.get();
  expect(last == square((count - 1) % 1000), "apply_async");
}

double async_rate(int workers) {
  constexpr int count = 200'000;
  ScopedPool pool{workers};
  return count / bench::median_seconds(num_batches, [&] { async_batch(pool, count); });
}

double pool_apply_hot() {
  constexpr int count = 50'000;
  ScopedPool pool{num_workers};
  const double seconds = bench::median_seconds(num_batches_for_seconds, [&] {
    for (int i = 0; i < count; ++i) expect(pool.apply(square, i % 1000) == square(i % 1000), "apply");
  });
  return seconds / count * 1e6;
}

double pool_apply_parked() {
  ScopedPool pool{num_workers};
  std::vector<double> times(200);
  for (double& time : times) {
    std::this_thread::sleep_for(milliseconds{2});
    time = bench::seconds_of([&] { expect(pool.apply(square, 3) == 9, "apply"); });
  }
  return bench::median(std::move(times)) * 1e6;
}

double thread_pool_apply_hot() {
  constexpr int count = 50'000;
  troupe::ThreadPool pool{num_workers};
  const double seconds = bench::median_seconds(num_batches, [&] {
    for (int i = 0; i < count; ++i) expect(pool.apply(square, i % 1000) == square(i % 1000), "apply");
  });
  pool.close();
  return seconds / count * 1e6;
}

void echo_ints(troupe::Connection connection) {
  for (int x = connection.recv<int>(); x >= 0; x = connection.recv<int>()) connection.send(x);
}

double pipe_rtt() {
  constexpr int count = 50'000;
  auto [mine, theirs] = troupe::Pipe();
  troupe::Process process{echo_ints, std::move(theirs)};
  process.start();
  const double seconds = bench::median_seconds(num_batches, [&] {
    for (int i = 0; i < count; ++i) {
      mine.send(i);
      expect(mine.recv<int>() == i, "echo");
    }
  });
  mine.send(-1);
  process.join();
  return seconds / count * 1e6;
}

double pool_async() { return async_rate(num_workers); }

double pool_async_16_workers() { return async_rate(16); }

/// Four threads that submit, in turn with the main thread that submits as many tasks.
bench::InTurn pool_async_4_submitters() {
  constexpr int num_submitters = 4;
  constexpr int count = 200'000;
  constexpr std::size_t num_turns = 40;
  ScopedPool pool{num_workers};
  const auto four = [&] {
    std::vector<std::jthread> submitters;
    for (int i = 0; i < num_submitters; ++i)
      submitters.emplace_back([&] { async_batch(pool, count / num_submitters); });
  };
  const auto [seconds_of_four, seconds_of_one] =
      bench::median_seconds_in_turn(num_turns, four, [&] { async_batch(pool, count); });
  return {.value = count / seconds_of_four, .other = count / seconds_of_one};
}

double pool_imap() {
  constexpr int count = 200'000;
  const auto items = std::views::iota(0, count);
  ScopedPool pool{num_workers};
  const double seconds = bench::median_seconds(num_batches, [&] {
    int num_items = 0;
    for (const int y : pool.imap(remainder_squared, items)) expect(y == remainder_squared(num_items++), "imap");
    expect(num_items == count, "imap");
  });
  return count / seconds;
}

double pool_map_ints() {
  std::vector<int> items(10'000'000);
  for (std::size_t i = 0; i < items.size(); ++i) items[i] = static_cast<int>(i % 1000);
  ScopedPool pool{num_workers};
  const double seconds = bench::median_seconds(num_batches, [&] {
    const std::vector<int> squares = pool.map(square, items);
    expect(squares.size() == items.size() && squares.back() == square(items.back()), "map");
  });
  return static_cast<double>(items.size()) / seconds;
}

double pool_arg_64mib() {
  const std::vector<std::byte> data(std::size_t{64} << 20U, std::byte{7});
  ScopedPool pool{num_workers};
  const auto call = [&] { expect(pool.apply(num_bytes, data) == data.size(), "64 MiB argument"); };
  call();
  return static_cast<double>(data.size()) / bench::median_seconds(11, call) / 1e9;
}

std::ptrdiff_t add_to_first(const troupe::SharedArray<std::uint8_t>& array) {
  ++array(0);
  return array.extent(0);
}

constexpr int num_array_calls = 50'000;

void call_with(troupe::Pool& pool, const troupe::SharedArray<std::uint8_t>& array) {
  for (int i = 0; i < num_array_calls; ++i)
    expect(pool.apply(add_to_first, array) == array.extent(0), "shared array argument");
}

/// Calls with 64 MiB, in turn with calls with 1 KiB.
bench::InTurn shared_array_arg() {
  constexpr std::size_t num_turns = 20;
  const troupe::SharedArray<std::uint8_t> large{64 << 20};
  const troupe::SharedArray<std::uint8_t> small{1 << 10};
  ScopedPool pool{num_workers};
  const auto [seconds_of_large, seconds_of_small] =
      bench::median_seconds_in_turn(num_turns, [&] { call_with(pool, large); }, [&] { call_with(pool, small); });
  return {.value = num_array_calls / seconds_of_large, .other = num_array_calls / seconds_of_small};
}

double shared_array_arg_1kib() {
  const troupe::SharedArray<std::uint8_t> array{1 << 10};
  ScopedPool pool{num_workers};
  return num_array_calls / bench::median_seconds(num_batches, [&] { call_with(pool, array); });
}

/// When the last task that crashed did so, in nanoseconds of the steady clock, which all processes share. The memory is
/// made before main, so that all of them share that, too.
std::atomic<std::int64_t>& crash_time = *static_cast<std::atomic<std::int64_t>*>(
    ::mmap(nullptr, sizeof(std::atomic<std::int64_t>), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));

std::int64_t now_ns() { return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count(); }

void crash() {
  crash_time = now_ns();
  ::raise(SIGKILL);
}

double ms_since_crash() { return static_cast<double>(now_ns() - crash_time) / 1e6; }

void expect_crash(troupe::Pool& pool) {
  try {
    pool.apply(crash);
  } catch (const troupe::WorkerDied& error) {
    return expect(error.exitcode() == -SIGKILL, "exit code of a crash");
  }
  expect(false, "a crash without an error");
}

/// Median of what `measure(pool)` gives, with a pool that is whole and has just run tasks.
template <class Measure>
double crash_median(int workers, Measure measure) {
  ScopedPool pool{workers};
  std::vector<double> times(100);
  for (double& time : times) {
    while (pool.worker_pids().size() < pool.num_workers()) std::this_thread::yield();
    for (int i = 0; i < 100; ++i) expect(pool.apply(square, 3) == 9, "apply");
    time = measure(pool);
  }
  return bench::median(std::move(times));
}

double pool_crash_to_error() {
  return crash_median(num_workers, [](troupe::Pool& pool) {
    expect_crash(pool);
    return ms_since_crash();
  });
}

double pool_crash_to_replacement() {
  return crash_median(1, [](troupe::Pool& pool) {
    expect_crash(pool);
    expect(pool.apply(square, 3) == 9, "apply after a crash");
    return ms_since_crash();
  });
}

double process_start_join() {
  return 1e3 * bench::median_seconds(2000, [] {
           troupe::Process process{nothing};
           process.start();
           process.join();
           expect(process.exitcode() == 0, "exit code");
         });
}

double process_start_join_spawn() {
  return 1e3 * bench::median_seconds(30, [] {
           troupe::Process process = troupe::get_context("spawn").process(nothing);
           process.start();
           process.join();
           expect(process.exitcode() == 0, "exit code");
         });
}

double pool_idle_cpu() {
  ScopedPool pool{8};
  async_batch(pool, 10'000);
  return bench::idle_cpu_percent(8);
}

/// Processes that wait for a message, an item, a lock and an event.
double reader_idle_cpu() {
  auto [mine, theirs] = troupe::Pipe();
  const troupe::Queue<int> queue;
  const troupe::Lock lock;
  const troupe::Event event;
  lock.acquire();
  std::vector<troupe::Process> readers;
  readers.emplace_back(echo_ints, std::move(theirs));
  readers.emplace_back([](const troupe::Queue<int>& items) { expect(items.get() == -1, "the item"); }, queue);
  readers.emplace_back([](const troupe::Lock& wanted) { wanted.acquire(); }, lock);
  readers.emplace_back([](const troupe::Event& awaited) { awaited.wait(); }, event);
  for (auto& reader : readers) reader.start();
  const double percent = bench::idle_cpu_percent(readers.size());
  mine.send(-1);
  queue.put(-1);
  lock.release();
  event.set();
  for (const auto& reader : readers) reader.join();
  return percent;
}

double worker_private_memory() {
  ScopedPool pool{num_workers};
  async_batch(pool, 10'000);
  std::vector<milliseconds> waits(8, milliseconds{20});
  std::uint64_t largest = 0;
  for (const pid_t worker : pool.map(pid_after, waits, 1)) largest = std::max(largest, bench::private_bytes(worker));
  return static_cast<double>(largest) / (1 << 20);
}

double queued_task_memory() {
  constexpr int count = 1'000'000;
  ScopedPool pool{num_workers};
  async_batch(pool, 10'000);
  std::vector<decltype(pool.apply_async(work_for, milliseconds{}))> busy;
  for (int i = 0; i < num_workers; ++i) {
    busy.push_back(pool.apply_async(work_for, std::chrono::minutes{10}));
    std::this_thread::sleep_for(milliseconds{10});  // the next one then finds this worker taken
  }
  const std::uint64_t before = bench::resident_bytes();
  IntResults results;
  results.reserve(count);
  for (int i = 0; i < count; ++i) results.push_back(pool.apply_async(square, i % 1000));
  const std::uint64_t after = bench::resident_bytes();
  expect(!busy.front().ready() && !results.back().ready(), "the tasks are not queued");
  return static_cast<double>(after - before) / count;
}

constexpr bench::Row rows[] = {
    {"pool_apply_hot", "us", pool_apply_hot},
    {"pool_apply_parked", "us", pool_apply_parked},
    {"pool_async", "tasks/s", pool_async},
    {"pool_async_4_submitters", "tasks/s", pool_async_4_submitters},
    {"pool_async_16_workers", "tasks/s", pool_async_16_workers},
    {"pool_imap", "items/s", pool_imap},
    {"pool_map_ints", "items/s", pool_map_ints},
    {"pool_arg_64mib", "GB/s", pool_arg_64mib},
    {"shared_array_arg", "calls/s", shared_array_arg},
    {"shared_array_arg_1kib", "calls/s", shared_array_arg_1kib},
    {"pool_crash_to_error", "ms", pool_crash_to_error},
    {"pool_crash_to_replacement", "ms", pool_crash_to_replacement},
    {"thread_pool_apply_hot", "us", thread_pool_apply_hot},
    {"pipe_rtt", "us", pipe_rtt},
    {"process_start_join", "ms", process_start_join},
    {"process_start_join_spawn", "ms", process_start_join_spawn},
    {"lock_uncontended", "ns", bench::lock_uncontended},
    {"lock_contended", "pairs/s", bench::lock_contended},
    {"semaphore_uncontended", "ns", bench::semaphore_uncontended},
    {"semaphore_wake", "us", bench::semaphore_wake},
    {"event_wake", "us", bench::event_wake},
    {"barrier_2", "us", bench::barrier_2},
    {"queue_rtt", "us", bench::queue_rtt},
    {"queue_throughput", "items/s", bench::queue_throughput},
    {"queue_throughput_4x4", "items/s", bench::queue_throughput_4x4},
    {"queue_1mib", "GB/s", bench::queue_1mib},
    {"pool_idle_cpu", "% of a core", pool_idle_cpu},
    {"reader_idle_cpu", "% of a core", reader_idle_cpu},
    {"worker_private_memory", "MiB", worker_private_memory},
    {"queued_task_memory", "B/task", queued_task_memory},
};

}  // namespace

int main(int argc, char** argv) {
  const troupe::Runtime runtime{argc, argv};
  return bench::run_row(rows, {argv, static_cast<std::size_t>(argc)});
}
