// The cases of CPython's TestResourceTracker under their names: here the nursery is the one who cleans up. What each
// pins down is restated in one line.

#include <troupe/error.hpp>
#include <troupe/process.hpp>
#include <troupe/semaphore.hpp>
#include <troupe/shared_memory.hpp>

#include "support/nursery.hpp"
#include "support/processes.hpp"

#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <string>
#include <sys/types.h>
#include <unistd.h>
#include <utility>

namespace {

using namespace troupe;
using namespace troupe::test;

void check_signal(int number) {
  const pid_t before = pid_of_starting_nursery();
  const Redirected errors{STDERR_FILENO};
  ASSERT_EQ(::kill(before, number), 0);
  const auto memory = SharedMemory::create(10);
  EXPECT_TRUE(std::filesystem::exists("/dev/shm/" + memory.name()));
  memory.unlink();
  const Semaphore semaphore{0};
  Process process{[](const Semaphore& its) { its.release(); }, semaphore};
  process.start();
  EXPECT_TRUE(semaphore.acquire(true, patience));
  process.join();
  EXPECT_EQ(pid_of_starting_nursery(), before);
  EXPECT_EQ(errors.text(), "");
}

// Signals that end others do not end it.
TEST(TestResourceTracker, test_resource_tracker_sigint) { check_signal(SIGINT); }
TEST(TestResourceTracker, test_resource_tracker_sigterm) { check_signal(SIGTERM); }

// A process of any start method uses its parent's.
TEST(TestResourceTracker, test_resource_tracker_reused) {
  const pid_t nursery = pid_of_starting_nursery();
  for (const StartMethod method : {StartMethod::fork, StartMethod::forkserver, StartMethod::spawn}) {
    auto [mine, theirs] = make_line();
    Process process{ProcessOptions{.daemon = false, .start_method = method},
                    [](const FileDescriptor& line) {
                      const auto memory = SharedMemory::create(10);
                      memory.unlink();
                      send_text(line, std::to_string(pid_of_starting_nursery()));
                    },
                    std::move(theirs)};
    process.start();
    EXPECT_EQ(receive_text(mine), std::to_string(nursery));
    process.join();
  }
}

// A name has its limits.
TEST(TestResourceTracker, test_too_long_name_resource) {
  EXPECT_THROW(SharedMemory::create(10, std::string(256, 'a')), ValueError);
  EXPECT_THROW(SharedMemory::create(10, std::string(512, 'a')), ValueError);
  EXPECT_THROW(SharedMemory::create(10, "a/b"), ValueError);
  EXPECT_THROW(SharedMemory::create(10, ".."), ValueError);
  const std::string longest = "troupe_test_" + std::to_string(::getpid()) + std::string(200, 'a');
  const auto memory = SharedMemory::create(10, "/" + longest);
  EXPECT_EQ(memory.name(), longest);
  memory.unlink();
}

}  // namespace
