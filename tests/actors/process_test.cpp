// Process: what it refuses, what it is called, how it ends, and the programs that notes on multiprocessing begin with.

#include <troupe/context.hpp>
#include <troupe/error.hpp>
#include <troupe/process.hpp>

#include "support/processes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <iostream>
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

void wait_for_word(const FileDescriptor& line) { receive_text(line); }

/// A process that runs until it is told to end.
struct Running {
  explicit Running(ProcessOptions options = {}) {
    auto [mine, theirs] = make_line();
    line = std::move(mine);
    process = Process{std::move(options), wait_for_word, std::move(theirs)};
    process.start();
  }
  void end() {
    send_text(line, "end");
    process.join();
  }
  FileDescriptor line;
  Process process;
};

class ProcessEveryMethod : public testing::TestWithParam<StartMethod> {
 protected:
  void SetUp() override { set_start_method(GetParam(), true); }
  void TearDown() override { set_start_method(std::nullopt, true); }
};

/// The text of the error of type E that `code` throws.
template <class E, class F>
std::string error_of(F code) {
  try {
    code();
  } catch (const E& error) {
    return error.what();
  } catch (const std::exception& error) {
    return std::string("another error: ") + error.what();
  }
  return "no error";
}

TEST_P(ProcessEveryMethod, CannotBeStartedTwice) {
  Running running;
  EXPECT_THAT(error_of<AssertionError>([&] { running.process.start(); }), HasSubstr("was started before"));
  running.end();
  EXPECT_THROW(running.process.start(), AssertionError);
}

TEST_P(ProcessEveryMethod, CannotBeJoinedOrSignalledBeforeStart) {
  Process process{[] {}};
  EXPECT_THAT(error_of<AssertionError>([&] { process.join(); }), HasSubstr("can only join a started process"));
  EXPECT_THROW(process.join(0s), AssertionError);
  EXPECT_THROW(process.terminate(), AssertionError);
  EXPECT_THROW(process.kill(), AssertionError);
  EXPECT_EQ(process.pid(), std::nullopt);
}

TEST_P(ProcessEveryMethod, CannotChangeTheDaemonFlagAfterStart) {
  Running running;
  EXPECT_THAT(error_of<AssertionError>([&] { running.process.set_daemon(true); }), HasSubstr("already started"));
  running.end();
}

// A daemonic process may not have children: they would be orphans when it is terminated.
TEST_P(ProcessEveryMethod, CannotBeStartedByADaemonicProcess) {
  auto [mine, theirs] = make_line();
  Process process{ProcessOptions{.daemon = true},
                  [](const FileDescriptor& line) {
                    send_text(line, error_of<AssertionError>([] {
                                Process inner{[] {}};
                                inner.start();
                              }));
                  },
                  std::move(theirs)};
  process.start();
  EXPECT_THAT(receive_text(mine), HasSubstr("is daemonic and may not start"));
  process.join();
}

TEST_P(ProcessEveryMethod, IsClosedOnlyWhenItHasEnded) {
  Running running;
  EXPECT_THAT(error_of<ValueError>([&] { running.process.close(); }), HasSubstr("while it is running"));
  running.end();
  running.process.close();
  running.process.close();
  EXPECT_THROW(running.process.join(), ValueError);
  EXPECT_THROW(running.process.is_alive(), ValueError);
  EXPECT_THROW(running.process.name(), ValueError);
  EXPECT_THAT(running.process.to_string(), HasSubstr("closed"));
}

TEST_P(ProcessEveryMethod, ReportsExactExitCodes) {
  const auto exit_code_of = [](auto target) {
    Process process{target};
    process.start();
    EXPECT_TRUE(process.join(patience));
    return process.exitcode().value_or(-1000);
  };
  EXPECT_EQ(exit_code_of([] {}), 0);
  EXPECT_EQ(exit_code_of([] { std::exit(7); }), 7);
  EXPECT_EQ(exit_code_of([] { ::_exit(255); }), 255);
  EXPECT_EQ(exit_code_of([] { ::raise(SIGKILL); }), -SIGKILL);
  EXPECT_EQ(exit_code_of([] { ::raise(SIGUSR1); }), -SIGUSR1);
}

TEST_P(ProcessEveryMethod, ReportsWhatWasThrown) {
  const auto report_of = [](auto target) {
    const Redirected errors{STDERR_FILENO};
    Process process{ProcessOptions{.name = "Unlucky"}, target};
    process.start();
    process.join();
    EXPECT_EQ(process.exitcode(), 1);
    return errors.text();
  };
  EXPECT_EQ(report_of([] { throw std::out_of_range("no such item"); }),
            "Process Unlucky:\nstd::out_of_range: no such item\n");
  EXPECT_EQ(report_of([] { throw ValueError("bad"); }), "Process Unlucky:\ntroupe::ValueError: bad\n");
  EXPECT_EQ(report_of([] { throw 42; }), "Process Unlucky:\nint: thrown, but not an exception\n");
}

