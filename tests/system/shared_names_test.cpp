// Names of shared memory that are left to the nursery: those that a program forgot, those that several programs use,
// those that others made.

#include <troupe/process.hpp>
#include <troupe/runtime.hpp>
#include <troupe/shared_memory.hpp>

#include "support/forked.hpp"
#include "support/processes.hpp"
#include "support/shared_names.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe;
using namespace troupe::test;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

[[maybe_unused]] const bool leaver = add_role("leave_names", [](int argc, char** argv, const std::string& prefix) {
  const Runtime runtime{argc, argv};
  for (int i = 0; i < 2; ++i) SharedMemory::create(100, prefix + std::to_string(i)).close();
  const auto unlinked = SharedMemory::create(100, prefix + "unlinked");
  unlinked.unlink();
  return 0;
});

// A program that ends is told what it has forgotten to unlink; once, and by name.
TEST(SharedNames, AProgramIsToldWhatItForgot) {
  const std::string prefix = new_prefix();
  Program program{"leave_names", prefix};
  EXPECT_EQ(program.wait(), 0);
  EXPECT_THAT(names_with(prefix), IsEmpty());
  const std::string errors = program.errors();
  EXPECT_THAT(errors, HasSubstr("2 leaked shared_memory objects"));
  EXPECT_THAT(errors, HasSubstr(prefix + "0, " + prefix + "1"));
  EXPECT_EQ(std::ranges::count(errors, '\n'), 1);
}

[[maybe_unused]] const bool loser = add_role("lose_nursery", [](int argc, char** argv, const std::string& name) {
  const Runtime runtime{argc, argv};
  static const auto memory = SharedMemory::create(100, name);
  auto [mine, theirs] = make_line();
  Process process{[](const FileDescriptor& line) { send_text(line, std::to_string(::getppid())); }, std::move(theirs)};
  process.start();
  const pid_t nursery = std::stoi(receive_text(mine));
  process.join();
  // Its end of the connection to it, as a process that it was just forking would have it for a moment.
  const FileDescriptor pidfd{static_cast<int>(::syscall(SYS_pidfd_open, nursery, 0))};
  constexpr int connection_number = 3;
  static const FileDescriptor copy{static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd.get(), connection_number, 0))};
  ::kill(nursery, SIGKILL);
  return copy && still_running_after({nursery}, 5s).empty() ? 0 : 1;
});

// A nursery that takes the place of one that was killed is told of the names of the main process.
TEST(SharedNames, AKilledNurseryLeavesNoNamesOfTheMainProcess) {
  const std::string prefix = new_prefix();
  Program program{"lose_nursery", prefix + "lost"};
  EXPECT_EQ(program.wait(), 0);
  EXPECT_THAT(names_with(prefix), IsEmpty());
  EXPECT_THAT(program.errors(), HasSubstr("1 leaked shared_memory objects"));
}

template <bool restarts>
int lose_maker(int argc, char** argv, const std::string& prefix) {
  const Runtime runtime{argc, argv};
  auto [mine, theirs] = make_line();
  Process process{[](const FileDescriptor& line, const std::string& its) {
                    static const auto open = SharedMemory::create(100, its + "open");
                    SharedMemory::create(100, its + "closed").close();
                    SharedMemory::create(100, its + "unlinked").unlink();
                    send_text(line, std::to_string(::getppid()));
                    ::pause();
                  },
                  std::move(theirs), prefix};
  process.start();
  const pid_t nursery = std::stoi(receive_text(mine));
  if (receive_text(mine, 0s) != "timeout" || names_with(prefix).size() != 2) return 1;
  ::kill(nursery, SIGKILL);
  process.join();
  if (!still_running_after({nursery}, 5s).empty()) return 2;
  if (!restarts) return 0;
  const auto kept = SharedMemory::create(100, prefix + "kept");
  Process next{[](const std::string& its) { SharedMemory::attach(its + "open").unlink(); }, prefix};
  next.start();
  next.join();
  return next.exitcode() == 0 && names_with(prefix).size() == 2 ? 0 : 3;
}
[[maybe_unused]] const bool maker_loser = add_role("lose_maker", lose_maker<false>);
[[maybe_unused]] const bool maker_restarter = add_role("lose_maker_and_restart", lose_maker<true>);

