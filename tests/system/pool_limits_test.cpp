// Pools when the system has no more of something: an error that names it, and the pools that are there work on.

#include <troupe/context.hpp>
#include <troupe/error.hpp>
#include <troupe/pool.hpp>
#include <troupe/process.hpp>
#include <troupe/runtime.hpp>

#include "support/forked.hpp"
#include "support/limits.hpp"
#include "support/nursery.hpp"
#include "support/pools.hpp"
#include "support/processes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <string>
#include <sys/resource.h>
#include <unistd.h>

namespace {

using namespace std::chrono_literals;
using namespace troupe::test;
using testing::AllOf;
using testing::ContainsRegex;
using testing::EndsWith;
using testing::HasSubstr;
using troupe::Pool;

TEST(PoolLimits, WithoutFreeDescriptorsAPoolIsAnErrorAndOthersGoOn) {
  if (sanitized) GTEST_SKIP() << "sanitizers look at objects through a pipe, and there would be none";
  Pool before{2};
  expect_works(before, 2);
  {
    const int lowest_free = ::dup(0);
    ::close(lowest_free);
    int failed = 0;
    for (rlim_t more = 0; more < 60; ++more) {  // each step of making a pool fails once
      const LimitedFiles few{static_cast<rlim_t>(lowest_free) + more};
      try {
        Pool maybe{4};
        maybe.terminate();
      } catch (const troupe::OSError& error) {
        EXPECT_EQ(error.errno_value(), EMFILE) << error.what();
        EXPECT_THAT(error.what(), ContainsRegex("^(creating shared memory|making|starting) .*Pool-.*: Too many open"));
        ++failed;
      }
      EXPECT_EQ(before.apply(square, 7), 49);  // while the limit holds
    }
    EXPECT_GT(failed, 15);
    EXPECT_LT(failed, 60);
    EXPECT_TRUE(comes_true([&] { return troupe::active_children().empty(); }));
    expect_works(before, 2);
  }
  Pool after{2};
  expect_works(after, 2);
}

// The pool works on with fewer workers, tries again now and then, and is whole again when it can be.
TEST(PoolLimits, AWorkerThatCannotBeReplacedIsReplacedLater) {
  if (sanitized) GTEST_SKIP() << "sanitizers look at objects through a pipe, and there would be none";
  Pool pool{2};
  expect_works(pool, 2);
  {
    const LimitedFiles none{3};  // not even those that the dead worker needed
    ::kill(pool.worker_pids().at(0), SIGKILL);
    ASSERT_TRUE(comes_true([&] { return pool.worker_pids().size() == 1; }));
    for (int i = 0; i < 100; ++i) EXPECT_EQ(pool.apply_async(square, i).get(20s), i * i);
  }
  expect_works(pool, 2);
}

// --- Limits that do not bind the test program itself ---

/// Of this process and of its nursery.
bool limit_processes(const rlimit& limit) {
  return ::setrlimit(RLIMIT_NPROC, &limit) == 0 && ::prlimit(nursery_pid(), RLIMIT_NPROC, &limit, nullptr) == 0;
}

// No more processes: each step of making the first pool of a program, threads included, fails once.
const bool without_processes = add_role("pools without processes", [](int argc, char** argv, const std::string& name) {
  constexpr uid_t lonely_user = 61'235;  // the limit counts all processes of a user, and does not bind root
  if (::geteuid() == 0 && ::setresuid(lonely_user, lonely_user, lonely_user) != 0) return 1;
  const troupe::Runtime runtime{argc, argv};
  const troupe::StartMethod method = troupe::start_method_named(name);
  int failed = 0;
  rlimit normal{};
  ::getrlimit(RLIMIT_NPROC, &normal);
  for (rlim_t limit = 1; limit < 12; ++limit) {
    if (!limit_processes({limit, normal.rlim_max})) return 4;
    try {
      Pool maybe{troupe::PoolOptions{.workers = 3, .start_method = method, .name = {}}};
      maybe.terminate();
    } catch (const troupe::OSError& error) {
      ++failed;
      std::puts(error.what());
    }
    if (!troupe::active_children().empty()) return 2;
  }
  if (!limit_processes(normal)) return 3;
  Pool pool{2};
  std::printf("%s, then %d\n", failed > 0 ? "failed" : "never failed", pool.apply(square, 7));
  if (!limit_processes({1, normal.rlim_max})) return 5;
  try {
    Pool{troupe::PoolOptions{.workers = 2, .start_method = method, .name = {}}}.terminate();
    return 6;
  } catch (const troupe::OSError&) {
    std::printf("without more, %d\n", pool.apply(square, 8));
  }
  pool.terminate();
  return 0;
});

TEST(PoolLimits, WithoutFreeProcessesAPoolIsAnErrorAndLeavesNothing) {
  if (::geteuid() != 0) GTEST_SKIP() << "this user may have other processes, which the limit would count";
  if (sanitized) GTEST_SKIP() << "a sanitizer needs processes of its own";
  for (const char* const method : {"fork", "forkserver"}) {
    SCOPED_TRACE(method);
    Program program{"pools without processes", method};
    EXPECT_THAT(program.read_rest(), AllOf(HasSubstr("starting the thread of"),
                                           HasSubstr("-worker-3: fork: Resource temporarily unavailable"),
                                           EndsWith("\nfailed, then 49\nwithout more, 64\n")));
    EXPECT_EQ(program.wait(), 0) << program.errors();
  }
}

const bool small_files = add_role("pools with small files", [](int argc, char** argv, const std::string&) {
  const troupe::Runtime runtime{argc, argv};
  rlimit small{};
  ::getrlimit(RLIMIT_FSIZE, &small);
  small.rlim_cur = 1 << 20;
  ::setrlimit(RLIMIT_FSIZE, &small);
  try {
    Pool pool{2};
  } catch (const troupe::OSError& error) {
    std::puts(error.what());
  }
  return 0;
});

TEST(PoolLimits, ALimitOfFileSizesIsNamed) {
  Program program{"pools with small files"};
  EXPECT_THAT(program.read_line(), HasSubstr("RLIMIT_FSIZE (ulimit -f)"));
  EXPECT_EQ(program.wait(), 0) << program.errors();
}

// A callback needs a thread of its own; where there can be none, the submit says so and the pool works on.
const bool without_threads = add_role("callbacks without threads", [](int argc, char** argv, const std::string&) {
  constexpr uid_t lonely_user = 61'236;
  if (::geteuid() == 0 && ::setresuid(lonely_user, lonely_user, lonely_user) != 0) return 1;
  const troupe::Runtime runtime{argc, argv};
  Pool pool{troupe::PoolOptions{.workers = 1, .start_method = troupe::StartMethod::fork}};
  if (pool.apply(square, 3) != 9) return 2;
  rlimit normal{};
  ::getrlimit(RLIMIT_NPROC, &normal);
  const rlimit none{1, normal.rlim_max};
  if (::setrlimit(RLIMIT_NPROC, &none) != 0) return 3;
  try {
    pool.callback([](int) {}).apply_async(square, 4);
    return 4;
  } catch (const troupe::OSError& error) {
    std::puts(error.what());
  }
  if (pool.apply(square, 5) != 25 || ::setrlimit(RLIMIT_NPROC, &normal) != 0) return 5;
  int seen = 0;
  pool.callback([&](int result) { seen = result; }).apply_async(square, 6).wait();
  std::printf("then %d\n", seen);
  pool.terminate();
  return 0;
});

TEST(PoolLimits, WithoutFreeThreadsACallbackIsAnErrorAndThePoolGoesOn) {
  if (::geteuid() != 0) GTEST_SKIP() << "this user may have other processes, which the limit would count";
  Program program{"callbacks without threads"};
  EXPECT_THAT(program.read_line(), HasSubstr("Resource temporarily unavailable"));
  EXPECT_EQ(program.read_line(), "then 36");
  EXPECT_EQ(program.wait(), 0) << program.errors();
}

}  // namespace
