// When a process is killed, everything it started dies with it, whatever that was doing.

#include <troupe/context.hpp>
#include <troupe/pool.hpp>
#include <troupe/process.hpp>
#include <troupe/runtime.hpp>
#include <troupe/shared_memory.hpp>

#include "support/nursery.hpp"
#include "support/pools.hpp"
#include "support/processes.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <sstream>
#include <string>
#include <sys/stat.h>
#include <tuple>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe;
using namespace troupe::test;

void busy(const FileDescriptor& line) {
  send_text(line, std::to_string(::getpid()));
  for (std::atomic<unsigned> i = 0;; ++i) {
  }
}
void stopped(const FileDescriptor& line) {
  send_text(line, std::to_string(::getpid()));
  ::raise(SIGSTOP);
}
void deaf(const FileDescriptor& line) {
  for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGIO}) std::signal(number, SIG_IGN);
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  send_text(line, std::to_string(::getpid()));
  for (;;) ::pause();
}
void start_all(StartMethod method, const FileDescriptor& line, int generations);
void parent_of_more(const FileDescriptor& line, StartMethod method, int generations) {
  send_text(line, std::to_string(::getpid()));
  start_all(method, line, generations);
  for (;;) ::pause();
}

/// Starts one process of every kind, in as many generations; each says its pid on the line.
void start_all(StartMethod method, const FileDescriptor& line, int generations) {
  const Context context = get_context(method);
  const auto start = [&](bool daemon, auto target, auto... arguments) {
    Process process = context.process(ProcessOptions{.daemon = daemon}, target, copy_of(line), arguments...);
    process.start();
  };
  for (const bool daemon : {false, true}) {
    start(daemon, busy);
    start(daemon, stopped);
    start(daemon, deaf);
  }
  if (generations > 1) start(false, parent_of_more, method, generations - 1);
}

constexpr int processes_per_generation = 6;
constexpr int num_generations = 2;
constexpr int num_processes = num_generations * processes_per_generation + num_generations - 1;
constexpr int num_workers = 2;

std::filesystem::path memory_path(pid_t pid) { return "/dev/shm/troupe_family_" + std::to_string(pid); }

int run_family(int argc, char** argv, const std::string& method) {
  const Runtime runtime{argc, argv};
  set_start_method(method);
  Pool pool{num_workers};
  const auto memory = SharedMemory::create(100, memory_path(::getpid()).filename().string());
  std::printf("%d ", pid_of_starting_nursery());
  for (const pid_t worker : pool.worker_pids()) std::printf("%d ", worker);
  auto [mine, theirs] = make_line();
  start_all(start_method_named(method), theirs, num_generations);
  for (int i = 0; i < num_processes; ++i) std::printf("%s ", receive_text(mine).c_str());
  std::puts("");
  std::fflush(stdout);
  for (;;) ::pause();
}
const bool family = add_role("family", run_family);

std::vector<pid_t> read_pids(const std::string& line) {
  std::istringstream text{line};
  std::vector<pid_t> pids;
  for (pid_t pid = 0; text >> pid;) pids.push_back(pid);
  return pids;
}

using Files = std::set<std::pair<dev_t, ino_t>>;

/// What troupe has in memory and one of these processes has open.
Files open_memory(const std::vector<pid_t>& pids) {
  Files files;
  for (const pid_t pid : pids) {
    try {
      for (const auto& path : descriptors_of(pid, "memfd:troupe")) {
        struct stat status{};
        if (::stat(path.c_str(), &status) == 0) files.emplace(status.st_dev, status.st_ino);
      }
    } catch (const std::filesystem::filesystem_error&) {  // it has ended, or is somebody else's
    }
  }
  return files;
}

/// Whether any process of this system has one of these open.
bool is_any_open(const Files& files) {
  std::vector<pid_t> everybody;
  for (const auto& entry : std::filesystem::directory_iterator("/proc"))
    if (const pid_t pid = std::atoi(entry.path().filename().c_str()); pid > 0) everybody.push_back(pid);
  return std::ranges::any_of(open_memory(everybody), [&](const auto& file) { return files.contains(file); });
}

class ParentDeath : public testing::TestWithParam<StartMethod> {};

