// CPython's _TestFinalize, and what else finalizers promise.

#include <troupe/context.hpp>
#include <troupe/error.hpp>
#include <troupe/finalizer.hpp>
#include <troupe/pool.hpp>
#include <troupe/process.hpp>
#include <troupe/runtime.hpp>

#include "../support/processes.hpp"

#include <gtest/gtest.h>

#include <csignal>
#include <cstdio>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace troupe {
namespace {

using test::Program;

std::function<void()> say(const std::string& what) {
  return [what] {
    std::printf("%s\n", what.c_str());
    std::fflush(stdout);
  };
}

/// An object with a finalizer that nobody destroys before the end of the process.
void leave_behind(const std::string& what, std::optional<int> priority) {
  static auto* kept = new std::vector<Finalizer>;
  kept->emplace_back(say(what), priority);
}

void leave_finalizers() {
  { const Finalizer a{say("a")}; }
  {
    Finalizer b{say("b")};
    b();
    b();
  }
  leave_behind("c", std::nullopt);
  leave_behind("d10", 1);
  leave_behind("d01", 0);
  leave_behind("d02", 0);
  leave_behind("d03", 0);
  Finalizer::at_exit(say("e"), -10);
  Finalizer::at_exit(say("STOP"), -100);
}
const std::string finalizers_left = "a\nb\nd10\nd03\nd02\nd01\ne\nSTOP\n";

// `argument`: the start method of the process that leaves them; none, the main process.
int finalize(int argc, char** argv, const std::string& argument) {
  const Runtime runtime{argc, argv};
  if (argument.empty()) {
    leave_finalizers();
    return 0;
  }
  Process process = get_context(argument).process(leave_finalizers);
  process.start();
  process.join();
  return process.exitcode().value();
}
const bool finalize_added = test::add_role("finalize", finalize);

TEST(TestFinalize, test_finalize) {
  for (const char* process : {"", "fork", "forkserver", "spawn"}) {
    Program program{"finalize", process};
    EXPECT_EQ(program.read_rest(), finalizers_left) << process;
    EXPECT_EQ(program.wait(), 0);
  }
}

// `argument`: "process" or "pool", whose fork inherits what the main process has registered.
int finalize_in_parent(int argc, char** argv, const std::string& argument) {
  const Runtime runtime{argc, argv};
  leave_behind("parent's 1", 1);
  Finalizer::at_exit(say("parent's 0"), 0);
  Finalizer::at_exit(say("parent's -1"), -1);
  if (argument == "process") {
    Process process = get_context("fork").process([] { Finalizer::at_exit(say("child's"), 0); });
    process.start();
    process.join();
    return process.exitcode().value();
  }
  Pool pool{PoolOptions{.workers = 2, .start_method = StartMethod::fork}};
  pool.map([](int) {}, std::vector<int>(10), 1);
  pool.close();
  pool.join();
  return 0;
}
const bool in_parent_added = test::add_role("finalize_in_parent", finalize_in_parent);

// What belongs to the process that registered it (a directory, say) must not go with a copy.
TEST(Finalizer, OfTheParentDoesNotRunAtTheEndOfAForkedProcessOrWorker) {
  for (const std::string child : {"process", "pool"}) {
    Program program{"finalize_in_parent", child};
    EXPECT_EQ(program.read_rest(),
              (child == "process" ? "child's\n" : "") + std::string("parent's 1\nparent's 0\nparent's -1\n"));
    EXPECT_EQ(program.wait(), 0) << program.errors();
  }
}

void end_when_told() {
  std::signal(SIGTERM, [](int) {
    static_cast<void>(!::write(STDOUT_FILENO, "daemon\n", 7));
    ::_exit(0);
  });
}

int end_in_order(int argc, char** argv, const std::string&) {
  const Runtime runtime{argc, argv};
  auto [watching, watched] = test::make_line();
  auto [ready, made] = test::make_line();
  Process daemon{ProcessOptions{.daemon = true},
                 [](const FileDescriptor&, const FileDescriptor& line) {
                   end_when_told();
                   test::send_text(line, "ready");
                   for (;;) ::pause();
                 },
                 std::move(watched), std::move(made)};
  daemon.start();
  if (test::receive_text(ready) != "ready") return 1;
  Process child{[](const FileDescriptor& line) {
                  if (test::receive_text(line) == "end of line") say("child")();
                },
                std::move(watching)};
  child.start();
  Finalizer::at_exit(say("finalizer -1"), -1);
  Finalizer::at_exit(say("finalizer 0"), 0);
  return 0;
}
const bool end_in_order_added = test::add_role("end_in_order", end_in_order);

// Rule: at the normal end come finalizers from 0 on, daemons are told, other children are joined, then the rest. The
// child here ends because the daemon has.
TEST(TestFinalize, rule_order_at_exit) {
  Program program{"end_in_order"};
  EXPECT_EQ(program.read_rest(), "finalizer 0\ndaemon\nchild\nfinalizer -1\n");
  EXPECT_EQ(program.wait(), 0);
}

TEST(Finalizer, DoesNothingInACopyOfItsProcess) {
  int calls = 0;
  std::optional<Finalizer> finalizer{std::in_place, [&] { ++calls; }, 0};
  const pid_t copy = ::fork();
  if (copy == 0) {
    (*finalizer)();
    finalizer.reset();
    ::_exit(calls);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(copy, &status, 0), copy);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_TRUE(finalizer->still_active());
  finalizer.reset();
  EXPECT_EQ(calls, 1);
}

TEST(Finalizer, CanBeGivenUpAndMoved) {
  int calls = 0;
  {
    Finalizer finalizer{[&] { ++calls; }, 5};
    finalizer.cancel();
    EXPECT_FALSE(finalizer.still_active());
    finalizer();
  }
  EXPECT_EQ(calls, 0);
  {
    Finalizer first{[&] { ++calls; }};
    Finalizer second{std::move(first)};
    EXPECT_TRUE(second.still_active());
    second = Finalizer{[&] { calls += 10; }};
    EXPECT_EQ(calls, 1);
  }
  EXPECT_EQ(calls, 11);
}

TEST(Finalizer, WhatItThrowsReachesWhoCallsIt) {
  Finalizer finalizer{[] { throw std::runtime_error("no"); }};
  EXPECT_THROW(finalizer(), std::runtime_error);
  finalizer();  // it counts as called
}

int finalize_throwing(int argc, char** argv, const std::string&) {
  const Runtime runtime{argc, argv};
  Finalizer::at_exit([] { throw std::runtime_error("a bad one"); }, 3);
  Finalizer::at_exit(say("before"), 2);
  Finalizer::at_exit(say("after"), -1);
  return 0;
}
const bool throwing_added = test::add_role("finalize_throwing", finalize_throwing);

TEST(Finalizer, OneThatThrowsAtTheEndDoesNotKeepOthersFromRunning) {
  Program program{"finalize_throwing"};
  EXPECT_EQ(program.read_rest(), "before\nafter\n");
  EXPECT_EQ(program.wait(), 0);
  EXPECT_NE(program.errors().find("a finalizer threw std::runtime_error: a bad one"), std::string::npos);
}

}  // namespace
}  // namespace troupe
