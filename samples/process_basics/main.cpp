// Shows the life of a Process: start, join, terminate, exit codes, daemons.
// Run: process_basics
// Prints a paragraph per step. Indented lines come from several processes at once, so their order is free.

#include <troupe/error.hpp>
#include <troupe/process.hpp>
#include <troupe/runtime.hpp>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;

/// One write per line, so that lines of several processes do not mix.
void say(const std::string& text) { std::cout << text + '\n' << std::flush; }

void child(int number) {
  say("  child " + std::to_string(number) + " starts");
  std::this_thread::sleep_for(100ms);
  say("  child " + std::to_string(number) + " ends");
}

std::vector<troupe::Process> start_children(int first, int last) {
  std::vector<troupe::Process> children;
  for (int number = first; number <= last; ++number) children.emplace_back(child, number).start();
  return children;
}

void start_does_not_wait() {
  say("start does not wait for the child:");
  const auto children = start_children(1, 3);
  say("  main goes on");
  for (const auto& each : children) each.join();
}

void children_run_beside_main() {
  say("children run while main sleeps:");
  const auto children = start_children(1, 3);
  std::this_thread::sleep_for(300ms);
  say("  main has slept");
  for (const auto& each : children) each.join();
}

void join_waits() {
  say("join waits for the child:");
  start_children(1, 1).front().join();
  say("child 1 is done before the others start");
  for (const auto& each : start_children(2, 3)) each.join();
  say("all are done");
}

std::string text_of(std::optional<int> exitcode) { return exitcode ? std::to_string(*exitcode) : "none"; }

void sleep_long() { std::this_thread::sleep_for(1h); }

void terminate_ends() {
  say("terminate and kill end a process:");
  troupe::Process process{sleep_long};
  process.start();
  say("exit code while it runs: " + text_of(process.exitcode()));
  say(process.join(0s) ? "it has ended" : "it has not ended by itself");
  process.terminate();  // asks for the end; is_alive() may still be true here
  process.join();
  say(std::string(process.is_alive() ? "alive" : "dead") + ", exit code " + text_of(process.exitcode()));

  troupe::Process stubborn{[] {
    std::signal(SIGTERM, SIG_IGN);
    sleep_long();
  }};
  stubborn.start();
  stubborn.kill();
  stubborn.join();
  say("killed: exit code " + text_of(stubborn.exitcode()));
}

void exit_codes() {
  say("exit codes:");
  std::vector<troupe::Process> processes;
  processes.emplace_back([] { return; }).start();
  processes.emplace_back([] { std::exit(3); }).start();
  processes.emplace_back([] { throw std::runtime_error("reported on standard error"); }).start();
  processes.emplace_back([] { std::abort(); }).start();
  const char* const ends[] = {"returns", "exits with 3", "throws", "aborts"};
  for (std::size_t i = 0; i < processes.size(); ++i) {
    processes[i].join();
    say(std::string(ends[i]) + ": " + text_of(processes[i].exitcode()));
  }
}

void names_and_keys() {
  say("what a process knows about itself:");
  troupe::Process process{troupe::ProcessOptions{.name = "Ada"},
                          [](std::size_t key_of_parent) {
                            const auto me = troupe::current_process();
                            const auto parent = troupe::parent_process();
                            say("I am " + me.name() + ", pid " + std::to_string(*me.pid()) + ", child of " +
                                parent->name() + ", pid " + std::to_string(*parent->pid()) + ", my key has " +
                                std::to_string(me.authkey().size()) + " bytes, that of my parent " +
                                std::to_string(key_of_parent));
                          },
                          troupe::current_process().authkey().size()};
  process.start();
  process.join();
}

void daemon() {
  say("a daemon ends with its parent:");
  troupe::Process process{sleep_long};
  process.set_daemon(true);
  process.start();
  try {
    process.set_daemon(false);
  } catch (const troupe::AssertionError& error) {
    say(error.what());
  }
  say("main returns now and does not wait an hour");
}

}  // namespace

int main(int argc, char** argv) {
  const troupe::Runtime runtime{argc, argv};
  start_does_not_wait();
  children_run_beside_main();
  join_waits();
  terminate_ends();
  exit_codes();
  names_and_keys();
  daemon();
}