// What a process had made that died with the nursery goes at the end of the program at the latest, and can be used until
// then.
TEST(SharedNames, AKilledNurseryLeavesNoNamesOfItsProcesses) {
  const std::string prefix = new_prefix();
  Program program{"lose_maker", prefix};
  EXPECT_EQ(program.wait(), 0);
  EXPECT_THAT(names_with(prefix), IsEmpty());
  EXPECT_THAT(program.errors(), HasSubstr("2 leaked shared_memory objects were removed: "));

  const std::string next_prefix = new_prefix();
  Program next{"lose_maker_and_restart", next_prefix};
  EXPECT_EQ(next.wait(), 0);
  EXPECT_THAT(names_with(next_prefix), IsEmpty());
  EXPECT_THAT(next.errors(), HasSubstr("2 leaked shared_memory objects were removed: " + next_prefix + "closed, " +
                                       next_prefix + "kept"));
}

sigset_t only_sigusr1() {
  sigset_t signals;
  ::sigemptyset(&signals);
  ::sigaddset(&signals, SIGUSR1);
  return signals;
}

void block_signal() {
  const sigset_t signals = only_sigusr1();
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

int wait_for_signal() {
  const sigset_t signals = only_sigusr1();
  int number = 0;
  return ::sigwait(&signals, &number);
}

/// Says what the block holds, and once more when SIGUSR1 comes; then ends.
int use_block(const SharedMemory& memory) {
  const auto say = [&] { std::cout << static_cast<int>(memory.buf()[0]) << std::endl; };
  say();
  const int error = wait_for_signal();
  say();
  return error;
}

template <bool makes>
int run_with_block(int argc, char** argv, const std::string& name) {
  block_signal();
  const Runtime runtime{argc, argv};
  static const auto memory = makes ? SharedMemory::create(100, name) : SharedMemory::attach(name);
  if (makes) memory.buf()[0] = std::byte{42};
  return use_block(memory);
}
[[maybe_unused]] const bool name_maker = add_role("make_name", run_with_block<true>);
[[maybe_unused]] const bool name_user = add_role("use_name", run_with_block<false>);

[[maybe_unused]] const bool parent = add_role("name_parent", [](int argc, char** argv, const std::string& name) {
  block_signal();
  const Runtime runtime{argc, argv};
  Process process{[](const std::string& its) {
                    static const auto memory = SharedMemory::create(100, its);
                    memory.buf()[0] = std::byte{42};
                    std::cout << ::getpid() << std::endl;
                    ::pause();
                  },
                  name};
  process.start();
  process.join();
  Process after{[] {}};  // the nursery has dealt with what came before this
  after.start();
  after.join();
  std::cout << process.exitcode().value() << std::endl;
  return wait_for_signal();
});

class SharedNamesOfPrograms : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(P, SharedNamesOfPrograms, testing::Values(SIGUSR1, SIGKILL),
                         [](const auto& number) { return signal_name(number.param); });

void end(Program& program, int number) {
  ::kill(program.pid(), number);
  EXPECT_EQ(program.wait(), number == SIGKILL ? -SIGKILL : 0);
}

/// The nursery of a program that was killed may see that later than that of another one: any of them may be the last.
void expect_told_once(const std::vector<const Program*>& programs, const std::string& name) {
  const auto errors = [&] {
    std::string all;
    for (const Program* program : programs) all += program->errors();
    return all;
  };
  EXPECT_TRUE(comes_true([&] { return errors().ends_with("when they are done with\n"); }));
  EXPECT_THAT(errors(), HasSubstr("1 leaked shared_memory objects were removed: " + name));
  EXPECT_EQ(std::ranges::count(errors(), '\n'), 1);
}

// CPython 82300: a program that ends takes nothing away that another one uses. The last one removes it.
TEST_P(SharedNamesOfPrograms, ABlockGoesWithTheLastProgramThatUsesIt) {
  const std::string prefix = new_prefix();
  const std::string name = prefix + "shared";
  Program maker{"make_name", name};
  ASSERT_EQ(maker.read_line(), "42");
  Program first{"use_name", name};
  ASSERT_EQ(first.read_line(), "42");
  end(maker, GetParam());
  Program second{"use_name", name};
  ASSERT_EQ(second.read_line(), "42") << "the name is still there: " << second.errors();
  end(first, GetParam());
  Program third{"use_name", name};
  ASSERT_EQ(third.read_line(), "42") << third.errors();
  end(second, GetParam());
  EXPECT_THAT(names_with(prefix), SizeIs(1));
  ::kill(third.pid(), SIGUSR1);
  EXPECT_EQ(third.read_line(), "42");
  EXPECT_EQ(third.wait(), 0);
  EXPECT_TRUE(become_gone(prefix));
  expect_told_once({&maker, &first, &second, &third}, name);
}

TEST_P(SharedNamesOfPrograms, ABlockGoesWithItsMakerIfNobodyElseUsesItAnyMore) {
  const std::string prefix = new_prefix();
  Program maker{"make_name", prefix + "shared"};
  ASSERT_EQ(maker.read_line(), "42");
  Program user{"use_name", prefix + "shared"};
  ASSERT_EQ(user.read_line(), "42");
  end(user, GetParam());
  EXPECT_THAT(names_with(prefix), SizeIs(1));
  end(maker, GetParam());
  EXPECT_TRUE(become_gone(prefix));
  expect_told_once({&maker, &user}, prefix + "shared");
}

[[maybe_unused]] const bool stranger = add_role("map_name", [](int, char**, const std::string& name) {
  const FileDescriptor file{::shm_open(("/" + name).c_str(), O_RDWR | O_CLOEXEC, 0)};
  const Mapping memory{file.get(), 0, 100, Mapping::Access::read_write, "mapping a block"};
  std::cout << static_cast<int>(memory.data()[0]) << std::endl;
  return ::pause();
});

// A program without troupe says nothing about what it uses. It is seen to have the block mapped.
TEST_P(SharedNamesOfPrograms, ABlockThatAStrangerUsesStays) {
  const std::string name = new_prefix() + "shared";
  Program maker{"make_name", name};
  ASSERT_EQ(maker.read_line(), "42");
  Program user{"map_name", name};
  ASSERT_EQ(user.read_line(), "42");
  end(maker, GetParam());
  EXPECT_TRUE(comes_true([&] { return !maker.errors().empty(); }));
  EXPECT_THAT(maker.errors(),
              HasSubstr("1 leaked shared_memory objects stay, because other programs use them: " + name));
  EXPECT_THAT(names_with(name), SizeIs(1));
  Program last{"use_name", name};
  ASSERT_EQ(last.read_line(), "42");
  end(user, SIGKILL);
  end(last, GetParam());
  EXPECT_TRUE(become_gone(name)) << "who is the last one to use it removes it";
}

// What a process of the program leaves to a stranger goes at the end of the program, if the stranger is done by then.
TEST_P(SharedNamesOfPrograms, ABlockOfAKilledProcessWaitsForAStranger) {
  const std::string name = new_prefix() + "shared";
  Program maker{"name_parent", name};
  const pid_t process = std::stoi(maker.read_line());
  Program user{"map_name", name};
  ASSERT_EQ(user.read_line(), "42");
  ::kill(process, SIGKILL);
  ASSERT_EQ(maker.read_line(), "-9");
  EXPECT_THAT(names_with(name), SizeIs(1));
  end(user, SIGKILL);
  end(maker, GetParam());
  EXPECT_TRUE(become_gone(name));
}

// Whichever is quicker: nothing is left.
TEST_P(SharedNamesOfPrograms, ABlockGoesWhenAllEndAtOnce) {
  for (int round = 0; round < rounds(10); ++round) {
    const std::string prefix = new_prefix();
    Program maker{"make_name", prefix + "shared"};
    ASSERT_EQ(maker.read_line(), "42");
    Program first{"use_name", prefix + "shared"};
    Program second{"use_name", prefix + "shared"};
    ASSERT_EQ(first.read_line(), "42");
    ASSERT_EQ(second.read_line(), "42");
    for (const Program* program : {&first, &maker, &second}) ::kill(program->pid(), GetParam());
    for (Program* program : {&first, &maker, &second}) end(*program, GetParam());
    EXPECT_TRUE(become_gone(prefix)) << "round " << round;
  }
}

// What another program has made is not ours to remove, also if it has taken over a name of ours.
TEST(SharedNames, WhatOthersMadeStays) {
  const std::string name = new_prefix() + "foreign";
  const auto path = std::filesystem::path("/dev/shm") / name;
  const auto make_file = [&] { std::ofstream(path) << "made by hand"; };
  make_file();
  Process user{[](const std::string& its) {
                 static const auto memory = SharedMemory::attach(its);
                 ::raise(SIGKILL);
               },
               name};
  user.start();
  user.join();
  Process maker{[](const std::string& its) {
                  const auto memory = SharedMemory::attach(its);
                  memory.unlink();
                  static const auto ours = SharedMemory::create(100, its);
                  std::filesystem::rename("/dev/shm/" + its, "/dev/shm/" + its + "_moved");
                  std::ofstream("/dev/shm/" + its) << "made by hand";
                  ::raise(SIGKILL);
                },
                name};
  EXPECT_TRUE(std::filesystem::exists(path));
  maker.start();
  maker.join();
  Process after{[] {}};
  after.start();
  after.join();
  EXPECT_TRUE(std::filesystem::exists(path));
  std::filesystem::remove(path);
  std::filesystem::remove(path.string() + "_moved");
}

}  // namespace
