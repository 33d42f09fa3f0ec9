// What a pool survives: workers that end in every way, errors that cannot be sent, limits of the system, a parent that
// is killed. Real processes, real signals.

#include <troupe/child.hpp>
#include <troupe/context.hpp>
#include <troupe/error.hpp>
#include <troupe/pool.hpp>
#include <troupe/process.hpp>

#include "support/one_piece.hpp"
#include "support/pools.hpp"
#include "support/processes.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <numeric>
#include <ranges>
#include <sstream>
#include <string>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using namespace std::chrono_literals;
using troupe::AsyncResult;
using troupe::Pool;
using troupe::PoolOptions;
using troupe::WorkerDied;
using troupe::test::comes_true;
using troupe::test::expect_works;
using troupe::test::is_running;
using troupe::test::mappings_of;
using troupe::test::square;

std::size_t count_entries(const char* folder) {
  return static_cast<std::size_t>(std::ranges::distance(std::filesystem::directory_iterator(folder)));
}

// --- Ways to die ---

enum class Death { exit_0, exit_3, exit_at_once, abort, bad_access, kill, terminate };

int die(Death how) {
  std::signal(SIGSEGV, SIG_DFL);  // sanitizers catch these two; here they are to kill
  std::signal(SIGABRT, SIG_DFL);
  switch (how) {
    case Death::exit_0: std::exit(0);
    case Death::exit_3: std::exit(3);
    case Death::exit_at_once: std::_Exit(4);
    case Death::abort: std::abort();
    case Death::bad_access: {
      void* guarded = ::mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      *static_cast<volatile char*>(guarded) = 1;
      break;
    }
    case Death::kill: ::raise(SIGKILL); break;
    case Death::terminate: ::raise(SIGTERM); break;
  }
  return 0;
}

int exitcode_of(Death how) {
  switch (how) {
    case Death::exit_0: return 0;
    case Death::exit_3: return 3;
    case Death::exit_at_once: return 4;
    case Death::abort: return -SIGABRT;
    case Death::bad_access: return -SIGSEGV;
    case Death::kill: return -SIGKILL;
    case Death::terminate: return -SIGTERM;
  }
  return 0;
}

std::string name_of(Death how) {
  constexpr const char* names[] = {"exit_0", "exit_3", "exit_at_once", "abort", "bad_access", "kill", "terminate"};
  return names[static_cast<int>(how)];
}

class PoolDeath : public testing::TestWithParam<std::tuple<Death, int>> {};

// Only the guilty task fails, with the whole story; those before and behind it are done, once; the worker is replaced.
TEST_P(PoolDeath, CostsOnlyTheGuiltyTask) {
  const auto [how, workers] = GetParam();
  Pool pool{workers};
  std::vector<AsyncResult<int>> before;
  std::vector<AsyncResult<int>> behind;
  for (int i = 0; i < 50; ++i) before.push_back(pool.apply_async(square, i));
  const auto guilty = pool.apply_async(die, how);
  for (int i = 0; i < 50; ++i) behind.push_back(pool.apply_async(square, i));
  try {
    guilty.get(20s);
    FAIL() << "the task ended with a value";
  } catch (const WorkerDied& error) {
    EXPECT_EQ(error.exitcode(), exitcode_of(how));
    EXPECT_GT(error.pid(), 0);
    EXPECT_EQ(error.attempts(), 1U);
    EXPECT_NE(std::string(error.what()).find(troupe::describe_exitcode(exitcode_of(how))), std::string::npos)
        << error.what();
    EXPECT_NE(error.task().find('#'), std::string::npos) << error.task();
  }
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(before[static_cast<std::size_t>(i)].get(20s), i * i);
    EXPECT_EQ(behind[static_cast<std::size_t>(i)].get(20s), i * i);
  }
  expect_works(pool, static_cast<std::size_t>(workers));
}

INSTANTIATE_TEST_SUITE_P(Ways, PoolDeath,
                         testing::Combine(testing::Values(Death::exit_0, Death::exit_3, Death::exit_at_once,
                                                          Death::abort, Death::bad_access, Death::kill,
                                                          Death::terminate),
                                          testing::Values(1, 2, 5)),
                         [](const auto& parameter) {
                           return name_of(std::get<0>(parameter.param)) + "_of_" +
                                  std::to_string(std::get<1>(parameter.param));
                         });

TEST(PoolFaults, AnIdleWorkerThatIsKilledIsReplaced) {
  Pool pool{2};
  expect_works(pool, 2);
  const auto old = pool.worker_pids();
  for (const pid_t pid : old) ::kill(pid, SIGKILL);
  EXPECT_TRUE(comes_true([&] {
    const auto now = pool.worker_pids();
    return now.size() == 2 && std::ranges::find_first_of(now, old) == now.end();
  }));
  expect_works(pool, 2);
}

