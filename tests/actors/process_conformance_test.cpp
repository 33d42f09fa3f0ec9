// The cases of CPython's _TestProcess under their names and for every start method, but those about the standard
// streams. What each pins down is restated in one line.

#include <troupe/context.hpp>
#include <troupe/dummy.hpp>
#include <troupe/error.hpp>
#include <troupe/process.hpp>

#include "support/process_cases.hpp"
#include "support/processes.hpp"
#include "support/start_methods.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <memory>
#include <string>
#include <sys/syscall.h>
#include <tuple>
#include <unistd.h>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe;
using namespace troupe::test;

std::string to_text(const std::vector<std::byte>& bytes) {
  std::string text;
  for (const std::byte byte : bytes) text += std::to_string(static_cast<int>(byte)) + ".";
  return text;
}

bool is_listed(const Process& process) {
  const auto children = active_children();
  return std::ranges::find(children, static_cast<const ProcessRef&>(process)) != children.end();
}

class TestProcess : public EveryMethod {};

// The handle of the calling process is alive, not daemonic, has a key, its own pid, and no exit code.
TEST_P(TestProcess, test_current) {
  const ProcessRef current = current_process();
  EXPECT_TRUE(current.is_alive());
  EXPECT_FALSE(current.daemon());
  EXPECT_FALSE(current.authkey().empty());
  EXPECT_EQ(current.ident(), ::getpid());
  EXPECT_EQ(current.exitcode(), std::nullopt);
}

void tell_program(const FileDescriptor& line) { send_text(line, std::filesystem::read_symlink("/proc/self/exe")); }

// The program that spawned children execute can be set from text, bytes or a path.
TEST_P(TestProcess, test_set_executable) {
  const std::filesystem::path original = std::filesystem::read_symlink("/proc/self/exe");
  const std::string bytes = original.native() + "-bytes";
  const std::string text = original.native() + "-text";
  const std::filesystem::path path = original.native() + "-path";
  const auto expect_runs = [&](const std::filesystem::path& executable) {
    std::filesystem::remove(executable);
    std::filesystem::create_hard_link(original, executable);
    Process empty;
    empty.start();
    empty.join();
    EXPECT_EQ(empty.exitcode(), 0);
    auto [mine, theirs] = make_line();
    Process process{tell_program, std::move(theirs)};
    process.start();
    EXPECT_EQ(receive_text(mine), GetParam() == StartMethod::spawn ? executable : original);
    process.join();
    std::filesystem::remove(executable);
  };
  set_executable(text.c_str());
  expect_runs(text);
  set_executable(bytes);
  expect_runs(bytes);
  set_executable(path);
  expect_runs(path);
  set_executable("");
}

// Arguments arrive equal to what was passed, one by one or from a tuple.
TEST_P(TestProcess, test_args_argument) {
  const auto check = [](auto target, const auto& value) { expect_takes<Process>(target, value); };
  check([](int x) { std::exit(x == 1 ? 0 : 1); }, 1);
  check([](const std::string& x) { std::exit(x == "str" ? 0 : 1); }, "str");
  check([](const std::vector<int>& x) { std::exit(x == std::vector{1} ? 0 : 1); }, std::vector{1});
  check([](std::tuple<int> x) { std::exit(x == std::tuple{1} ? 0 : 1); }, std::tuple{1});
}

// Without the flag a process is daemonic if its creator is; the flag wins either way.
TEST_P(TestProcess, test_daemon_argument) {
  const auto nothing = [] {};
  const Process plain{nothing};
  EXPECT_EQ(plain.daemon(), current_process().daemon());
  const Process daemonic{ProcessOptions{.daemon = true}, nothing};
  EXPECT_TRUE(daemonic.daemon());
  const Process other{ProcessOptions{.daemon = false}, nothing};
  EXPECT_FALSE(other.daemon());

  auto [mine, theirs] = make_line();
  Process reporter{ProcessOptions{.daemon = true},
                   [](const FileDescriptor& line) {
                     const Process inner{[] {}};
                     const Process explicitly{ProcessOptions{.daemon = false}, [] {}};
                     send_text(line, std::to_string(inner.daemon()) + std::to_string(explicitly.daemon()));
                   },
                   std::move(theirs)};
  reporter.start();
  EXPECT_EQ(receive_text(mine), "10");
  reporter.join();
}

