// The log: the cases of CPython's _TestLogging under their names, the form of lines, and logging across forks.

#include <troupe/context.hpp>
#include <troupe/log.hpp>

#include "support/forked.hpp"
#include "support/processes.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <unistd.h>

namespace {

using namespace troupe;
using namespace troupe::test;

class TestLogging : public testing::TestWithParam<StartMethod> {
 protected:
  void SetUp() override {
    logger_level_ = get_logger().level();
    root_level_ = root_logger().level();
  }
  void TearDown() override {
    get_logger().set_level(logger_level_);
    root_logger().set_level(root_level_);
  }

  std::string level_seen_by_child() {
    auto [mine, theirs] = make_line();
    Process process =
        get_context(GetParam())
            .process(
                [](const FileDescriptor& line) { send_text(line, std::to_string(get_logger().effective_level())); },
                std::move(theirs));
    process.start();
    const std::string level = receive_text(mine);
    process.join();
    return level;
  }

 private:
  int logger_level_ = 0;
  int root_level_ = 0;
};

// The logger takes a level of its own; what is below does nothing.
TEST_P(TestLogging, test_enable_logging) {
  const Redirected errors{STDERR_FILENO};
  get_logger().set_level(log_level::subwarning);
  get_logger().debug("this will not be printed");
  get_logger().info("nor will this");
  EXPECT_EQ(errors.text(), "");
}

// A child's effective level is its parent's, whether set on the logger or on the root logger.
TEST_P(TestLogging, test_level) {
  get_logger().set_level(32);
  EXPECT_EQ(level_seen_by_child(), "32");
  get_logger().set_level(log_level::notset);
  root_logger().set_level(37);
  EXPECT_EQ(level_seen_by_child(), "37");
}

// Children write lines under their own name when the parent's logger writes to stderr.
TEST_P(TestLogging, LinesCarryLevelAndProcess) {
  const Redirected errors{STDERR_FILENO};
  log_to_stderr(log_level::info);
  get_logger().info("{} of {}", 3, "ten");
  get_logger().log(log_level::subwarning, "{{braces}}, a spare {}");
  get_logger().log(33, "between");
  get_logger().debug("below");
  Process process =
      get_context(GetParam()).process(ProcessOptions{.name = "Scribe"}, [] { get_logger().error("from {}", "below"); });
  process.start();
  process.join();
  EXPECT_EQ(errors.text(),
            "[INFO/MainProcess] 3 of ten\n"
            "[SUBWARNING/MainProcess] {braces}, a spare {}\n"
            "[Level 33/MainProcess] between\n"
            "[ERROR/Scribe] from below\n");
}

// Rule: what the logger writes is no concern of the root logger, which neither writes it again nor keeps it back.
TEST(Logger, DoesNotPropagate) {
  const Redirected errors{STDERR_FILENO};
  const int before = root_logger().level();
  for (const int level : {log_level::debug, log_level::critical}) {
    root_logger().set_level(level);
    get_logger().set_level(log_level::error);
    get_logger().error("at {}", level);
    get_logger().warning("below");
  }
  root_logger().set_level(before);
  get_logger().set_level(log_level::notset);
  EXPECT_EQ(errors.text(), "[ERROR/MainProcess] at 10\n[ERROR/MainProcess] at 50\n");
}

// A process forked while another thread is writing can log: no lock is inherited as held.
TEST(Logger, WorksInProcessesForkedWhileOthersLog) {
  if (sanitized) GTEST_SKIP() << "a sanitizer's allocator may be locked when this process is copied";
  const Redirected errors{STDERR_FILENO};
  std::atomic<bool> stop{false};
  std::jthread writer{[&] {
    while (!stop) get_logger().warning("busy");
  }};
  for (int i = 0; i < 50; ++i) {
    Process process = get_context("fork").process([] { get_logger().warning("forked"); });
    process.start();
    const bool ended = process.join(patience);
    EXPECT_TRUE(ended);
    EXPECT_EQ(process.exitcode(), 0);
    if (!ended) process.kill();
  }
  stop = true;
}

INSTANTIATE_TEST_SUITE_P(P, TestLogging,
                         testing::Values(StartMethod::forkserver, StartMethod::fork, StartMethod::spawn),
                         [](const auto& method) { return std::string(to_string(method.param)); });

}  // namespace
