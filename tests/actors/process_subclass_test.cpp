// Process classes with members and a run() of their own, and the cases of CPython's _TestSubclassingProcess,
// TestStdinBadfiledescriptor, TestForkAwareThreadLock and TestCloseFds under their names.

#include <troupe/connection.hpp>
#include <troupe/context.hpp>
#include <troupe/error.hpp>
#include <troupe/pipe.hpp>
#include <troupe/process.hpp>
#include <troupe/queue.hpp>
#include <troupe/runtime.hpp>

#include "support/processes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <poll.h>
#include <optional>
#include <stdexcept>
#include <string>
#include <sys/socket.h>
#include <tuple>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using namespace troupe;
using namespace troupe::test;
using testing::HasSubstr;

class EveryMethod : public testing::TestWithParam<StartMethod> {
 protected:
  void SetUp() override { set_start_method(GetParam(), true); }
  void TearDown() override { set_start_method(std::nullopt, true); }
};

/// Answers every message in capitals until there is none.
class UpperCaser : public ProcessType<UpperCaser> {
 public:
  UpperCaser() { std::tie(parent_end_, child_end_) = Pipe(); }

  void run() override {
    parent_end_.close();
    while (auto text = child_end_.recv<std::optional<std::string>>()) {
      std::ranges::transform(*text, text->begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
      child_end_.send(*text);
    }
  }
  std::string submit(const std::string& text) {
    parent_end_.send(std::optional(text));
    return parent_end_.recv<std::string>();
  }
  void stop() {
    parent_end_.send(std::optional<std::string>{});
    parent_end_.close();
    child_end_.close();
  }

 private:
  Connection parent_end_;
  Connection child_end_;
  TROUPE_FIELDS(parent_end_, child_end_)
};

using TestSubclassingProcess = EveryMethod;

// A subclass with a connection and a run() of its own.
TEST_P(TestSubclassingProcess, test_subclassing) {
  UpperCaser upper_caser;
  upper_caser.set_daemon(true);
  upper_caser.start();
  EXPECT_EQ(upper_caser.submit("hello"), "HELLO");
  EXPECT_EQ(upper_caser.submit("world"), "WORLD");
  upper_caser.stop();
  upper_caser.join();
  EXPECT_EQ(upper_caser.exitcode(), 0);
}

void fail_into(const FileDescriptor& file) {
  ::dup2(file.get(), STDERR_FILENO);
  throw std::domain_error("1 / 0");
}

// The report of an uncaught error is complete when the process has ended.
TEST_P(TestSubclassingProcess, test_stderr_flush) {
  char name[] = "/tmp/troupe-test-XXXXXX";
  FileDescriptor file{::mkostemp(name, O_CLOEXEC)};
  ::unlink(name);
  Process process{ProcessOptions{.name = "Careless"}, fail_into, copy_of(file)};
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), 1);
  std::string text(1000, '\0');
  const ssize_t size = ::pread(file.get(), text.data(), text.size(), 0);
  text.resize(static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
  EXPECT_EQ(text, "Process Careless:\nstd::domain_error: 1 / 0\n");
}

void get_one(const Queue<int>& queue) {
  try {
    queue.get(false);
  } catch (const Empty&) {
    return;
  }
  throw std::logic_error("the queue is not empty");
}

using TestStdinBadfiledescriptor = EveryMethod;

// A child makes a queue and a daemonic grandchild that looks into it; nothing hangs. Standard input is the null device.
TEST_P(TestStdinBadfiledescriptor, test_queue_in_process) {
  Process process{[] {
    char byte = 0;
    if (::read(STDIN_FILENO, &byte, 1) != 0) throw std::logic_error("standard input is not empty");
    const Queue<int> queue;
    Process grandchild{ProcessOptions{.daemon = true}, get_one, queue};
    grandchild.start();
    grandchild.join();
    std::exit(*grandchild.exitcode());
  }};
  process.start();
  EXPECT_TRUE(process.join(patience));
  EXPECT_EQ(process.exitcode(), 0);
}

void count_hooks(const FileDescriptor& line, int generations) {
  if (generations == 0) return send_text(line, std::to_string(detail::num_child_start_hooks()));
  Process process{count_hooks, copy_of(line), generations - 1};
  process.start();
  process.join();
}

std::size_t hooks_after(int generations) {
  auto [mine, theirs] = make_line();
  count_hooks(theirs, generations);
  return std::stoul(receive_text(mine));
}

using TestForkAwareThreadLock = EveryMethod;

// What is to be done after a fork does not grow from generation to generation.
TEST_P(TestForkAwareThreadLock, test_lock) { EXPECT_LE(hooks_after(5), hooks_after(1)); }

