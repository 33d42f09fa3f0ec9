// Runtime: what holds without one, with two, after threads, and at its end.

#include <troupe/context.hpp>
#include <troupe/error.hpp>
#include <troupe/runtime.hpp>

#include "support/processes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe;
using namespace troupe::test;
using testing::HasSubstr;

/// Prints the text of the error that `code` throws as one line.
template <class F>
void print_error_of(F code) {
  try {
    code();
    std::puts("no error");
  } catch (const AssertionError& error) {
    std::printf("AssertionError: %s\n", error.what());
  } catch (const std::exception& error) {
    std::printf("another error: %s\n", error.what());
  }
}

std::string exitcode_of_a_process(StartMethod method) {
  Process process = get_context(method).process([] { std::exit(5); });
  process.start();
  process.join();
  return std::to_string(process.exitcode().value_or(-1));
}

const bool no_runtime = add_role("no runtime", [](int, char**, const std::string&) {
  print_error_of([] { current_process(); });
  print_error_of([] { Process process; });
  print_error_of([] { active_children(); });
  print_error_of([] { this_process::name(); });
  return 0;
});

TEST(Runtime, IsAskedForWhenItIsMissing) {
  static_cast<void>(no_runtime);
  Program program{"no runtime"};
  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(program.read_line(), "AssertionError: no troupe::Runtime: make it the first statement of main");
  EXPECT_EQ(program.wait(), 0);
}

TEST(Runtime, ExistsOncePerProcess) {
  std::array<char*, 1> arguments{nullptr};
  EXPECT_THROW(Runtime(0, arguments.data()), AssertionError);
  EXPECT_EQ(exitcode_of_a_process(StartMethod::forkserver), "5");
}

const bool one_after_another = add_role("one after another", [](int argc, char** argv, const std::string&) {
  for (int i = 0; i < 2; ++i) {
    const Runtime runtime{argc, argv};
    std::puts(exitcode_of_a_process(StartMethod::forkserver).c_str());
  }
  print_error_of([] { this_process::name(); });
  return 0;
});

TEST(Runtime, MayFollowAnotherOne) {
  static_cast<void>(one_after_another);
  Program program{"one after another"};
  EXPECT_EQ(program.read_line(), "5");
  EXPECT_EQ(program.read_line(), "5");
  EXPECT_THAT(program.read_line(), HasSubstr("no troupe::Runtime"));
  EXPECT_EQ(program.wait(), 0);
}

const bool after_threads = add_role("after threads", [](int argc, char** argv, const std::string&) {
  auto [mine, theirs] = make_line();
  const std::jthread other{[&line = theirs] { receive_text(line); }};
  {
    const Runtime runtime{argc, argv};
    for (const StartMethod method : get_all_start_methods()) std::puts(exitcode_of_a_process(method).c_str());
  }
  send_text(mine, "end");
  return 0;
});

// With other threads about, the nursery is a fresh execution of the program instead of a fork.
TEST(Runtime, WorksInAProgramThatHasThreadsAlready) {
  static_cast<void>(after_threads);
  Program program{"after threads"};
  for (int i = 0; i < 3; ++i) EXPECT_EQ(program.read_line(), "5");
  EXPECT_EQ(program.wait(), 0);
  EXPECT_EQ(program.errors(), "");
}

const bool forked_by_hand = add_role("forked by hand", [](int argc, char** argv, const std::string&) {
  const Runtime runtime{argc, argv};
  const pid_t pid = ::fork();
  if (pid == 0) {
    print_error_of([] { Process process; });
    std::fflush(stdout);
    return 0;  // through the Runtime's destructor, which is the parent's affair
  }
  ::waitpid(pid, nullptr, 0);
  std::puts(exitcode_of_a_process(StartMethod::forkserver).c_str());
  return 0;
});

TEST(Runtime, RefusesProcessesForkedByHand) {
  static_cast<void>(forked_by_hand);
  Program program{"forked by hand"};
  EXPECT_THAT(program.read_line(), HasSubstr("forked by hand: only processes started through troupe"));
  EXPECT_EQ(program.read_line(), "5");
  EXPECT_EQ(program.wait(), 0);
}

// The same in every process, however it was started.
TEST(Runtime, NoticesForksByHandInItsProcesses) {
  for (const StartMethod method : get_all_start_methods()) {
    auto [mine, theirs] = make_line();
    Process process = get_context(method).process(
        [](const FileDescriptor& line) {
          const pid_t pid = ::fork();
          if (pid == 0) {
            try {
              Process inner;
              send_text(line, "made");
            } catch (const AssertionError& error) {
              send_text(line, error.what());
            }
            ::_exit(0);
          }
          ::waitpid(pid, nullptr, 0);
        },
        std::move(theirs));
    process.start();
    EXPECT_THAT(receive_text(mine), HasSubstr("forked by hand"));
    process.join();
  }
}

