// Shared memory whose makers and users are killed, terminated and stopped, and systems that have no more of it: nothing
// is left in /dev/shm, and nobody's memory is given to somebody else.

#include <troupe/error.hpp>
#include <troupe/pool.hpp>
#include <troupe/process.hpp>
#include <troupe/runtime.hpp>
#include <troupe/shared_block.hpp>
#include <troupe/shared_memory.hpp>

#include "support/forked.hpp"
#include "support/pools.hpp"
#include "support/processes.hpp"
#include "support/shared_names.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <deque>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <random>
#include <sched.h>
#include <string>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe;
using namespace troupe::test;
using testing::HasSubstr;
using testing::IsEmpty;

/// Ends a process, or stops it at first; it then has to go on, which `goes_on` tells. The signal that ended it.
int strike(pid_t pid, int number, const std::function<bool()>& goes_on) {
  if (number != SIGSTOP) {
    ::kill(pid, number);
    return number;
  }
  ::kill(pid, SIGSTOP);
  EXPECT_TRUE(wait_for_state(pid, 'T'));
  ::kill(pid, SIGCONT);
  EXPECT_TRUE(goes_on());
  ::kill(pid, SIGKILL);
  return SIGKILL;
}

class SharedMemorySignals : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(P, SharedMemorySignals, testing::Values(SIGKILL, SIGTERM, SIGSTOP),
                         [](const auto& number) { return signal_name(number.param); });

/// Makes, closes and unlinks blocks for ever; tells each step.
void churn(const std::string& prefix, const std::function<void()>& tell) {
  std::deque<SharedMemory> all;
  for (int i = 0;; ++i) {
    all.push_back(SharedMemory::create(5000, prefix + std::to_string(i)));
    if (all.size() > 3) {
      all.front().unlink();
      all.pop_front();
    }
    SharedMemory::attach(all.back().name()).close();
    tell();
  }
}

[[maybe_unused]] const bool churner = add_role("churn_names", [](int argc, char** argv, const std::string& prefix) {
  const Runtime runtime{argc, argv};
  churn(prefix, [] { std::cout << "step" << std::endl; });
  return 0;
});