void use_unpassed(const FileDescriptor& line, int number) {
  send_text(line, ::fcntl(number, F_GETFD) >= 0 ? "open" : std::to_string(errno));
}

using TestCloseFds = EveryMethod;

// A descriptor that was not passed exists in a forked child only.
TEST_P(TestCloseFds, test_closefd) {
  const FileDescriptor socket{::socket(AF_INET, SOCK_STREAM, 0)};
  const FileDescriptor high{::fcntl(socket.get(), F_DUPFD, 50)};
  ASSERT_GE(high.get(), 50);
  auto [mine, theirs] = make_line();
  Process process{use_unpassed, std::move(theirs), high.get()};
  process.start();
  EXPECT_EQ(receive_text(mine), GetParam() == StartMethod::fork ? "open" : std::to_string(EBADF));
  process.join();
}

/// Adds up what it is given.
class Adder : public ProcessType<Adder> {
 public:
  Adder() = default;
  Adder(std::vector<int> numbers, FileDescriptor line, ProcessOptions options = {})
      : ProcessType(std::move(options)), numbers_(std::move(numbers)), line_(std::move(line)) {}
  void run() override {
    int sum = 0;
    for (const int number : numbers_) sum += number;
    send_text(line_, std::to_string(sum) + " " + name() + " " + std::to_string(*pid() == ::getpid()));
  }

 private:
  std::vector<int> numbers_;
  FileDescriptor line_;
  TROUPE_FIELDS(numbers_, line_)
};

using ProcessSubclass = EveryMethod;

// Members reach the child, and the object over there is the process itself.
TEST_P(ProcessSubclass, TakesItsMembersAlong) {
  auto [mine, theirs] = make_line();
  Adder adder{{1, 2, 3}, std::move(theirs), {.name = "Adder"}};
  adder.start();
  EXPECT_EQ(receive_text(mine), "6 Adder 1");
  adder.join();
  EXPECT_EQ(adder.to_string(), "<Adder name='Adder' pid=" + std::to_string(*adder.pid()) +
                                   " parent=" + std::to_string(::getpid()) + " stopped exitcode=0>");
}

// start, then run() as well: the work happens twice, once in each process.
TEST_P(ProcessSubclass, RunsInBothProcessesWhenRunIsCalledToo) {
  auto [mine, theirs] = make_line();
  Adder adder{{4, 5}, std::move(theirs), {.name = "Adder"}};
  adder.start();
  adder.run();
  adder.join();
  std::vector<std::string> answers{receive_text(mine), receive_text(mine)};
  std::ranges::sort(answers);
  EXPECT_EQ(answers, (std::vector<std::string>{"9 Adder 0", "9 Adder 1"}));
}

/// Derives from Process directly.
class Plain : public Process {
 public:
  explicit Plain(const FileDescriptor& line) : line_(line.get()) {}
  void run() override { send_text(line_, "ran"); }

 private:
  int line_;
};

// A subclass that cannot travel runs under fork; otherwise the error names the remedy and nothing was started.
TEST_P(ProcessSubclass, NeedsProcessTypeToTravel) {
  auto [mine, theirs] = make_line();
  Plain plain{theirs};
  if (GetParam() == StartMethod::fork) {
    plain.start();
    EXPECT_EQ(receive_text(mine), "ran");
    plain.join();
    return;
  }
  try {
    plain.start();
    FAIL() << "a plain subclass was started";
  } catch (const TypeError& error) {
    EXPECT_THAT(error.what(), HasSubstr("Plain"));
    EXPECT_THAT(error.what(), HasSubstr("troupe::ProcessType<Plain>"));
    EXPECT_THAT(error.what(), HasSubstr("fork"));
  }
  EXPECT_EQ(plain.pid(), std::nullopt);
  EXPECT_THROW(plain.join(), AssertionError);
}

const auto every_method = testing::Values(StartMethod::forkserver, StartMethod::fork, StartMethod::spawn);
const auto method_name = [](const auto& method) { return std::string(to_string(method.param)); };
INSTANTIATE_TEST_SUITE_P(P, TestSubclassingProcess, every_method, method_name);
INSTANTIATE_TEST_SUITE_P(P, TestStdinBadfiledescriptor, every_method, method_name);
INSTANTIATE_TEST_SUITE_P(P, TestForkAwareThreadLock, every_method, method_name);
INSTANTIATE_TEST_SUITE_P(P, TestCloseFds, every_method, method_name);
INSTANTIATE_TEST_SUITE_P(P, ProcessSubclass, every_method, method_name);

}  // namespace
