// Child: launching with descriptors and arguments, waiting, signals, and errors that leave nothing behind.

#include <troupe/child.hpp>
#include <troupe/error.hpp>
#include <troupe/launch.hpp>
#include <troupe/runtime.hpp>

#include "support/nursery.hpp"
#include "support/processes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <dirent.h>
#include <fcntl.h>
#include <string>
#include <sys/resource.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe;
using namespace troupe::test;
using testing::HasSubstr;

Deadline in(std::chrono::milliseconds time) { return std::chrono::steady_clock::now() + time; }

/// Answers on its first descriptor with its argument and how many descriptors it has, then waits for a word.
void answer(ChildContext& context) {
  const int line = context.descriptors().at(0).get();
  send_text(line, std::to_string(arguments_of(context)[0].getInt64()) + " " +
                      std::to_string(context.descriptors().size()) + " " + this_process::name());
  receive_text(line);
}
void end_at_once(ChildContext&) {}

std::string no_name() { return "a test"; }
const bool registered = register_thunk(ThunkKind::process_entry, reinterpret_cast<AnyFunction>(&answer), no_name) &&
                        register_thunk(ThunkKind::process_entry, reinterpret_cast<AnyFunction>(&end_at_once), no_name);

std::shared_ptr<LaunchMessage> message_for(ProcessEntry entry, std::int64_t argument = 0) {
  static_cast<void>(registered);
  auto message = std::make_shared<LaunchMessage>(code_ref(reinterpret_cast<AnyFunction>(entry)));
  message->init_arguments(1)[0].setInt64(argument);
  return message;
}

class ChildEveryMethod : public testing::TestWithParam<StartMethod> {
 protected:
  Child launch_answering(const FileDescriptor& line, std::int64_t argument = 0) {
    return Child::launch({.name = "Answerer",
                          .method = GetParam(),
                          .descriptors = {line.get()},
                          .message = message_for(answer, argument)});
  }
};

TEST_P(ChildEveryMethod, RunsItsEntryWithArgumentsAndDescriptors) {
  auto [mine, theirs] = make_line();
  const Child child = launch_answering(theirs, 42);
  EXPECT_EQ(receive_text(mine), "42 1 Answerer");
  EXPECT_EQ(child.poll_exitcode(), std::nullopt);
  EXPECT_FALSE(is_readable(child.sentinel()));
  send_text(mine, "end");
  EXPECT_EQ(child.wait(in(patience)), 0);
  EXPECT_TRUE(is_readable(child.sentinel()));
  EXPECT_TRUE(is_readable(child.pidfd()));
  EXPECT_EQ(process_state(child.pid()), '-');
}

TEST_P(ChildEveryMethod, WaitsNoLongerThanAsked) {
  auto [mine, theirs] = make_line();
  const Child child = launch_answering(theirs);
  EXPECT_EQ(child.wait(in(0ms)), std::nullopt);
  EXPECT_EQ(child.wait(in(-1ms)), std::nullopt);
  EXPECT_EQ(child.wait(in(20ms)), std::nullopt);
  child.send_signal(SIGKILL);
  EXPECT_EQ(child.wait(in(patience)), -SIGKILL);
  child.send_signal(SIGKILL);  // nobody to send it to: no error
}

TEST_P(ChildEveryMethod, IsStoppedAndContinued) {
  auto [mine, theirs] = make_line();
  const Child child = launch_answering(theirs);
  EXPECT_EQ(receive_text(mine), "0 1 Answerer");
  child.send_signal(SIGSTOP);
  EXPECT_TRUE(wait_for_state(child.pid(), 'T'));
  EXPECT_EQ(child.poll_exitcode(), std::nullopt);
  EXPECT_FALSE(is_readable(child.sentinel()));
  send_text(mine, "end");
  child.send_signal(SIGCONT);
  EXPECT_EQ(child.wait(in(patience)), 0);
}

// Several threads may wait for one process; all learn the same.
TEST_P(ChildEveryMethod, TellsEveryThreadThatWaits) {
  auto [mine, theirs] = make_line();
  const Child child = launch_answering(theirs);
  std::array<std::optional<int>, 4> seen;
  {
    std::vector<std::jthread> threads;
    for (auto& code : seen) threads.emplace_back([&child, &code] { code = child.wait(in(patience)); });
    child.send_signal(SIGTERM);
  }
  for (const auto& code : seen) EXPECT_EQ(code, -SIGTERM);
}

