// What a call costs without processes and rings: the task written, its thunk looked up and run, the result read. Beside
// it what the names of callables cost, which error texts need.

#include <troupe/arena.hpp>
#include <troupe/callable.hpp>
#include <troupe/task_call.hpp>
#include <troupe/wire_message.hpp>

#include "figure.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <span>
#include <string>
#include <unistd.h>

namespace {

using bench::expect;
using troupe::AnyFunction;

/// A message between its writer and its reader, where a ring would be.
class Frame {
 public:
  void send(troupe::MessageWriter& message, troupe::Scratch& scratch) {
    const auto words = message.first_words();
    scratch.set_used(words.size());
    expect(message.is_single(), "a small message takes several segments");
    std::ranges::copy(words, words_.begin());
    num_words_ = words.size();
  }
  troupe::MessageReader open() const { return {std::span(words_).first(num_words_), {}, nullptr}; }

 private:
  std::array<std::uint64_t, troupe::Scratch::num_words> words_{};
  std::size_t num_words_ = 0;
};

/// Submitter and worker in one thread.
class Caller {
 public:
  template <class F, class... Args>
  troupe::call_result_t<F, Args...> call(const F& callable, const Args&... arguments) {
    submit(callable, arguments...);
    run();
    troupe::MessageReader result = result_.open();
    return troupe::decode_result<troupe::call_result_t<F, Args...>>(result);
  }

  template <class F, class... Args>
  void submit(const F& callable, const Args&... arguments) {
    troupe::Scratch scratch;
    troupe::MessageWriter message{scratch.words(), arena_};
    troupe::encode_call(message, 1, callable, arguments...);
    task_.send(message, scratch);
  }

 private:
  void run() {
    troupe::MessageReader reader = task_.open();
    const auto task = reader.root<troupe::wire::Task>();
    const auto thunk = reinterpret_cast<troupe::TaskThunk>(
        troupe::find_thunk(troupe::ThunkKind::task, {.offset = task.getThunk(), .module = task.getModule()}));
    troupe::Scratch scratch;
    troupe::MessageWriter message{scratch.words(), arena_};
    auto result = message.initRoot<troupe::wire::Result>();
    thunk(task, result);
    result_.send(message, scratch);
  }

  troupe::Arena arena_{"arena"};
  Frame task_;
  Frame result_;
};

int add(int x, int y) { return x + y; }

struct Scale {
  int factor;
  std::string unit;
  int operator()(int x, int y) const { return factor * (x + y) + static_cast<int>(unit.size()); }
};

const auto lambda = [](int x, int y) { return x + y; };
const Scale object{3, "metres"};
const auto bound = troupe::bind(add, 7);
const auto bound_object = troupe::bind(object, 7);

/// The whole way of one call with two numbers.
template <class F>
void call(benchmark::State& state, const F& callable) {
  Caller caller;
  int x = 0;
  for ([[maybe_unused]] const auto round : state) {
    x = (x + 1) % 1000;
    expect(caller.call(callable, x, 5) == callable(x, 5), "call");
  }
}
BENCHMARK_CAPTURE(call, function, &add);
BENCHMARK_CAPTURE(call, lambda, lambda);
BENCHMARK_CAPTURE(call, object_with_fields, object);

/// The same with one of them bound.
template <class F>
void call_bound(benchmark::State& state, const F& callable) {
  Caller caller;
  int x = 0;
  for ([[maybe_unused]] const auto round : state) {
    x = (x + 1) % 1000;
    expect(caller.call(callable, x) == callable(x), "call");
  }
}
BENCHMARK_CAPTURE(call_bound, function, bound);
BENCHMARK_CAPTURE(call_bound, object_with_fields, bound_object);

/// Different callables in turn: the last one that was looked up is not the next one.
void call_in_turn(benchmark::State& state) {
  Caller caller;
  int x = 0;
  for ([[maybe_unused]] const auto round : state) {
    x = (x + 1) % 1000;
    expect(caller.call(&add, x, 5) == x + 5, "function");
    expect(caller.call(lambda, x, 5) == x + 5, "lambda");
  }
  state.SetItemsProcessed(2 * state.iterations());
}
BENCHMARK(call_in_turn);

/// The submitter's part alone.
template <class F>
void submit(benchmark::State& state, const F& callable) {
  Caller caller;
  for ([[maybe_unused]] const auto round : state) {
    caller.submit(callable, 4, 5);
    benchmark::ClobberMemory();
  }
  expect(caller.call(callable, 4, 5) == callable(4, 5), "call");
}
BENCHMARK_CAPTURE(submit, function, &add);
BENCHMARK_CAPTURE(submit, object_with_fields, object);

AnyFunction any(auto* function) { return reinterpret_cast<AnyFunction>(function); }

void function_name(benchmark::State& state, AnyFunction function, const std::string& expected) {
  for ([[maybe_unused]] const auto round : state) expect(troupe::function_name(function) == expected, "name");
}
BENCHMARK_CAPTURE(function_name, registered, any(&add), "add");
// Found in the symbols of its library, or nowhere.
BENCHMARK_CAPTURE(function_name, exported, any(&::chdir), "chdir");
BENCHMARK_CAPTURE(function_name, unknown, any(+lambda), "");

}  // namespace

int main(int argc, char** argv) {
  troupe::register_task("add", add);
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