// Killed with SIGKILL, the main process takes all its processes along within a second, the nursery too. Nothing of what
// they shared stays.
TEST_P(ParentDeath, OfTheMainProcessEndsAllProcesses) {
  static_cast<void>(family);
  Program program{"family", std::string(to_string(GetParam()))};
  std::vector<pid_t> pids = read_pids(program.read_line());
  ASSERT_EQ(pids.size(), static_cast<std::size_t>(1 + num_workers + num_processes));
  for (const pid_t pid : pids) EXPECT_TRUE(is_running(pid));
  const Files memory = open_memory(pids);
  EXPECT_FALSE(memory.empty());
  EXPECT_TRUE(is_any_open(memory));
  EXPECT_TRUE(std::filesystem::exists(memory_path(program.pid())));

  ::kill(program.pid(), SIGKILL);
  EXPECT_EQ(still_running_after(pids, 1s), std::vector<pid_t>{});
  EXPECT_EQ(program.wait(), -SIGKILL);
  EXPECT_TRUE(comes_true([&] { return !is_any_open(memory); }));
  EXPECT_TRUE(comes_true([&] { return !std::filesystem::exists(memory_path(program.pid())); }));
}

/// How the process was started, and how it starts its own.
class ParentDeathInTheMiddle : public testing::TestWithParam<std::tuple<StartMethod, StartMethod>> {};

// A process in the middle takes its own processes along, and nobody else's.
TEST_P(ParentDeathInTheMiddle, EndsItsProcessesOnly) {
  const auto [method, method_of_children] = GetParam();
  auto [mine, theirs] = make_line();
  auto [my_other, their_other] = make_line();
  Process parent{ProcessOptions{.start_method = method}, parent_of_more, std::move(theirs), method_of_children, 1};
  parent.start();
  Process sibling{ProcessOptions{.daemon = true, .start_method = method}, busy, std::move(their_other)};
  sibling.start();
  std::vector<pid_t> pids;
  for (int i = 0; i < processes_per_generation + 1; ++i) pids.push_back(std::stoi(receive_text(mine)));
  receive_text(my_other);

  parent.kill();
  parent.join();
  EXPECT_EQ(still_running_after(pids, 1s), std::vector<pid_t>{});
  EXPECT_TRUE(sibling.is_alive());
  sibling.kill();
  sibling.join();
}

int die_while_starting(int argc, char** argv, const std::string&) {
  const Runtime runtime{argc, argv};
  auto [mine, theirs] = make_line();
  Process killer{ProcessOptions{.start_method = StartMethod::fork}, [] {
                   ::usleep(3000);
                   ::kill(::getppid(), SIGKILL);
                 }};
  killer.start();
  for (;;) {
    Process process{busy, copy_of(theirs)};
    process.start();
    std::printf("%d\n", *process.pid());
    std::fflush(stdout);
  }
}
const bool dying = add_role("die while starting", die_while_starting);

// Even processes that were just being started when it happened.
TEST(ParentDeathDuringStart, LeavesNothingBehind) {
  static_cast<void>(dying);
  for (int i = 0; i < 20; ++i) {
    Program program{"die while starting"};
    std::vector<pid_t> pids;
    for (std::string line = program.read_line(); line != "end of output"; line = program.read_line()) {
      ASSERT_NE(line, "timeout");
      pids.push_back(std::stoi(line));
    }
    EXPECT_EQ(program.wait(), -SIGKILL);
    EXPECT_EQ(still_running_after(pids, 1s), std::vector<pid_t>{});
  }
}

const auto every_method = testing::Values(StartMethod::forkserver, StartMethod::fork, StartMethod::spawn);
INSTANTIATE_TEST_SUITE_P(By, ParentDeath, every_method,
                         [](const auto& method) { return std::string(to_string(method.param)); });
INSTANTIATE_TEST_SUITE_P(By, ParentDeathInTheMiddle, testing::Combine(every_method, every_method),
                         [](const auto& methods) {
                           return std::string(to_string(std::get<0>(methods.param))) + "_then_" +
                                  std::string(to_string(std::get<1>(methods.param)));
                         });

}  // namespace