// parent_process() is none in the top process; in a child it names the creator.
TEST_P(TestProcess, test_parent_process_attributes) {
  EXPECT_EQ(parent_process(), std::nullopt);
  auto [mine, theirs] = make_line();
  Process process{[](const FileDescriptor& line) {
                    const auto parent = parent_process();
                    send_text(line, parent ? std::to_string(*parent->pid()) + " " + parent->name() : "none");
                  },
                  std::move(theirs)};
  process.start();
  EXPECT_EQ(receive_text(mine), std::to_string(::getpid()) + " " + current_process().name());
  process.join();
}

struct Keywords {
  bool hello = false;
  double bye = 0;
};

void report_everything(const FileDescriptor& line, int first, int second, const Keywords& keywords) {
  const ProcessRef current = current_process();
  send_text(line, std::to_string(first) + " " + std::to_string(second) + " " + std::to_string(keywords.hello) + " " +
                      std::to_string(keywords.bye) + " " + current.name() + " " + to_text(current.authkey()) + " " +
                      std::to_string(*current.pid()));
  receive_text(line);  // may go on
}

// The whole life of a process: before start, running, after join; and what the child sees.
TEST_P(TestProcess, test_process) {
  auto [mine, theirs] = make_line();
  Process process{ProcessOptions{.name = "SomeProcess", .daemon = true},
                  report_everything,
                  std::move(theirs),
                  1,
                  2,
                  Keywords{.hello = true, .bye = 2.54}};
  EXPECT_EQ(process.authkey(), current_process().authkey());
  EXPECT_FALSE(process.is_alive());
  EXPECT_TRUE(process.daemon());
  EXPECT_FALSE(is_listed(process));
  EXPECT_EQ(process.exitcode(), std::nullopt);

  process.start();
  EXPECT_EQ(process.exitcode(), std::nullopt);
  EXPECT_TRUE(process.is_alive());
  EXPECT_TRUE(is_listed(process));
  EXPECT_EQ(receive_text(mine), "1 2 1 2.540000 SomeProcess " + to_text(current_process().authkey()) + " " +
                                    std::to_string(*process.pid()));
  EXPECT_TRUE(process.is_alive());
  send_text(mine, "go on");

  process.join();
  EXPECT_EQ(process.exitcode(), 0);
  EXPECT_FALSE(process.is_alive());
  EXPECT_FALSE(is_listed(process));
}

// The id of the child's main thread is its own: none is kept across a fork.
TEST_P(TestProcess, test_process_mainthread_native_id) {
  auto [mine, theirs] = make_line();
  const long own_id = ::syscall(SYS_gettid);
  Process process{[](const FileDescriptor& line) {
                    send_text(line, std::to_string(::gettid()) + " " + std::to_string(::syscall(SYS_gettid)));
                  },
                  std::move(theirs)};
  process.start();
  const std::string text = receive_text(mine);
  EXPECT_EQ(text, std::to_string(*process.pid()) + " " + std::to_string(*process.pid()));
  EXPECT_NE(*process.pid(), own_id);
  process.join();
}

void sleep_long() { ::sleep(100); }

void check_end(void (ProcessRef::*end)() const, int expected) {
  Process process{ProcessOptions{.daemon = true}, sleep_long};
  process.start();
  EXPECT_TRUE(process.is_alive());
  EXPECT_TRUE(is_listed(process));
  EXPECT_EQ(process.exitcode(), std::nullopt);

  for (const auto timeout : {0s, -1s}) {
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_FALSE(process.join(timeout));
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 1s);
    EXPECT_TRUE(process.is_alive());
  }

  (process.*end)();
  EXPECT_TRUE(process.join(patience));
  EXPECT_FALSE(process.is_alive());
  EXPECT_FALSE(is_listed(process));
  process.join();
  EXPECT_EQ(process.exitcode(), expected);
}

// join with no or a negative timeout does not wait; a terminated process ends with minus SIGTERM.
TEST_P(TestProcess, test_terminate) { check_end(&ProcessRef::terminate, -SIGTERM); }

// The same with kill and SIGKILL.
TEST_P(TestProcess, test_kill) { check_end(&ProcessRef::kill, -SIGKILL); }

// At least one.
TEST_P(TestProcess, test_cpu_count) { EXPECT_GE(cpu_count(), 1); }

// A process is listed only between start and join.
TEST_P(TestProcess, test_active_children) {
  EXPECT_TRUE(active_children().empty());
  auto [mine, theirs] = make_line();
  Process process{[](const FileDescriptor& line) { receive_text(line); }, std::move(theirs)};
  EXPECT_FALSE(is_listed(process));
  process.start();
  EXPECT_TRUE(is_listed(process));
  send_text(mine, "end");
  process.join();
  EXPECT_FALSE(is_listed(process));
}

