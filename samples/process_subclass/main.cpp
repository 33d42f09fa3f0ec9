// Shows a process class of one's own: members of its own, a run() of its own, one per processor, timed.
// Run: process_subclass [N, the Fibonacci number to compute; 35]
// Prints who computed what and how long it took together; then what run() does without start().

#include <troupe/error.hpp>
#include <troupe/process.hpp>
#include <troupe/runtime.hpp>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

namespace {

/// One write per line, so that lines of several processes do not mix.
void say(const std::string& text) { std::cout << text + '\n' << std::flush; }

long fibonacci(int n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }

/// A process with an argument. The fields are what travels to the new process.
class Fibonacci : public troupe::ProcessType<Fibonacci> {
 public:
  Fibonacci() = default;
  explicit Fibonacci(int n) : n_(n) {}

  void run() override {
    const auto me = troupe::current_process();
    const auto parent = troupe::parent_process();
    say("  " + me.name() + ", pid " + std::to_string(*me.pid()) + ", " +
        (parent ? "child of pid " + std::to_string(*parent->pid()) : "nobody's child") + ": fibonacci(" +
        std::to_string(n_) + ") = " + std::to_string(fibonacci(n_)));
  }

 private:
  int n_ = 0;
  TROUPE_FIELDS(n_)
};

/// A wrapper that tells how long a call takes.
template <class F>
void timed(const std::string& what, F&& call) {
  const auto start = std::chrono::steady_clock::now();
  std::forward<F>(call)();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  char text[32];
  std::snprintf(text, sizeof text, ": %.2f s", seconds);
  say(what + text);
}

void one_after_the_other(int n) {
  for (int i = 0; i < troupe::cpu_count(); ++i) {
    Fibonacci process{n};
    process.start();
    process.join();
  }
}

void side_by_side(int n) {
  std::vector<Fibonacci> processes;
  for (int i = 0; i < troupe::cpu_count(); ++i) processes.emplace_back(n).start();
  for (const auto& process : processes) process.join();
}

void run_without_start() {
  say("run() without start() is an ordinary call in this process:");
  Fibonacci process{10};
  process.run();
  say(std::string("it has ") + (process.pid() ? "a" : "no") + " pid, and cannot be joined:");
  try {
    process.join();
  } catch (const troupe::AssertionError& error) {
    say(error.what());
  }
}

void start_and_run() {
  say("start() and then run() work in both processes:");
  Fibonacci process{10};
  process.start();
  process.run();
  process.join();
}

}  // namespace

int main(int argc, char** argv) {
  const troupe::Runtime runtime{argc, argv};
  const int n = argc > 1 ? std::atoi(argv[1]) : 35;
  timed("one process per processor, one after the other", [n] { one_after_the_other(n); });
  timed("one process per processor, side by side", [n] { side_by_side(n); });
  run_without_start();
  start_and_run();
}
