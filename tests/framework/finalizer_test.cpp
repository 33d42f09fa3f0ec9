// CPython's _TestFinalize, and what else finalizers promise.

#include <troupe/error.hpp>
#include <troupe/finalizer.hpp>
#include <troupe/runtime.hpp>

#include "../support/processes.hpp"

#include <gtest/gtest.h>

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

int finalize(int argc, char** argv, const std::string&) {
  const Runtime runtime{argc, argv};
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
  return 0;
}
const bool finalize_added = test::add_role("finalize", finalize);

TEST(TestFinalize, test_finalize) {
  Program program{"finalize"};
  EXPECT_EQ(program.read_rest(), "a\nb\nd10\nd03\nd02\nd01\ne\nSTOP\n");
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
