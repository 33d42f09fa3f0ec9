// The cases of CPython's _TestProcess that it also runs on threads (flavour T), under their names. What each pins down
// is restated in one line.

#include <troupe/dummy.hpp>

#include "support/process_cases.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>
#include <unistd.h>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe::dummy;
using troupe::test::expect_takes;

bool is_listed(const Process& process) {
  const auto children = active_children();
  return std::ranges::find(children, static_cast<const ProcessRef&>(process)) != children.end();
}

// Arguments arrive equal to what was passed, one by one or from a tuple.
TEST(TestProcess, test_args_argument) {
  const auto check = [](auto target, const auto& value) { expect_takes<Process>(target, value); };
  check([](int x) { EXPECT_EQ(x, 1); }, 1);
  check([](const std::string& x) { EXPECT_EQ(x, "str"); }, "str");
  check([](const std::vector<int>& x) { EXPECT_EQ(x, std::vector{1}); }, std::vector{1});
  check([](std::tuple<int> x) { EXPECT_EQ(x, std::tuple{1}); }, std::tuple{1});
}

struct Keywords {
  bool hello = false;
  double bye = 0;
};

// The whole life: before start, running, after join; and what the thread sees.
TEST(TestProcess, test_process) {
  std::promise<void> has_begun, may_end;
  Process process{ProcessOptions{.name = "SomeProcess", .daemon = true},
                  [&](const ProcessRef& creator, int first, int second, const Keywords& keywords) {
                    const ProcessRef self = current_process();
                    EXPECT_EQ(self.name(), "SomeProcess");
                    EXPECT_EQ(self.ident(), ::gettid());
                    EXPECT_EQ(parent_process(), creator);
                    EXPECT_EQ(first * 10 + second, 12);
                    EXPECT_TRUE(keywords.hello);
                    EXPECT_EQ(keywords.bye, 2.54);
                    has_begun.set_value();
                    may_end.get_future().wait();
                  },
                  current_process(),
                  1,
                  2,
                  Keywords{.hello = true, .bye = 2.54}};
  EXPECT_FALSE(process.is_alive());
  EXPECT_TRUE(process.daemon());
  EXPECT_FALSE(is_listed(process));
  EXPECT_EQ(process.exitcode(), std::nullopt);
  EXPECT_EQ(process.ident(), std::nullopt);

  process.start();
  EXPECT_EQ(process.exitcode(), std::nullopt);
  EXPECT_TRUE(process.is_alive());
  EXPECT_TRUE(is_listed(process));
  has_begun.get_future().wait();
  EXPECT_FALSE(process.join(0s));
  EXPECT_FALSE(process.join(-1s));
  EXPECT_TRUE(process.is_alive());
  may_end.set_value();

  process.join();
  EXPECT_EQ(process.exitcode(), 0);
  EXPECT_FALSE(process.is_alive());
  EXPECT_FALSE(is_listed(process));
  EXPECT_TRUE(process.join(0s));
}

// At least one.
TEST(TestProcess, test_cpu_count) { EXPECT_GE(cpu_count(), 1); }

// A process is listed only between start and join.
TEST(TestProcess, test_active_children) {
  EXPECT_TRUE(active_children().empty());
  std::promise<void> may_end;
  Process process{[&] { may_end.get_future().wait(); }};
  EXPECT_FALSE(is_listed(process));
  process.start();
  EXPECT_TRUE(is_listed(process));
  may_end.set_value();
  process.join();
  EXPECT_FALSE(is_listed(process));
}

// Threads start threads and join them: everything comes in this order.
TEST(TestProcess, test_recursion) {
  std::mutex mutex;
  std::vector<std::string> seen;
  struct Recursion {
    std::mutex& mutex;
    std::vector<std::string>& seen;
    void operator()(const std::string& path) const {
      {
        const std::lock_guard lock{mutex};
        seen.push_back("[" + path + "]");
      }
      if (path.size() == 2) return;
      for (const char step : {'0', '1'}) {
        Process process{*this, path + step};
        process.start();
        process.join();
      }
    }
  };
  Recursion{mutex, seen}("");
  EXPECT_EQ(seen, (std::vector<std::string>{"[]", "[0]", "[00]", "[01]", "[1]", "[10]", "[11]"}));
}

}  // namespace
