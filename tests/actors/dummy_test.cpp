#include <troupe/dummy.hpp>

#include <troupe/error.hpp>

#include "support/thread_pools.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe::dummy;
using troupe::test::comes_true;
using troupe::test::Gate;

TEST(Dummy, AnErrorInTheTargetIsPrintedAndMakesExitCodeOne) {
  testing::internal::CaptureStderr();
  Process process{ProcessOptions{.name = "Failing"}, [] { throw std::out_of_range("nothing there"); }};
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), 1);
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_NE(text.find("Process Failing:\nstd::out_of_range: nothing there"), std::string::npos) << text;
}

TEST(Dummy, MisuseIsAnAssertionError) {
  Process process;
  EXPECT_THROW(process.join(), troupe::AssertionError);
  EXPECT_THROW(current_process().join(), troupe::AssertionError);
  process.start();
  EXPECT_THROW(process.start(), troupe::AssertionError);
  EXPECT_THROW(process.set_daemon(true), troupe::AssertionError);
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
  Process self{[] { EXPECT_THROW(current_process().join(1s), troupe::AssertionError); }};
  self.start();
  self.join();
  const Process moved = std::move(self);
  EXPECT_THROW(self.name(), troupe::AssertionError);  // NOLINT(bugprone-use-after-move): that is what is tested
  EXPECT_EQ(moved.exitcode(), 0);
}

TEST(Dummy, NamesTellWhoStartedWhom) {
  EXPECT_EQ(current_process().name(), "MainProcess");
  EXPECT_EQ(current_process().ident(), ::getpid());
  EXPECT_EQ(parent_process(), std::nullopt);
  EXPECT_TRUE(current_process().is_alive());
  EXPECT_FALSE(current_process().daemon());
  const Gate gate;
  Process process{ProcessOptions{.daemon = true}, [gate] {
                    const std::string mine = current_process().name();
                    Process inner{[&] {
                      EXPECT_EQ(current_process().name(), mine + ":1");
                      EXPECT_TRUE(current_process().daemon()) << "as the one that made it";
                      EXPECT_EQ(parent_process()->name(), mine);
                    }};
                    inner.start();
                    inner.join();
                    gate.wait();
                  }};
  EXPECT_TRUE(process.name().starts_with("Process-")) << process.name();
  EXPECT_EQ(process.to_string(), "<Process name='" + process.name() + "' initial daemon>");
  process.start();
  EXPECT_EQ(process.to_string(), "<Process name='" + process.name() + "' started daemon>");
  gate.open();
  process.join();
  process.set_name("renamed");
  EXPECT_EQ(process.to_string(), "<Process name='renamed' stopped exitcode=0 daemon>");
}

class Doubler : public Process {
 public:
  explicit Doubler(int value) : value_(value) {}
  void run() override { value_ *= 2; }
  int value() const { return value_; }

 private:
  int value_;
};

TEST(Dummy, RunCanBeOverriddenAndCalled) {
  Doubler doubler{4};
  doubler.start();
  doubler.join();
  EXPECT_EQ(doubler.value(), 8);
  int calls = 0;
  Process process{[&] { ++calls; }};
  process.run();
  process.start();
  process.join();
  EXPECT_EQ(calls, 2);
}

TEST(Dummy, AProcessThatIsDestroyedGoesOn) {
  const Gate gate;
  auto ended = std::make_shared<std::atomic<bool>>(false);
  std::optional<ProcessRef> ref;
  {
    Process process{[gate, ended](const std::unique_ptr<int>& argument) { *ended = gate.wait() && *argument == 5; },
                    std::make_unique<int>(5)};
    process.start();
    ref = process;
  }
  EXPECT_TRUE(ref->is_alive());
  gate.open();
  ref->join();
  EXPECT_TRUE(*ended);
}

TEST(Dummy, ManyMayRunAndBeJoinedByOthers) {
  for (int round = 0; round < 5; ++round) {
    std::atomic<int> count{0};
    std::vector<Process> all;
    for (int i = 0; i < 50; ++i) all.emplace_back([&] { ++count; });
    for (Process& process : all) process.start();
    Process joiner{[&] {
      for (const Process& process : all) process.join();
    }};
    joiner.start();
    for (const Process& process : all) process.join();
    joiner.join();
    EXPECT_EQ(count, 50);
    EXPECT_TRUE(active_children().empty());
  }
}

}  // namespace
