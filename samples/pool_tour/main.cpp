// Shows every call of a Pool, from apply to co_await, and what happens when something goes wrong.
// Run: pool_tour
// Prints a paragraph per step. Which worker does what, and the times, differ from run to run.

#include <troupe/error.hpp>
#include <troupe/pool.hpp>
#include <troupe/runtime.hpp>

#include "tasks.hpp"

#include <chrono>
#include <coroutine>
#include <cstdio>
#include <exception>
#include <future>
#include <iostream>
#include <map>
#include <optional>
#include <ranges>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;

/// Shows the error that `call` throws.
template <class Error, class F>
void show_error(F&& call) {
  try {
    std::forward<F>(call)();
  } catch (const Error& error) {
    std::cout << "error: " << error.what() << '\n';
  }
}

template <class F>
double timed(const char* what, F&& call) {
  const auto start = std::chrono::steady_clock::now();
  std::forward<F>(call)();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  char text[32];
  std::snprintf(text, sizeof text, ": %.2f s", seconds);
  std::cout << what << text << '\n';
  return seconds;
}

void one_call(troupe::Pool& pool) {
  std::cout << "apply calls a function in a worker and waits:\n" << pool.apply(square, 7) << '\n';
  std::set<pid_t> workers;
  for (int i = 0; i < 10; ++i) workers.insert(pool.apply(pid_of_worker));
  const bool is_main = workers.contains(::getpid());
  std::cout << "none of ten calls ran in main: " << std::boolalpha << !is_main << '\n';
}

void calls_without_waiting(troupe::Pool& pool) {
  std::cout << "apply_async does not wait, get does:\n";
  const double one_by_one = timed("three naps, each get inside the loop", [&] {
    for (int i = 0; i < 3; ++i) pool.apply_async(nap, 100ms).get();
  });
  const double together = timed("three naps, all gets after the loop", [&] {
    std::vector<troupe::AsyncResult<int>> naps;
    for (int i = 0; i < 3; ++i) naps.push_back(pool.apply_async(nap, 100ms));
    for (const auto& each : naps) each.get();
  });
  std::cout << "together they took less time: " << (together < one_by_one) << '\n';
  const auto result = pool.apply_async(square, 8);
  result.wait();
  std::cout << "ready: " << result.ready() << ", successful: " << result.successful() << ", " << result.get() << '\n';
}

void many_items(troupe::Pool& pool) {
  std::cout << "map calls a function for every item; a chunk of them travels to one worker:\n";
  for (const std::size_t chunksize : {1U, 2U, 3U}) {
    std::map<pid_t, char> names;  // in the order of their first chunk
    std::cout << "chunks of " << chunksize << ':';
    std::size_t count = 0;
    for (const Taken& taken : pool.map(take, std::views::iota(1, 20), chunksize)) {
      const char name = names.try_emplace(taken.worker, static_cast<char>('A' + names.size())).first->second;
      if (count++ % chunksize == 0) std::cout << " @" << name;
      std::cout << ' ' << taken.item;
    }
    std::cout << '\n';
  }
  std::cout << "starmap unpacks arguments:";
  const std::vector<std::pair<int, int>> arguments{{2, 10}, {3, 4}, {10, 6}};
  for (const int value : pool.starmap(power, arguments)) std::cout << ' ' << value;
  const auto powers = pool.starmap_async(power, arguments);
  std::cout << "\nstarmap_async does not wait:";
  for (const int value : powers.get()) std::cout << ' ' << value;
  const auto squares = pool.map_async(square, std::views::iota(1, 6));
  std::cout << "\nmap_async gives the whole list:";
  for (const int value : squares.get()) std::cout << ' ' << value;
  std::cout << '\n';
}

void results_as_they_come(troupe::Pool& pool) {
  std::cout << "imap gives results in order, before all are done; its input may have no end:";
  for (const int value : pool.imap(square, std::views::iota(1))) {
    if (value > 100) break;
    std::cout << ' ' << value;
  }
  const std::vector<std::chrono::milliseconds> times{400ms, 100ms, 1ms};
  std::cout << "\nimap_unordered gives them as they finish:\n";
  for (const int value : pool.imap_unordered(nap, times)) std::cout << "  a nap of " << value << " ms\n";
  auto naps = pool.imap(nap, times);
  show_error<troupe::TimeoutError>([&] { naps.next(10ms); });
  std::cout << "asked again: " << naps.next().value() << '\n';
}

void errors(troupe::Pool& pool) {
  std::cout << "what goes wrong in a worker arrives here:\n";
  show_error<std::domain_error>([&] { pool.map(reciprocal, std::vector{2, 1, 0}); });
  const auto long_nap = pool.apply_async(nap, 400ms);
  show_error<troupe::TimeoutError>([&] { long_nap.get(10ms); });
  show_error<troupe::ValueError>([&] { long_nap.successful(); });
  show_error<troupe::WorkerDied>([&] { pool.apply(die); });
  std::cout << "the pool goes on: " << pool.apply(square, 9) << '\n';
}

/// A coroutine that nobody waits for: it tells its end by itself.
struct Coroutine {
  struct promise_type {
    Coroutine get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};

Coroutine add(troupe::AsyncResult<int> a, troupe::AsyncResult<int> b, std::promise<int>& sum) {
  sum.set_value(co_await a + co_await b);
}

void coroutines(troupe::Pool& pool) {
  std::promise<int> sum;
  add(pool.apply_async(square, 3), pool.apply_async(square, 4), sum);
  std::cout << "co_await waits without a thread: " << sum.get_future().get() << '\n';
}

void the_end() {
  std::cout << "close, join, and what comes too late:\n";
  troupe::Pool pool{{.workers = 2, .start_method = {}, .name = "short-lived"}};
  const auto result = pool.apply_async(square, 5);
  pool.close();
  pool.join();
  std::cout << "closed, joined, and the result is still there: " << result.get() << '\n';
  show_error<troupe::ValueError>([&] { pool.apply(square, 6); });

  std::optional<troupe::AsyncResult<int>> left;
  {
    troupe::Pool scoped{1};
    left = scoped.apply_async(nap, 1h);
    scoped.terminate();
  }
  show_error<troupe::Cancelled>([&] { left->get(); });
}

}  // namespace

int main(int argc, char** argv) {
  const troupe::Runtime runtime{argc, argv};
  troupe::register_task("die", die);  // a name for error texts; tasks need none
  troupe::Pool pool{3};
  std::cout << "a pool of " << pool.num_workers() << " workers\n";
  one_call(pool);
  calls_without_waiting(pool);
  many_items(pool);
  results_as_they_come(pool);
  errors(pool);
  coroutines(pool);
  the_end();
  pool.apply_async(nap, 1h);
  pool.terminate();
  std::cout << "main ends, and the hour's nap with it\n";
}
