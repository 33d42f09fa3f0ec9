// What it costs to start a process and wait for its end, for every start method, and the limit: fork, exit, wait.

#include <troupe/context.hpp>
#include <troupe/process.hpp>
#include <troupe/runtime.hpp>

#include <benchmark/benchmark.h>

#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace {

using troupe::Process;
using troupe::ProcessOptions;
using troupe::StartMethod;

void start_and_join(benchmark::State& state, StartMethod method) {
  for ([[maybe_unused]] const auto round : state) {
    Process process{ProcessOptions{.start_method = method}, [](int) {}, 1};
    process.start();
    process.join();
  }
}

void start_many_then_join(benchmark::State& state, StartMethod method) {
  for ([[maybe_unused]] const auto round : state) {
    std::vector<Process> processes;
    for (int i = 0; i < state.range(0); ++i) {
      processes.emplace_back(ProcessOptions{.start_method = method}, [](int) {}, i);
      processes.back().start();
    }
    for (const Process& process : processes) process.join();
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

void fork_and_wait(benchmark::State& state) {
  for ([[maybe_unused]] const auto round : state) {
    const pid_t pid = ::fork();
    if (pid == 0) ::_exit(0);
    ::waitpid(pid, nullptr, 0);
  }
}

BENCHMARK_CAPTURE(start_and_join, forkserver, StartMethod::forkserver)->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(start_and_join, fork, StartMethod::fork)->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(start_and_join, spawn, StartMethod::spawn)->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(start_many_then_join, forkserver, StartMethod::forkserver)
    ->Arg(100)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(fork_and_wait)->UseRealTime()->Unit(benchmark::kMicrosecond);

}  // namespace

int main(int argc, char** argv) {
  const troupe::Runtime runtime{argc, argv};
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
