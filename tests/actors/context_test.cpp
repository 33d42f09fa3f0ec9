// Start methods: the cases of CPython's TestStartMethod under their names, and contexts.

#include <troupe/context.hpp>
#include <troupe/error.hpp>
#include <troupe/runtime.hpp>

#include "support/processes.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <string>
#include <unistd.h>
#include <vector>

namespace {

using namespace troupe;
using namespace troupe::test;

class TestStartMethod : public testing::Test {
 protected:
  void SetUp() override { set_start_method(std::nullopt, true); }
  void TearDown() override { set_start_method(std::nullopt, true); }
};

void report_method(const FileDescriptor& line) { send_text(line, std::string(to_string(get_start_method()))); }

std::string method_seen_by_child(const Context& context) {
  auto [mine, theirs] = make_line();
  Process process = context.process(report_method, std::move(theirs));
  process.start();
  const std::string method = receive_text(mine);
  process.join();
  return method;
}

const pid_t pid_at_begin = ::getpid();  // of the process that executed the program

/// How a child of `context` came to be, as it can tell from its surroundings.
std::string method_used_for_child(const Context& context) {
  auto [mine, theirs] = make_line();
  Process process = context.process(
      [](const FileDescriptor& line, pid_t creator) {
        const bool is_executed = pid_at_begin == ::getpid();
        send_text(line, is_executed ? "spawn" : ::getppid() == creator ? "fork" : "forkserver");
      },
      std::move(theirs), ::getpid());
  process.start();
  const std::string method = receive_text(mine);
  process.join();
  return method;
}

// A context keeps its method, and a child started through it reports that one.
TEST_F(TestStartMethod, test_context) {
  for (const StartMethod method : get_all_start_methods()) {
    const Context context = get_context(to_string(method));
    EXPECT_EQ(context.get_start_method(), method);
    EXPECT_EQ(context.get_context(), context);
    EXPECT_THROW(context.set_start_method("spawn"), ValueError);
    EXPECT_THROW(context.set_start_method(std::nullopt), ValueError);
    EXPECT_EQ(method_seen_by_child(context), to_string(method));
    EXPECT_EQ(method_used_for_child(context), to_string(method));
  }
}

// The program's method can be forced to each in turn; the default context and its children follow.
TEST_F(TestStartMethod, test_set_get) {
  for (const StartMethod method : get_all_start_methods()) {
    set_start_method(method, true);
    EXPECT_EQ(get_start_method(), method);
    EXPECT_EQ(find_start_method(), method);
    EXPECT_EQ(get_context().get_start_method(), method);
    EXPECT_EQ(method_seen_by_child(get_context()), to_string(method));
    EXPECT_EQ(method_used_for_child(get_context()), to_string(method));
  }
}

// All three exist; the first is the default.
TEST_F(TestStartMethod, test_get_all) {
  EXPECT_EQ(get_all_start_methods(),
            (std::vector<StartMethod>{StartMethod::forkserver, StartMethod::fork, StartMethod::spawn}));
  EXPECT_EQ(get_start_method(), get_all_start_methods().front());
}

bool preloaded = false;
void preload() { preloaded = true; }

// What the nursery has prepared is there in forkserver children, and in no others; nothing appears on stderr.
TEST_F(TestStartMethod, test_preload_resources) {
  const Redirected errors{STDERR_FILENO};
  set_forkserver_preload(preload);
  for (const StartMethod method : get_all_start_methods()) {
    auto [mine, theirs] = make_line();
    Process process = get_context(method).process(
        [](const FileDescriptor& line) { send_text(line, preloaded ? "ok" : "not preloaded"); }, std::move(theirs));
    process.start();
    EXPECT_EQ(receive_text(mine), method == StartMethod::forkserver ? "ok" : "not preloaded");
    process.join();
  }
  EXPECT_EQ(errors.text(), "");
}

// The method is chosen once; asking for it chooses, looking does not.
TEST_F(TestStartMethod, IsChosenOnceUnlessForced) {
  EXPECT_EQ(find_start_method(), std::nullopt);
  set_start_method("spawn");
  EXPECT_THROW(set_start_method("fork"), RuntimeError);
  EXPECT_EQ(get_start_method(), StartMethod::spawn);
  set_start_method(std::nullopt, true);
  EXPECT_EQ(find_start_method(), std::nullopt);
  EXPECT_EQ(get_start_method(), StartMethod::forkserver);
  EXPECT_THROW(set_start_method("fork"), RuntimeError);
}

TEST_F(TestStartMethod, RejectsUnknownNames) {
  EXPECT_THROW(set_start_method("thread", true), ValueError);
  EXPECT_THROW(get_context("thread"), ValueError);
  EXPECT_THROW(get_context().get_context(""), ValueError);
}

// A failing exec reaches the caller of start, with the path; the next start works.
TEST_F(TestStartMethod, ReportsAnExecutableThatIsMissing) {
  set_executable("/no/such/program");
  Process process = get_context("spawn").process([] {});
  try {
    process.start();
    ADD_FAILURE() << "started a program that does not exist";
  } catch (const OSError& error) {
    EXPECT_EQ(error.errno_value(), ENOENT);
    EXPECT_NE(std::string(error.what()).find("exec of /no/such/program"), std::string::npos) << error.what();
  }
  EXPECT_FALSE(process.is_alive());
  set_executable("");
  EXPECT_EQ(method_seen_by_child(get_context("spawn")), "spawn");
}

}  // namespace
