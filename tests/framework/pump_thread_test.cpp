// The pump's thread: that it sleeps, that each process has its own, what it takes and when it ends.

#include <troupe/child.hpp>
#include <troupe/error.hpp>
#include <troupe/file_descriptor.hpp>
#include <troupe/pump.hpp>

#include "../support/forked.hpp"
#include "../support/nursery.hpp"
#include "pump_fixture.hpp"

#include <gmock/gmock.h>

#include <cerrno>
#include <chrono>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <sys/resource.h>
#include <thread>
#include <unistd.h>
#include <utility>

namespace troupe {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;
using test::let_pump_run;
using test::patience;
using test::Pipe;

/// Runs `body` in a process forked through troupe, which fails if an expectation fails there.
int run_in_child(const std::function<void()>& body) {
  if (test::thread_sanitized) Pump::stop();
  const Child child = Child::launch({.name = "pump test", .method = StartMethod::fork, .closure = [&] {
                                       body();
                                       if (testing::Test::HasFailure()) ::_exit(1);
                                     }});
  return child.wait(steady_clock::now() + patience).value_or(-1000);
}

/// The thread of this process's pump; empty when there is none.
std::optional<std::filesystem::path> pump_thread() {
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream file{task.path() / "comm"};
    std::string name;
    if (std::getline(file, name) && name == "troupe-pump") return task.path();
  }
  return std::nullopt;
}

std::string switches_of(const std::filesystem::path& task) {
  std::ifstream file{task / "status"};
  std::string text;
  for (std::string line; std::getline(file, line);)
    if (line.find("ctxt_switches") != std::string::npos) text += line + '\n';
  return text;
}

// Idle means idle: an armed timer and watched descriptors wake nobody.
TEST(Pump, SleepsWhenThereIsNothingToDo) {
  const Pipe pipe;
  const auto watch = Pump::instance().watch(pipe.read_end.get(), [] {});
  const auto timer = Pump::instance().call_at(steady_clock::now() + 1h, [] {});
  let_pump_run();
  const auto thread = pump_thread();
  ASSERT_TRUE(thread);
  std::string before;
  std::string after = switches_of(*thread);
  // Until it has gone to sleep; then it stays there.
  for (int calm = 0; calm < 3; calm = before == after ? calm + 1 : 0) {
    before = std::exchange(after, switches_of(*thread));
    std::this_thread::sleep_for(10ms);
  }
  std::this_thread::sleep_for(100ms);  // the time that is looked at
  EXPECT_EQ(switches_of(*thread), after);
  EXPECT_THAT(after, testing::HasSubstr("voluntary"));
  Pump::instance().cancel(watch);
  Pump::instance().cancel(timer);
}

TEST(Pump, EveryProcessHasItsOwn) {
  if (test::thread_sanitized) GTEST_SKIP() << "ThreadSanitizer does not see threads of such processes";
  let_pump_run();
  EXPECT_EQ(run_in_child([&] {
              const auto before = test::num_descriptors();
              EXPECT_FALSE(pump_thread());
              let_pump_run();
              EXPECT_TRUE(pump_thread());
              EXPECT_EQ(test::num_descriptors(), before + 2);
              EXPECT_EQ(run_in_child([] { let_pump_run(); }), 0);
            }),
            0);
  let_pump_run();
}

TEST(Pump, ComesAfreshAfterItsEnd) {
  EXPECT_EQ(run_in_child([] {
              let_pump_run();
              auto owned = std::make_shared<int>(1);
              Pump& ended = Pump::instance();
              ended.call_at(no_deadline, [owned] {});
              Pump::stop();
              EXPECT_EQ(owned.use_count(), 1);
              EXPECT_FALSE(pump_thread());
              // Threads that still hold on to it do no harm.
              ended.run_soon([owned] { FAIL() << "the end has come"; });
              ended.call_at(Deadline{}, [owned] { FAIL() << "the end has come"; });
              ended.cancel(ended.watch(STDIN_FILENO, [owned] {}));
              EXPECT_EQ(owned.use_count(), 1);
              Pump::stop();
              let_pump_run();
              EXPECT_NE(&Pump::instance(), &ended);
            }),
            0);
}

TEST(Pump, RunningOutOfDescriptorsIsAnErrorThatLeavesNothingBehind) {
  EXPECT_EQ(run_in_child([] {
              const int next = ::dup(STDERR_FILENO);
              ::close(next);
              rlimit limit{};
              ::getrlimit(RLIMIT_NOFILE, &limit);
              for (const int more : {0, 1}) {
                const rlimit small{.rlim_cur = static_cast<rlim_t>(next + more), .rlim_max = limit.rlim_max};
                ::setrlimit(RLIMIT_NOFILE, &small);
                try {
                  Pump::instance();
                  FAIL() << "no error";
                } catch (const OSError& error) {
                  EXPECT_EQ(error.errno_value(), EMFILE);
                }
              }
              ::setrlimit(RLIMIT_NOFILE, &limit);
              EXPECT_EQ(::dup(STDERR_FILENO), next);
              let_pump_run();
            }),
            0);
}

// A program that had closed its streams may open others in their place.
TEST(Pump, StaysAwayFromTheStandardStreams) {
  EXPECT_EQ(run_in_child([] {
              ::close(STDIN_FILENO);
              ::close(STDOUT_FILENO);
              let_pump_run();
              const FileDescriptor null_device{::open("/dev/null", O_RDWR | O_CLOEXEC)};
              ::dup2(null_device.get(), STDIN_FILENO);
              ::dup2(null_device.get(), STDOUT_FILENO);
              let_pump_run();
            }),
            0);
}

}  // namespace
}  // namespace troupe