// The whole program dies, at any moment: nothing is left a moment later.
TEST_P(SharedMemorySignals, AProgramThatDiesLeavesNoNames) {
  std::mt19937 random{1};
  for (int round = 0; round < rounds(20); ++round) {
    const std::string prefix = new_prefix();
    Program program{"churn_names", prefix};
    for (int step = 0; step < 5; ++step) ASSERT_EQ(program.read_line(), "step");
    busy_pause(random() % 200'000);
    const int fatal = strike(program.pid(), GetParam(), [&] {
      for (int step = 0; step < 5; ++step)
        if (program.read_line() != "step") return false;
      return true;
    });
    EXPECT_EQ(program.wait(), -fatal);
    EXPECT_TRUE(become_gone(prefix)) << names_with(prefix).size() << " names left";
  }
}

// So it is with a process of the program, and what others have open stays.
TEST_P(SharedMemorySignals, AProcessThatDiesLeavesOnlyWhatOthersUse) {
  std::mt19937 random{2};
  for (int round = 0; round < rounds(20); ++round) {
    const std::string prefix = new_prefix();
    auto [mine, theirs] = make_line();
    Process process{[](const FileDescriptor& line, const std::string& names) {
                      const auto kept = SharedMemory::create(100, names + "kept");
                      kept.buf()[0] = std::byte{42};
                      churn(names, [&, step = 0]() mutable {
                        if (++step == 5) send_text(line, "going");
                        if (is_readable(line.get())) send_text(line, receive_text(line));
                      });
                    },
                    std::move(theirs), prefix};
    process.start();
    ASSERT_EQ(receive_text(mine), "going");
    const auto kept = SharedMemory::attach(prefix + "kept");
    busy_pause(random() % 200'000);
    const int fatal = strike(*process.pid(), GetParam(), [&] {
      send_text(mine, "on?");
      return receive_text(mine) == "on?";
    });
    process.join();
    EXPECT_EQ(process.exitcode(), -fatal);
    EXPECT_TRUE(comes_true([&] { return names_with(prefix).size() == 1; }));
    EXPECT_EQ(names_with(prefix), std::vector{kept.name()});
    EXPECT_EQ(SharedMemory::attach(kept.name()).buf()[0], std::byte{42});
    kept.unlink();
  }
}

// A user that is killed takes nothing away from the one who made it (CPython gh-82300).
TEST(SharedMemoryFaults, AKilledUserTakesNothingAway) {
  const std::string name = new_prefix() + "used";
  const auto memory = SharedMemory::create(100, name);
  auto [mine, theirs] = make_line();
  Process process{[](const FileDescriptor& line, const SharedMemory& same) {
                    same.buf()[0] = std::byte{1};
                    send_text(line, "using");
                    ::pause();
                  },
                  std::move(theirs), memory};
  process.start();
  ASSERT_EQ(receive_text(mine), "using");
  process.kill();
  process.join();
  Process after{[] {}};  // the nursery has dealt with what came before this
  after.start();
  after.join();
  EXPECT_EQ(SharedMemory::attach(name).buf()[0], std::byte{1});
  memory.unlink();
}

// Closed by its last user and not unlinked: somebody may want to open it again.
TEST(SharedMemoryFaults, AClosedBlockWaitsForItsNextUser) {
  const std::string name = new_prefix() + "parked";
  for (const StartMethod method : {StartMethod::fork, StartMethod::forkserver, StartMethod::spawn}) {
    Process maker{ProcessOptions{.start_method = method},
                  [](const std::string& its) {
                    static const auto never_closed = SharedMemory::create(100, its);
                    never_closed.buf()[0] = std::byte{9};
                  },
                  name};
    maker.start();
    maker.join();
    EXPECT_EQ(maker.exitcode(), 0);
    const auto memory = SharedMemory::attach(name);
    EXPECT_EQ(memory.buf()[0], std::byte{9});
    memory.unlink();
  }
}

// --- Blocks of the heap ---

bool holds(const SharedBlock& block, unsigned char pattern) {
  return std::all_of(block.data(), block.data() + block.size_bytes(),
                     [&](std::byte byte) { return byte == std::byte{pattern}; });
}

bool check_and_rest(const SharedBlock& block, unsigned char pattern, unsigned long pause, bool dies) {
  const bool was_right = holds(block, pattern);
  busy_pause(pause);
  if (dies) ::raise(SIGKILL);
  return was_right && holds(block, pattern);
}

// Users are killed at any moment while blocks come and go: a block that somebody uses is never anybody else's.
TEST(SharedMemoryFaults, KilledUsersOfBlocksDoNoHarm) {
  std::mt19937 random{3};
  Pool pool{2};
  struct Use {
    unsigned char pattern;
    decltype(pool.apply_async(check_and_rest, SharedBlock{}, static_cast<unsigned char>(0), 0UL, false)) result;
  };
  std::deque<Use> uses;
  int right = 0;
  int died = 0;
  const auto finish_one = [&] {
    try {
      EXPECT_TRUE(uses.front().result.get()) << "pattern " << int{uses.front().pattern};
      ++right;
    } catch (const WorkerDied&) {
      ++died;
    }
    uses.pop_front();
  };
  for (int i = 0; i < rounds(400); ++i) {
    const auto pattern = static_cast<unsigned char>(i % 251 + 1);
    SharedBlock block{static_cast<std::ptrdiff_t>(random() % 20'000)};
    std::fill_n(block.data(), block.size_bytes(), std::byte{pattern});
    uses.push_back({pattern, pool.apply_async(check_and_rest, block, pattern, random() % 100'000, i % 20 == 7)});
    block = {};  // the message, then the worker, are the only ones
    if (i % 10 == 5)
      if (const auto pids = pool.worker_pids(); !pids.empty()) ::kill(pids[random() % pids.size()], SIGKILL);
    if (uses.size() > 8) finish_one();
  }
  while (!uses.empty()) finish_one();
  EXPECT_GT(right, 0);
  EXPECT_GT(died, 0);
  pool.terminate();
}

void make_and_free(const FileDescriptor& line) {
  std::mt19937 random{static_cast<unsigned>(::getpid())};
  std::deque<SharedBlock> blocks;
  for (int i = 0;; ++i) {
    blocks.emplace_back(static_cast<std::ptrdiff_t>(random() % 200'000));
    if (blocks.size() > 20) blocks.pop_front();
    if (i == 30) send_text(line, "going");
    if (i % 10 == 0 && is_readable(line.get())) send_text(line, receive_text(line));
  }
}

// Makers die in the middle of it; their memory goes with them.
TEST_P(SharedMemorySignals, MakersOfBlocksThatDieDoNoHarm) {
  std::mt19937 random{4};
  SharedBlock mine_all_along{100'000};
  std::fill_n(mine_all_along.data(), mine_all_along.size_bytes(), std::byte{77});
  for (int round = 0; round < rounds(20); ++round) {
    auto [mine, theirs] = make_line();
    Process process{make_and_free, std::move(theirs)};
    process.start();
    ASSERT_EQ(receive_text(mine), "going");
    busy_pause(random() % 200'000);
    const int fatal = strike(*process.pid(), GetParam(), [&] {
      send_text(mine, "on?");
      return receive_text(mine) == "on?";
    });
    process.join();
    EXPECT_EQ(process.exitcode(), -fatal);
  }
  EXPECT_TRUE(holds(mine_all_along, 77));
  const SharedBlock works{100'000};
  EXPECT_TRUE(holds(works, 0));
}

// --- No more memory ---

[[maybe_unused]] const bool filler = add_role("fill_memory", [](int argc, char** argv, const std::string&) {
  if (::unshare(CLONE_NEWNS) != 0) return 77;
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return 77;
  if (::mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=64k") != 0) return 77;
  const Runtime runtime{argc, argv};
  Pool pool{2};
  const auto small = SharedMemory::create(1000, "small");
  try {
    SharedMemory::create(1 << 20, "large");
    return 1;
  } catch (const OSError& error) {
    std::cout << error.errno_value() << " " << error.what() << std::endl;
  }
  if (!std::filesystem::exists("/dev/shm/small") || std::filesystem::exists("/dev/shm/large")) return 2;
  SharedMemory::create(1000, "large").unlink();
  const auto rest = SharedMemory::create(static_cast<std::ptrdiff_t>(std::filesystem::space("/dev/shm").free), "rest");
  expect_works(pool, 2);
  const std::string argument(1 << 20, 'x');
  if (pool.apply([](const std::string& text) { return text + "!"; }, argument) != argument + "!") return 3;
  pool.terminate();
  rest.unlink();
  small.unlink();
  return testing::Test::HasFailure() ? 4 : 0;
});

// A full /dev/shm is an error when a block is made, not a signal when it is used. A pool that is there does without it.
TEST(SharedMemoryFaults, SaysThatThereIsNoRoom) {
  Program program{"fill_memory"};
  const std::string output = program.read_rest();
  const auto status = program.wait();
  if (status == 77) GTEST_SKIP() << "file systems cannot be mounted here";
  EXPECT_EQ(status, 0);
  EXPECT_THAT(output, HasSubstr(std::to_string(ENOSPC) + " making shared memory \"large\" of 1048576 bytes"));
}

TEST(SharedMemoryFaults, SaysThatFilesMustNotBeSoLarge) {
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  const rlimit low{1 << 20, before.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &low);
  const std::string prefix = new_prefix();
  try {
    SharedMemory::create(2 << 20, prefix + "large");
    ADD_FAILURE() << "more than RLIMIT_FSIZE";
  } catch (const OSError& error) {
    EXPECT_EQ(error.errno_value(), EFBIG);
    EXPECT_THAT(error.what(), HasSubstr("ulimit -f"));
  }
  ::setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_THAT(names_with(prefix), IsEmpty());
}

}  // namespace