void report_name(const FileDescriptor& line, int depth) {
  send_text(line, current_process().name());
  if (depth == 0) return;
  for (int i = 0; i < 2; ++i) {
    Process inner{report_name, copy_of(line), depth - 1};
    inner.start();
    inner.join();
  }
}

// "Process-N" for the main process's children, "Process-N:1", "Process-N:2" for theirs, whatever they are called.
TEST_P(ProcessEveryMethod, NamesAreColonPaths) {
  EXPECT_EQ(current_process().name(), "MainProcess");
  auto [mine, theirs] = make_line();
  Process process{report_name, std::move(theirs), 1};
  const std::string name = process.name();
  EXPECT_THAT(name, testing::StartsWith("Process-"));
  process.start();
  process.join();
  EXPECT_EQ(receive_text(mine), name);
  EXPECT_EQ(receive_text(mine), name + ":1");
  EXPECT_EQ(receive_text(mine), name + ":2");
}

TEST_P(ProcessEveryMethod, ShowsItsStateAsText) {
  Running running{{.name = "Sleeper", .daemon = true}};
  const std::string pid = std::to_string(*running.process.pid());
  const std::string parent = std::to_string(::getpid());
  EXPECT_EQ(running.process.to_string(),
            "<Process name='Sleeper' pid=" + pid + " parent=" + parent + " started daemon>");
  running.process.terminate();
  running.process.join();
  EXPECT_EQ(running.process.to_string(),
            "<Process name='Sleeper' pid=" + pid + " parent=" + parent + " stopped exitcode=-SIGTERM daemon>");
  EXPECT_EQ(Process(ProcessOptions{.name = "New"}).to_string(), "<Process name='New' parent=" + parent + " initial>");
}

// run() called directly runs in the caller, and join is a misuse then.
TEST_P(ProcessEveryMethod, RunsInTheCallerWhenRunIsCalled) {
  static pid_t ran_in = 0;
  Process process{[] { ran_in = ::getpid(); }};
  process.run();
  EXPECT_EQ(ran_in, ::getpid());
  EXPECT_THROW(process.join(), AssertionError);
}

// Only the maker may start or join, or ask: a forked copy of the object says so.
TEST(Process, BelongsToItsMaker) {
  Running running;
  Process unstarted{[] {}};
  auto [mine, theirs] = make_line();
  Process other{ProcessOptions{.start_method = StartMethod::fork}, [&, line = theirs.get()] {
                  send_text(line, error_of<AssertionError>([&] { unstarted.start(); }));
                  send_text(line, error_of<AssertionError>([&] { running.process.join(); }));
                  send_text(line, error_of<AssertionError>([&] { running.process.is_alive(); }));
                  send_text(line, running.process.to_string());
                }};
  other.start();
  EXPECT_THAT(receive_text(mine), HasSubstr("by the process that made it"));
  EXPECT_THAT(receive_text(mine), HasSubstr("is not its child"));
  EXPECT_THAT(receive_text(mine), HasSubstr("is not its child"));
  EXPECT_THAT(receive_text(mine), HasSubstr("unknown"));
  other.join();
  running.end();
}

// Under fork anything can be run; elsewhere what cannot travel is an error that says what to do, and nothing starts.
TEST(Process, TakesAnyCallableUnderFork) {
  auto [mine, theirs] = make_line();
  std::string captured = "by reference";
  const auto closure = [&] { send_text(theirs, captured); };
  Process process{ProcessOptions{.start_method = StartMethod::fork}, closure};
  process.start();
  EXPECT_EQ(receive_text(mine), "by reference");
  process.join();

  Process refused{ProcessOptions{.start_method = StartMethod::spawn}, closure};
  const std::string text = error_of<TypeError>([&] { refused.start(); });
  EXPECT_THAT(text, HasSubstr("cannot travel"));
  EXPECT_THAT(text, HasSubstr("as arguments"));
  EXPECT_FALSE(refused.is_alive());
}

struct NotEncodable {
  virtual ~NotEncodable() = default;
};

TEST(Process, NamesTheArgumentThatCannotTravel) {
  Process process{[](const NotEncodable&) {}, NotEncodable{}};
  const std::string text = error_of<TypeError>([&] { process.start(); });
  EXPECT_THAT(text, HasSubstr("NotEncodable"));
  EXPECT_THAT(text, HasSubstr("give its type TROUPE_FIELDS or a Codec, or use the start method fork"));
}

// An empty descriptor cannot be handed over; the object is not started and may be used again.
TEST(Process, SaysWhenADescriptorIsEmpty) {
  Process process{wait_for_word, FileDescriptor{}};
  EXPECT_THROW(process.start(), ValueError);
  EXPECT_EQ(process.exitcode(), std::nullopt);
}