// The replacement of the worker that took the last task along comes when all others have been told to end.
TEST(PoolFaults, AClosedPoolEndsWhenItsLastTaskDies) {
  for (const int workers : {1, 3}) {
    Pool pool{workers};
    const auto last = pool.apply_async([] {
      ::raise(SIGSTOP);
      ::raise(SIGKILL);
    });
    const auto pids = pool.worker_pids();
    pid_t stopped = 0;
    ASSERT_TRUE(comes_true([&] {
      for (const pid_t pid : pids)
        if (troupe::test::process_state(pid) == 'T') stopped = pid;
      return stopped != 0;
    }));
    pool.close();
    ::kill(stopped, SIGCONT);
    EXPECT_THROW(last.get(20s), WorkerDied);
    EXPECT_TRUE(pool.join(20s));
    EXPECT_TRUE(pool.worker_pids().empty());
  }
}

pid_t parent_of(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(stat, text);
  std::istringstream after_name(text.substr(text.rfind(')') + 2));
  char state = 0;
  pid_t parent = 0;
  after_name >> state >> parent;
  return parent;
}

// The nursery takes its processes along; the pool gets new ones from a new nursery.
TEST(PoolFaults, TheNurserysDeathCostsOnlyRunningTasks) {
  Pool pool{2};
  expect_works(pool, 2);
  // A task that has begun: its worker stops itself, which can be seen from here.
  const auto running = pool.apply_async([](int x) { return ::raise(SIGSTOP), x; }, 1);
  const auto pids = pool.worker_pids();
  ASSERT_TRUE(comes_true(
      [&] { return std::ranges::any_of(pids, [](pid_t pid) { return troupe::test::process_state(pid) == 'T'; }); }));
  const pid_t nursery = parent_of(pids.at(0));
  ASSERT_NE(nursery, ::getpid());
  ::kill(nursery, SIGKILL);
  EXPECT_THROW(running.get(20s), WorkerDied);
  expect_works(pool, 2);
}

struct Unencodable {
  int value = 0;
};

}  // namespace

template <>
struct troupe::Codec<Unencodable> {
  static void encode(const Unencodable&, wire::Value::Builder) { throw ValueError("this value cannot be encoded"); }
  static Unencodable decode(wire::Value::Reader) { return {}; }
};

namespace {

TEST(PoolFaults, AResultThatCannotBeEncodedIsAnErrorOfItsTask) {
  Pool pool{2};
  EXPECT_THROW(pool.apply([](int x) { return Unencodable{x}; }, 1), troupe::ValueError);
  EXPECT_THROW(pool.apply([](Unencodable u) { return u.value; }, Unencodable{1}), troupe::ValueError);
  expect_works(pool, 2);
}

TEST(PoolFaults, AnErrorWithAHugeTextArrives) {
  Pool pool{2};
  EXPECT_THROW(pool.apply([](int) -> int { throw troupe::ValueError(std::string(16U << 20U, 'x')); }, 1),
               troupe::ValueError);
  expect_works(pool, 2);
}

// A list on the wire has less than 2^29 elements; one more is an error, not a crash.
TEST(PoolFaults, AResultLargerThanAnyMessageIsAnErrorOfItsTask) {
  Pool pool{1};
  EXPECT_THROW(pool.apply([](int) { return std::vector<std::byte>(std::size_t{1} << 29U); }, 1), troupe::CodecError);
  expect_works(pool, 1);
}

// Workers are killed at random while every result is checked.
TEST(PoolFaults, AStormOfKillsLosesNothing) {
  Pool pool{3};
  constexpr int num_tasks = 3000;
  std::vector<AsyncResult<int>> results;
  for (int i = 0; i < num_tasks; ++i)
    results.push_back(pool.apply_async(
        [](int x) {
          const auto until = std::chrono::steady_clock::now() + 100us;
          while (std::chrono::steady_clock::now() < until) continue;
          return x + 1;
        },
        i));
  unsigned seed = 42;
  int kills = 0;
  int died = 0;
  for (int i = 0; i < num_tasks; ++i) {
    if (i % 50 == 0) {
      const auto pids = pool.worker_pids();
      if (!pids.empty() && ::kill(pids[static_cast<std::size_t>(::rand_r(&seed)) % pids.size()], SIGKILL) == 0) ++kills;
    }
    try {
      EXPECT_EQ(results[static_cast<std::size_t>(i)].get(20s), i + 1);
    } catch (const WorkerDied& error) {
      EXPECT_EQ(error.exitcode(), -SIGKILL);
      ++died;
    }
  }
  EXPECT_GT(kills, 0);
  EXPECT_LE(died, kills);
  expect_works(pool, 3);
}

TEST(PoolFaults, OnePoolIsDestroyedWhileAnotherWorks) {
  Pool stays{2};
  for (int round = 0; round < 5; ++round) {
    Pool goes{2};
    std::vector<AsyncResult<int>> results;
    for (int i = 0; i < 200; ++i) {
      results.push_back(stays.apply_async(square, i));
      goes.apply_async(square, i);
    }
    goes.terminate();
    for (int i = 0; i < 200; ++i) EXPECT_EQ(results[static_cast<std::size_t>(i)].get(20s), i * i);
  }
  expect_works(stays, 2);
}

// Descriptors of this process that lead to shared memory of a pool.
std::size_t count_pool_memory() {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    if (std::filesystem::read_symlink(entry.path(), gone).string().find("memfd:troupe") != std::string::npos) ++count;
  }
  return count;
}

