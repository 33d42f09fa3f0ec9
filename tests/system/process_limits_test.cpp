// When the system has no more processes to give: an error that names it, and everything works afterwards.

#include <troupe/context.hpp>
#include <troupe/error.hpp>
#include <troupe/process.hpp>
#include <troupe/runtime.hpp>

#include "support/forked.hpp"
#include "support/processes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstdio>
#include <string>
#include <sys/resource.h>
#include <unistd.h>
#include <vector>

namespace {

using namespace troupe;
using namespace troupe::test;
using testing::AnyOf;
using testing::HasSubstr;
using testing::StartsWith;
using testing::StrEq;

/// A user id that nobody else uses: the limit counts all processes of a user, and does not bind root.
constexpr uid_t lonely_user = 61'234;

/// Starts processes until it fails, says how, ends them all and starts one more.
int exhaust_processes(int argc, char** argv, const std::string& method) {
  if (::geteuid() == 0 && ::setresuid(lonely_user, lonely_user, lonely_user) != 0) return 1;
  const Runtime runtime{argc, argv};
  set_start_method(method);
  rlimit limit{.rlim_cur = 12, .rlim_max = 12};
  // The nursery is the one that forks, so the limit has to hold there: it is inherited by what is executed or forked.
  ::prlimit(::getpid(), RLIMIT_NPROC, &limit, nullptr);
  for (pid_t nursery = ::getpid(); method != "fork" && nursery == ::getpid();) {
    auto [mine, theirs] = make_line();
    Process asker{[](const FileDescriptor& line) { send_text(line, std::to_string(::getppid())); }, std::move(theirs)};
    asker.start();
    nursery = std::stoi(receive_text(mine));
    asker.join();
    if (::prlimit(nursery, RLIMIT_NPROC, &limit, nullptr) != 0) return 2;
  }

  std::vector<Process> processes;
  try {
    for (int i = 0; i < 100; ++i) {
      Process process{ProcessOptions{.name = "Process-" + std::to_string(i)}, [] { ::pause(); }};
      process.start();
      processes.push_back(std::move(process));
    }
    std::puts("no limit");
  } catch (const OSError& error) {
    std::printf("%d %s\n", error.errno_value(), error.what());
  }
  for (const Process& process : processes) process.kill();
  for (const Process& process : processes) process.join();
  Process another{[] {}};
  another.start();
  another.join();
  std::printf("%zu then %d\n", processes.size(), another.exitcode().value_or(-1));
  return 0;
}
const bool exhausting = add_role("exhaust processes", exhaust_processes);

/// The Runtime and a process with so few descriptors; says what fails.
int start_with_few_descriptors(int argc, char** argv, const std::string& count) {
  const auto number = static_cast<rlim_t>(std::stoi(count));
  const rlimit limit{.rlim_cur = number, .rlim_max = number};
  ::setrlimit(RLIMIT_NOFILE, &limit);
  try {
    const Runtime runtime{argc, argv};
    Process process{[] {}};
    process.start();
    process.join();
    std::printf("exit code %d\n", process.exitcode().value_or(-1));
  } catch (const OSError& error) {
    std::printf("%d %s\n", error.errno_value(), error.what());
  }
  return 0;
}
const bool starting_with_few = add_role("few descriptors", start_with_few_descriptors);

// However far it gets, the program says what has failed, or the process that it could start says so and has an exit
// code; nothing waits for what has failed.
TEST(DescriptorLimit, IsReportedByNameBeforeThereIsARuntime) {
  static_cast<void>(starting_with_few);
  if (sanitized) GTEST_SKIP() << "a sanitizer needs descriptors of its own";
  bool has_worked = false;
  for (int count = 3; count < 40; ++count) {
    Program program{"few descriptors", std::to_string(count)};
    const std::string line = program.read_line();
    EXPECT_EQ(program.wait(), 0);
    has_worked = line == "exit code 0";
    const testing::Matcher<std::string> named = HasSubstr("Too many open files");
    EXPECT_THAT(program.errors(), line == "exit code 1" ? named : StrEq("")) << count << " descriptors";
    EXPECT_THAT(line, AnyOf(StartsWith("exit code "), HasSubstr("Too many open files"))) << count << " descriptors";
  }
  EXPECT_TRUE(has_worked);
}

class ProcessLimit : public testing::TestWithParam<StartMethod> {};

TEST_P(ProcessLimit, IsReportedByNameAndHarmsNothing) {
  static_cast<void>(exhausting);
  if (::geteuid() != 0) GTEST_SKIP() << "this user may have other processes, which the limit would count";
  Program program{"exhaust processes", std::string(to_string(GetParam()))};
  const std::string report = program.read_line();
  EXPECT_THAT(report, testing::StartsWith(std::to_string(EAGAIN) + " starting Process-")) << program.errors();
  EXPECT_THAT(report, HasSubstr(": fork: "));
  const std::string afterwards = program.read_line();
  EXPECT_THAT(afterwards, HasSubstr(" then 0"));
  EXPECT_THAT(afterwards, testing::Not(testing::StartsWith("0 ")));
  EXPECT_EQ(program.wait(), 0) << program.errors();
}

INSTANTIATE_TEST_SUITE_P(By, ProcessLimit,
                         testing::Values(StartMethod::forkserver, StartMethod::fork, StartMethod::spawn),
                         [](const auto& method) { return std::string(to_string(method.param)); });

}  // namespace