void recurse(const FileDescriptor& line, const std::vector<int>& path) {
  std::string text = "[";
  for (const int step : path) text += std::to_string(step);
  send_text(line, text + "]");
  if (path.size() == 2) return;
  for (int step = 0; step < 2; ++step) {
    std::vector<int> longer = path;
    longer.push_back(step);
    Process process{recurse, copy_of(line), std::move(longer)};
    process.start();
    process.join();
  }
}

// Processes start processes, and pass a connection down two generations.
TEST_P(TestProcess, test_recursion) {
  auto [mine, theirs] = make_line();
  recurse(theirs, {});
  for (const char* expected : {"[]", "[0]", "[00]", "[01]", "[1]", "[10]", "[11]"})
    EXPECT_EQ(receive_text(mine), expected);
}

// The sentinel exists once the process is started and is ready once it has ended.
TEST_P(TestProcess, test_sentinel) {
  auto [mine, theirs] = make_line();
  Process process{[](const FileDescriptor& line) { receive_text(line); }, std::move(theirs)};
  EXPECT_THROW(process.sentinel(), ValueError);
  process.start();
  const int sentinel = process.sentinel();
  EXPECT_GE(sentinel, 0);
  EXPECT_FALSE(is_readable(sentinel));
  send_text(mine, "end");
  process.join();
  EXPECT_TRUE(is_readable(sentinel, 1s));
}

// Many at once, and many terminated soon after their start.
TEST_P(TestProcess, test_many_processes) {
  const int count = GetParam() == StartMethod::spawn ? 5 : 100;
  std::vector<Process> processes;
  for (int i = 0; i < count; ++i) processes.emplace_back([] { ::usleep(10'000); });
  for (Process& process : processes) process.start();
  for (const Process& process : processes) process.join();
  for (const Process& process : processes) EXPECT_EQ(process.exitcode(), 0);

  std::vector<Process> sleepers;
  for (int i = 0; i < count; ++i) sleepers.emplace_back(sleep_long);
  for (Process& process : sleepers) process.start();
  for (const Process& process : sleepers) process.terminate();
  for (const Process& process : sleepers) process.join();
  for (const Process& process : sleepers) EXPECT_EQ(process.exitcode(), -SIGTERM);
}

void run_threads(const FileDescriptor& line) {
  const auto copy = std::make_shared<FileDescriptor>(copy_of(line));
  dummy::Process unended{dummy::ProcessOptions{.daemon = true}, [] { ::pause(); }};
  dummy::Process waited_for{[copy] {
    receive_text(*copy);
    send_text(*copy, "gone on");
  }};
  unended.start();
  waited_for.start();
  send_text(line, "returns");
}

// A child whose target has returned waits for its threads, but not for those that are daemons.
TEST_P(TestProcess, test_wait_for_threads) {
  auto [mine, theirs] = make_line();
  Process process{run_threads, std::move(theirs)};
  process.start();
  EXPECT_EQ(receive_text(mine), "returns");
  EXPECT_FALSE(process.join(50ms));
  send_text(mine, "go on");
  EXPECT_EQ(receive_text(mine), "gone on");
  EXPECT_TRUE(process.join(patience));
  EXPECT_EQ(process.exitcode(), 0);
  EXPECT_EQ(receive_text(mine, 0s), "end of line");
}

// The process behind forkserver and spawn ignores SIGINT and goes on serving; its children go on working.
TEST_P(TestProcess, test_forkserver_sigint) {
  if (GetParam() == StartMethod::fork) GTEST_SKIP() << "fork has no server";
  auto [mine, theirs] = make_line();
  Process first{[](const FileDescriptor& line) {
                  send_text(line, std::to_string(::getppid()));
                  receive_text(line);
                },
                std::move(theirs)};
  first.start();
  const pid_t server = std::stoi(receive_text(mine));
  ASSERT_EQ(::kill(server, SIGINT), 0);

  auto [my_other, their_other] = make_line();
  Process second{[](const FileDescriptor& line) { send_text(line, "ran"); }, std::move(their_other)};
  second.start();
  EXPECT_EQ(receive_text(my_other), "ran");
  second.join();
  EXPECT_EQ(second.exitcode(), 0);
  EXPECT_TRUE(is_running(server));
  send_text(mine, "end");
  first.join();
  EXPECT_EQ(first.exitcode(), 0);
}

INSTANTIATE_TEST_SUITE_P(P, TestProcess, every_start_method, name_of_method);

}  // namespace