// Whether the process has something mapped that has a name in /dev/shm.
bool uses_names(pid_t pid) {
  const auto all = mappings_of(pid);
  EXPECT_FALSE(all.empty());
  return std::ranges::any_of(all, [](const auto& line) { return line.find("/dev/shm/") != std::string::npos; });
}

TEST(PoolFaults, APoolLeavesNothingBehind) {
  {
    Pool first{2};  // starts the pump, which stays
    expect_works(first, 2);
    first.close();
    first.join();
  }
  ASSERT_TRUE(comes_true([] { return count_pool_memory() == 0; }));
  const auto files = count_entries("/proc/self/fd");
  const auto threads = count_entries("/proc/self/task");
  std::vector<pid_t> pids;
  for (int round = 0; round < 10; ++round) {
    Pool pool{3};
    expect_works(pool, 3);
    const auto now = pool.worker_pids();
    EXPECT_FALSE(uses_names(::getpid()));
    EXPECT_TRUE(std::ranges::none_of(now, uses_names));
    pids.insert(pids.end(), now.begin(), now.end());
    if (round % 2 == 0) {
      pool.close();
      pool.join();
    } else {
      pool.terminate();
    }
  }
  EXPECT_TRUE(comes_true([] { return count_pool_memory() == 0; }));
  EXPECT_EQ(count_entries("/proc/self/fd"), files);
  EXPECT_EQ(count_entries("/proc/self/task"), threads);
  for (const pid_t pid : pids) EXPECT_FALSE(is_running(pid));
}

TEST(PoolFaults, AWorkerProgramThatDoesNotExistIsAnErrorAndOthersGoOn) {
  Pool before{1};
  troupe::set_executable("/nonexistent/program");
  EXPECT_THROW(Pool(PoolOptions{.workers = 2, .start_method = troupe::StartMethod::spawn, .name = {}}),
               troupe::OSError);
  troupe::set_executable("");
  expect_works(before, 1);
}

TEST(PoolFaults, AWorkerThatNeverGetsReadyIsAnErrorNotALoop) {
  troupe::set_executable("/bin/true");
  Pool pool{PoolOptions{.workers = 2, .start_method = troupe::StartMethod::spawn, .name = {}}};
  try {
    pool.apply(square, 1);
    FAIL() << "a task was run by /bin/true";
  } catch (const troupe::RuntimeError& error) {
    EXPECT_NE(std::string(error.what()).find("before they are ready"), std::string::npos) << error.what();
  }
  EXPECT_THROW(pool.apply(square, 1), troupe::RuntimeError);
  troupe::set_executable("");
}

// --- The parent is killed ---

class PoolParentDeath : public testing::TestWithParam<troupe::StartMethod> {};

TEST_P(PoolParentDeath, TakesBusyAndStoppedWorkersAlongWithinASecond) {
  struct Shared {
    std::atomic<int> ready{0};
    pid_t pids[3];
  };
  auto* shared =
      new (::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) Shared;
  const auto method = GetParam();
  const auto parent =
      troupe::Child::launch({.name = "parent",
                             .identity = {},
                             .daemon = false,
                             .method = troupe::StartMethod::fork,
                             .authkey = {},
                             .descriptors = {},
                             .message = {},
                             .closure = [shared, method] {
                               Pool pool{PoolOptions{.workers = 3, .start_method = method, .name = {}}};
                               expect_works(pool, 3);
                               const auto pids = pool.worker_pids();
                               std::ranges::copy(pids, shared->pids);
                               const auto busy = pool.apply_async(
                                   [](int x) {
                                     for (;;) x = x + 1 > 0 ? 0 : x;
                                     return x;
                                   },
                                   1);
                               const auto asleep =
                                   pool.apply_async([](int x) { return std::this_thread::sleep_for(1000s), x; }, 1);
                               const auto stopped = pool.apply_async([](int x) { return ::raise(SIGSTOP), x; }, 1);
                               shared->ready = 1;
                               for (;;) ::pause();
                             }});
  ASSERT_TRUE(comes_true([&] { return shared->ready == 1; }, 20s));
  parent.send_signal(SIGKILL);
  EXPECT_EQ(parent.wait(troupe::no_deadline), -SIGKILL);
  for (const pid_t pid : shared->pids) EXPECT_TRUE(comes_true([&] { return !is_running(pid); }, 1s)) << pid;
  ::munmap(shared, sizeof(Shared));
}

INSTANTIATE_TEST_SUITE_P(StartMethods, PoolParentDeath,
                         testing::Values(troupe::StartMethod::fork, troupe::StartMethod::forkserver,
                                         troupe::StartMethod::spawn),
                         [](const auto& method) { return std::string(troupe::to_string(method.param)); });

}  // namespace
