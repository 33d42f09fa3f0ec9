// The nursery: many processes at once, nothing to do when nothing happens, and its end.

#include <troupe/child.hpp>
#include <troupe/context.hpp>
#include <troupe/error.hpp>
#include <troupe/runtime.hpp>

#include "support/nursery.hpp"
#include "support/processes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fcntl.h>
#include <stdexcept>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe;
using namespace troupe::test;
using testing::HasSubstr;

void send_parent(const FileDescriptor& line) { send_text(line, std::to_string(::getppid())); }

std::chrono::nanoseconds processor_time(pid_t pid) {
  clockid_t clock{};
  timespec time{};
  if (::clock_getcpuclockid(pid, &clock) != 0 || ::clock_gettime(clock, &time) != 0) return 0ns;
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

// As many as one likes, all their ends exact.
TEST(Nursery, KeepsManyProcesses) {
  auto [mine, theirs] = make_line();
  std::vector<Process> processes;
  for (int i = 0; i < 300; ++i) {
    processes.emplace_back(
        [](const FileDescriptor& line, int code) {
          is_readable(line.get(), patience);
          std::exit(code);
        },
        copy_of(theirs), i % 200);
    processes.back().start();
  }
  mine.reset();  // all see the end of the line
  theirs.reset();
  for (int i = 0; i < 300; ++i) {
    processes[static_cast<std::size_t>(i)].join();
    EXPECT_EQ(processes[static_cast<std::size_t>(i)].exitcode(), i % 200);
  }
}

// Handles of processes that have ended cost the nursery nothing.
TEST(Nursery, SleepsWhenNothingHappens) {
  const pid_t nursery = pid_of_starting_nursery();
  std::vector<Process> ended;
  for (int i = 0; i < 5; ++i) {
    ended.emplace_back([] {});
    ended.back().start();
    ended.back().join();
  }
  ASSERT_TRUE(wait_for_state(nursery, 'S'));
  const auto before = processor_time(nursery);
  ::usleep(50'000);
  EXPECT_LT(processor_time(nursery) - before, 10ms);
}

// Signals that end other programs do not end it; what it is called shows in ps.
TEST(Nursery, IgnoresSignals) {
  const pid_t nursery = pid_of_starting_nursery();
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGUSR1}) EXPECT_EQ(::kill(nursery, number), 0);
  EXPECT_EQ(pid_of_starting_nursery(), nursery);
}

// Signals meant for a process reach it however early they come.
TEST(Nursery, LosesNoSignalToItsProcesses) {
  for (const StartMethod method : {StartMethod::forkserver, StartMethod::spawn}) {
    for (int i = 0; i < 20; ++i) {
      Process process{ProcessOptions{.start_method = method}, [] { ::pause(); }};
      process.start();
      process.terminate();
      EXPECT_TRUE(process.join(patience));
      EXPECT_EQ(process.exitcode(), -SIGTERM);
    }
  }
}

void throw_while_preloading() { throw std::runtime_error("not today"); }

// What a preloaded function throws is printed and harms nothing.
TEST(Nursery, SurvivesAPreloadThatThrows) {
  Program program{"preload that throws"};
  EXPECT_EQ(program.read_line(), "0");
  EXPECT_EQ(program.wait(), 0);
  EXPECT_THAT(program.errors(), HasSubstr("std::runtime_error: not today"));
}
const bool preload_that_throws = add_role("preload that throws", [](int argc, char** argv, const std::string&) {
  const Runtime runtime{argc, argv};
  preload_nursery(throw_while_preloading);
  Process process{[] {}};
  process.start();
  process.join();
  std::printf("%d\n", process.exitcode().value_or(-1));
  return 0;
});

// Processes of processes are started by the same nursery.
TEST(Nursery, IsTheSameForAllGenerations) {
  auto [mine, theirs] = make_line();
  for (const StartMethod method : get_all_start_methods()) {
    Process process{ProcessOptions{.start_method = method},
                    [](const FileDescriptor& line) {
                      Process inner{ProcessOptions{.start_method = StartMethod::forkserver}, send_parent,
                                    copy_of(line)};
                      inner.start();
                      inner.join();
                    },
                    copy_of(theirs)};
    process.start();
    EXPECT_EQ(receive_text(mine), std::to_string(pid_of_starting_nursery()));
    process.join();
  }
}

// Who gave up privileges does not get them back by having others started.
TEST(Nursery, StartsNothingForAnotherUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  auto [mine, theirs] = make_line();
  for (const StartMethod method : get_all_start_methods()) {
    Process process{ProcessOptions{.start_method = method},
                    [](const FileDescriptor& line) {
                      if (::setresuid(61'234, 61'234, 61'234) != 0) return;
                      try {
                        Process inner{ProcessOptions{.start_method = StartMethod::forkserver}, [] {}};
                        inner.start();
                        send_text(line, "started");
                      } catch (const OSError& error) {
                        send_text(line, std::to_string(error.errno_value()));
                      }
                      Process forked{ProcessOptions{.start_method = StartMethod::fork}, [] {}};
                      forked.start();
                      forked.join();
                      send_text(line, std::to_string(forked.exitcode().value_or(-1)));
                    },
                    copy_of(theirs)};
    process.start();
    EXPECT_EQ(receive_text(mine), std::to_string(EPERM));
    EXPECT_EQ(receive_text(mine), "0");
    process.join();
  }
}

// Every open descriptor of a process is a standard one, one of its own three, or one that was passed.
TEST(Nursery, GivesNothingAwayThatWasNotPassed) {
  const FileDescriptor unpassed{::dup(STDIN_FILENO)};
  for (const StartMethod method : {StartMethod::forkserver, StartMethod::spawn}) {
    auto [mine, theirs] = make_line();
    Process process{ProcessOptions{.start_method = method},
                    [](const FileDescriptor& line) {
                      std::string open;
                      for (int number = 0; number < 1000; ++number)
                        if (::fcntl(number, F_GETFD) >= 0) open += std::to_string(number) + " ";
                      send_text(line, open);
                    },
                    std::move(theirs)};
    process.start();
    // 3: the nursery's door, 4: lifeline, 6: the line; 5 was the launch, or nothing.
    EXPECT_EQ(receive_text(mine), "0 1 2 3 4 6 ");
    process.join();
  }
}

}  // namespace
