// The process that the nursery forks ahead: the next start gets it, and nobody else ever notices.

#include <troupe/child.hpp>
#include <troupe/context.hpp>
#include <troupe/process.hpp>
#include <troupe/runtime.hpp>

#include "support/pools.hpp"
#include "support/processes.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe;
using namespace troupe::test;

int num_preloads = 0;

void report(const FileDescriptor& line) {
  send_text(line, std::to_string(::getppid()) + " " + std::to_string(::getpid()) + " " + std::to_string(num_preloads));
}

struct Report {
  pid_t nursery = 0;
  pid_t process = 0;
  int preloads = -1;
};

Report of_new_process() {
  auto [mine, theirs] = make_line();
  Process process{ProcessOptions{.start_method = StartMethod::forkserver}, report, std::move(theirs)};
  process.start();
  std::istringstream text{receive_text(mine)};
  Report all;
  text >> all.nursery >> all.process >> all.preloads;
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
  return all;
}

// 0: there is none now.
pid_t spare_of(pid_t nursery) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::ifstream file{entry.path() / "stat"};
    std::string pid;
    std::string name;
    std::string state;
    pid_t parent = 0;
    if (file >> pid >> name >> state >> parent && parent == nursery && name == "(troupe-spare)") return std::stoi(pid);
  }
  return 0;
}

// The nursery makes it when it has nothing else to do.
pid_t wait_for_spare(pid_t nursery) {
  pid_t spare = 0;
  EXPECT_TRUE(comes_true([&] { return (spare = spare_of(nursery)) != 0; }));
  return spare;
}

TEST(NurserySpare, IsTheNextProcess) {
  const pid_t nursery = of_new_process().nursery;
  const pid_t spare = wait_for_spare(nursery);
  EXPECT_EQ(of_new_process().process, spare);
  EXPECT_NE(wait_for_spare(nursery), spare);
}

TEST(NurserySpare, ThatIsKilledIsMissedByNobody) {
  for (int round = 0; round < 20; ++round) {
    const pid_t nursery = of_new_process().nursery;
    const pid_t spare = wait_for_spare(nursery);
    ::kill(spare, SIGKILL);
    EXPECT_TRUE(comes_true([&] { return process_state(spare) == '-'; })) << "a zombie is left";
    const Report next = of_new_process();
    EXPECT_EQ(next.nursery, nursery);
    EXPECT_NE(next.process, spare);
  }
}

TEST(NurserySpare, KnowsWhatIsPreloadedLater) {
  const Report before = of_new_process();
  wait_for_spare(before.nursery);
  preload_nursery([] { ++num_preloads; });
  EXPECT_EQ(of_new_process().preloads, before.preloads + 1);
}

const bool with_spare = add_role("program with a spare", [](int argc, char** argv, const std::string&) {
  const Runtime runtime{argc, argv};
  const pid_t nursery = of_new_process().nursery;
  std::printf("%d %d\n", nursery, wait_for_spare(nursery));
  std::fflush(stdout);
  for (;;) ::pause();
  return 0;
});

TEST(NurserySpare, EndsWithTheProgramAndWithTheNursery) {
  for (const bool kill_nursery : {false, true}) {
    Program program{"program with a spare"};
    std::istringstream text{program.read_line()};
    pid_t nursery = 0;
    pid_t spare = 0;
    text >> nursery >> spare;
    ASSERT_TRUE(is_running(spare));
    ::kill(kill_nursery ? nursery : program.pid(), SIGKILL);
    EXPECT_EQ(still_running_after({nursery, spare}, 1s), std::vector<pid_t>{});
    ::kill(program.pid(), SIGKILL);
    EXPECT_EQ(program.wait(), -SIGKILL);
  }
}

}  // namespace