// The key is the creator's unless set, and reaches grandchildren.
TEST(Process, HandsItsAuthkeyDown) {
  auto [mine, theirs] = make_line();
  const std::vector<std::byte> key{std::byte{1}, std::byte{2}, std::byte{3}};
  Process process{[](const FileDescriptor& line) {
                    Process inner{[](const FileDescriptor& out) {
                                    send_text(out, std::to_string(current_process().authkey().size()));
                                  },
                                  copy_of(line)};
                    inner.start();
                    inner.join();
                  },
                  std::move(theirs)};
  process.set_authkey(key);
  process.start();
  EXPECT_EQ(receive_text(mine), "3");
  process.join();
  EXPECT_THROW(process.set_authkey({}), ValueError);
}

// A handle may outlive the object that started the process.
TEST(Process, IsReachedThroughRefs) {
  auto [mine, theirs] = make_line();
  std::vector<ProcessRef> refs;
  {
    Process process{wait_for_word, std::move(theirs)};
    process.start();
    refs = active_children();
    EXPECT_EQ(refs, std::vector<ProcessRef>{process});
  }
  send_text(mine, "end");
  EXPECT_TRUE(refs.at(0).join(patience));
  EXPECT_EQ(refs.at(0).exitcode(), 0);
}

// Handing over 16 MB costs a copy, not a limit.
TEST_P(ProcessEveryMethod, TakesLargeArguments) {
  auto [mine, theirs] = make_line();
  std::vector<double> numbers(2'000'000, 0.5);
  Process process{[](const FileDescriptor& line, const std::vector<double>& all) {
                    double sum = 0;
                    for (const double number : all) sum += number;
                    send_text(line, std::to_string(static_cast<long>(sum)));
                  },
                  std::move(theirs), std::move(numbers)};
  process.start();
  EXPECT_EQ(receive_text(mine), "1000000");
  process.join();
}

// The child starts in the directory that its creator is in now, and prints where its creator prints now.
TEST_P(ProcessEveryMethod, InheritsDirectoryAndOutput) {
  char before[4096];
  ASSERT_NE(::getcwd(before, sizeof before), nullptr);
  ASSERT_EQ(::chdir("/usr"), 0);
  const Redirected output{STDOUT_FILENO};
  Process process{[] {
    char here[4096];
    std::cout << (::getcwd(here, sizeof here) != nullptr ? here : "?");
  }};
  process.start();
  process.join();
  EXPECT_EQ(::chdir(before), 0);
  EXPECT_EQ(output.text(), "/usr");
}

// The environment is that of the creator now, not that of the time when the Runtime was made; grandchildren's as well.
TEST_P(ProcessEveryMethod, InheritsTheEnvironment) {
  ::setenv("TROUPE_TEST_VARIABLE", "set late", 1);
  auto [mine, theirs] = make_line();
  Process process{[](const FileDescriptor& line) {
                    const char* variable = std::getenv("TROUPE_TEST_VARIABLE");
                    send_text(line, variable == nullptr ? "unset" : variable);
                    ::unsetenv("TROUPE_TEST_VARIABLE");
                    Process inner{[](const FileDescriptor& out) {
                                    const char* same = std::getenv("TROUPE_TEST_VARIABLE");
                                    send_text(out, same == nullptr ? "unset" : same);
                                  },
                                  copy_of(line)};
                    inner.start();
                    inner.join();
                  },
                  std::move(theirs)};
  process.start();
  EXPECT_EQ(receive_text(mine), "set late");
  EXPECT_EQ(receive_text(mine), "unset");
  process.join();
  ::unsetenv("TROUPE_TEST_VARIABLE");
}

// What a process is started with travels in the request while it is small, in a file of its own when it is not.
TEST_P(ProcessEveryMethod, ArgumentsOfAnySizeArrive) {
  for (const std::size_t size : {0U, 100U, 3500U, 4000U, 4500U, 8192U, 1U << 20U}) {
    auto [mine, theirs] = make_line();
    Process process{[](const FileDescriptor& line, const std::string& text) {
                      const bool is_whole = text.find_first_not_of('x') == std::string::npos;
                      send_text(line, is_whole ? std::to_string(text.size()) : "damaged");
                    },
                    std::move(theirs), std::string(size, 'x')};
    process.start();
    EXPECT_EQ(receive_text(mine), std::to_string(size));
    process.join();
  }
}

TEST_P(ProcessEveryMethod, ItsStandardInputIsTheNullDevice) {
  const Redirected not_null{STDIN_FILENO};
  auto [mine, theirs] = make_line();
  Process process{
      [](const FileDescriptor& line) { send_text(line, std::filesystem::read_symlink("/proc/self/fd/0").string()); },
      std::move(theirs)};
  process.start();
  EXPECT_EQ(receive_text(mine), "/dev/null");
  process.join();
}

INSTANTIATE_TEST_SUITE_P(P, ProcessEveryMethod,
                         testing::Values(StartMethod::forkserver, StartMethod::fork, StartMethod::spawn),
                         [](const auto& method) { return std::string(to_string(method.param)); });

}  // namespace