TEST_P(ChildEveryMethod, StartsFromSeveralThreads) {
  std::vector<std::jthread> threads;
  std::array<int, 4> ended_well{};
  for (int& count : ended_well) {
    threads.emplace_back([&count, method = GetParam()] {
      for (int i = 0; i < 10; ++i) {
        const Child child = Child::launch({.name = "Short", .method = method, .message = message_for(end_at_once)});
        if (child.wait(in(patience)) == 0) ++count;
      }
    });
  }
  threads.clear();
  for (const int count : ended_well) EXPECT_EQ(count, 10);
}

// Nothing is left open here by processes that have come and gone.
TEST_P(ChildEveryMethod, LeavesNoDescriptorsOpen) {
  const auto start_and_wait = [] {
    Child::launch({.name = "Short", .method = GetParam(), .message = message_for(end_at_once)}).wait(no_deadline);
  };
  for (int i = 0; i < 40; ++i) start_and_wait();
  const std::size_t before = num_descriptors();
  for (int i = 0; i < 40; ++i) start_and_wait();
  // What the Runtime remembers until its next sweep is bounded: sixteen processes of at most two descriptors.
  EXPECT_LE(num_descriptors(), before + 32);
}

TEST_P(ChildEveryMethod, RefusesWhatCannotBePassed) {
  auto [mine, theirs] = make_line();
  const auto launch = [](std::vector<int> descriptors) {
    Child::launch({.name = "Full",
                   .method = GetParam(),
                   .descriptors = std::move(descriptors),
                   .message = message_for(end_at_once)});
  };
  EXPECT_THROW(launch(std::vector<int>(241, theirs.get())), ValueError);
  try {
    launch({9999});
    ADD_FAILURE() << "passed a descriptor that is not open";
  } catch (const OSError& error) {
    EXPECT_EQ(error.errno_value(), EBADF);
    EXPECT_THAT(error.what(), HasSubstr("Full"));
  }
  launch(std::vector<int>(240, theirs.get()));
}

// With no descriptor left the error says so, nothing was started, and afterwards everything works again.
TEST_P(ChildEveryMethod, SaysThatTooManyFilesAreOpen) {
  const auto message = message_for(end_at_once);
  const LaunchSpec spec{.name = "Crowded", .method = GetParam(), .message = message};
  Child::launch(spec).wait(no_deadline);  // whatever is made once is made
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const rlim_t before = limit.rlim_cur;
  int num_errors = 0;
  for (rlim_t more = 0; more < 12; ++more) {
    const int lowest = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    ::close(lowest);
    limit.rlim_cur = static_cast<rlim_t>(lowest) + more;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    try {
      const Child child = Child::launch(spec);
      EXPECT_EQ(child.wait(in(patience)), 0);
    } catch (const OSError& error) {
      ++num_errors;
      EXPECT_EQ(error.errno_value(), EMFILE) << error.what();
      EXPECT_THAT(error.what(), HasSubstr("starting Crowded: "));
    }
    limit.rlim_cur = before;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    EXPECT_EQ(Child::launch(spec).wait(in(patience)), 0);
  }
  EXPECT_GT(num_errors, 0);
}

TEST(Child, RefusesAClosureWithoutFork) {
  EXPECT_THROW(Child::launch({.name = "Closure", .closure = [] {}}), AssertionError);
  EXPECT_THROW(Child::launch({.name = "Nothing"}), AssertionError);
}

// An entry that this build does not have ends the process with a report, not with a jump into the unknown.
TEST(Child, ReportsAnEntryThatDoesNotExist) {
  const Redirected errors{STDERR_FILENO};
  const Child child = Child::launch({.name = "Lost", .message = std::make_shared<LaunchMessage>(CodeRef{1, 0})});
  EXPECT_EQ(child.wait(in(patience)), 1);
  EXPECT_THAT(errors.text(), HasSubstr("Process Lost:"));
}

// Somebody else took the exit status of a forked process: it is not waited for in vain.
TEST(Child, SurvivesThatOthersReapItsForkedProcess) {
  const Child child = Child::launch({.name = "Reaped", .method = StartMethod::fork, .closure = [] { ::_exit(3); }});
  siginfo_t info{};
  ::waitid(P_PID, static_cast<id_t>(child.pid()), &info, WEXITED);
  EXPECT_EQ(child.wait(in(patience)), 255);
}

INSTANTIATE_TEST_SUITE_P(P, ChildEveryMethod,
                         testing::Values(StartMethod::forkserver, StartMethod::fork, StartMethod::spawn),
                         [](const auto& method) { return std::string(to_string(method.param)); });

}  // namespace