void print_late(const FileDescriptor& line) {
  receive_text(line);  // until the other end is closed, or the program is ending
  std::puts("late");
}

/// Starts processes, says so, and ends in the way that `argument` says.
int leave_processes_behind(int argc, char** argv, const std::string& argument) {
  auto [mine, theirs] = make_line();
  const Runtime runtime{argc, argv};
  Process joined{print_late, std::move(theirs)};
  joined.start();
  Process daemonic{ProcessOptions{.daemon = true}, [] { ::pause(); }};
  daemonic.start();
  auto [from_stubborn, to_us] = make_line();
  Process stubborn{ProcessOptions{.daemon = true},
                   [](const FileDescriptor& line) {
                     std::signal(SIGTERM, SIG_IGN);
                     send_text(line, "ready");
                     for (;;) ::pause();
                   },
                   std::move(to_us)};
  stubborn.start();
  receive_text(from_stubborn);
  std::printf("%d %d %d\n", *joined.pid(), *daemonic.pid(), *stubborn.pid());
  std::fflush(stdout);
  mine.reset();
  if (argument == "exit") std::exit(3);
  return 4;
}
const bool ending = add_role("ending", leave_processes_behind);

// At the end, by return and by std::exit alike, ordinary processes are joined and daemonic ones do not survive.
class RuntimeEnd : public testing::TestWithParam<const char*> {};

TEST_P(RuntimeEnd, JoinsProcessesAndTerminatesDaemonicOnes) {
  static_cast<void>(ending);
  Program program{"ending", GetParam()};
  std::array<int, 3> pids{};
  ASSERT_EQ(std::sscanf(program.read_line().c_str(), "%d %d %d", &pids[0], &pids[1], &pids[2]), 3);
  EXPECT_EQ(program.read_line(), "late");
  EXPECT_EQ(program.wait(), GetParam() == std::string("exit") ? 3 : 4);
  EXPECT_EQ(still_running_after({pids.begin(), pids.end()}, 0ms), std::vector<pid_t>{});
  EXPECT_EQ(program.errors(), "");
}

INSTANTIATE_TEST_SUITE_P(By, RuntimeEnd, testing::Values("return", "exit"),
                         [](const auto& way) { return std::string(way.param); });

const bool hooks = add_role("hooks", [](int argc, char** argv, const std::string&) {
  const Runtime runtime{argc, argv};
  detail::at_runtime_end([] { std::puts("first registered"); });
  detail::at_runtime_end([] { std::puts("last registered"); });
  Process process = get_context("fork").process([] { std::puts("child"); });
  process.start();
  process.join();
  std::fflush(stdout);
  return 0;
});

// What is registered for the end runs once, newest first, and not in forked children.
TEST(Runtime, RunsItsEndHooksNewestFirst) {
  static_cast<void>(hooks);
  Program program{"hooks"};
  EXPECT_EQ(program.read_rest(), "child\nlast registered\nfirst registered\n");
  EXPECT_EQ(program.wait(), 0);
}

const bool internal_argument = add_role("internal argument", [](int, char**, const std::string& argument) {
  std::string program = "program";
  std::string role = argument;
  std::array<char*, 3> arguments{program.data(), role.data(), nullptr};
  const Runtime runtime{2, arguments.data()};
  return 0;
});

TEST(Runtime, RefusesItsInternalArgumentsFromPeople) {
  static_cast<void>(internal_argument);
  for (const char* argument : {"--troupe-child", "--troupe-nursery"}) {
    Program program{"internal argument", argument};
    EXPECT_EQ(program.wait(), 2);
    EXPECT_THAT(program.errors(), HasSubstr("is for the program's own use"));
  }
}

std::string blocked_signals() {
  sigset_t mask;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  std::string text;
  for (int number = 1; number <= 31; ++number)
    if (::sigismember(&mask, number) == 1) text += std::to_string(number) + " ";
  struct sigaction action{};
  ::sigaction(SIGCHLD, nullptr, &action);
  return text + (action.sa_handler == SIG_IGN ? "ignored" : "default");
}

const bool signals = add_role("signals", [](int argc, char** argv, const std::string&) {
  sigset_t mask;
  ::sigemptyset(&mask);
  ::sigaddset(&mask, SIGUSR1);
  ::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
  std::signal(SIGCHLD, SIG_IGN);
  const Runtime runtime{argc, argv};
  for (const StartMethod method : get_all_start_methods()) {
    Process process = get_context(method).process([] { std::puts(blocked_signals().c_str()); });
    process.start();
    process.join();
  }
  return 0;
});

// Processes have the signal mask and dispositions of the program, not those of the nursery.
TEST(Runtime, GivesProcessesTheSignalsOfTheProgram) {
  static_cast<void>(signals);
  Program program{"signals"};
  for (int i = 0; i < 3; ++i) EXPECT_EQ(program.read_line(), std::to_string(SIGUSR1) + " ignored");
  EXPECT_EQ(program.wait(), 0);
}

}  // namespace
