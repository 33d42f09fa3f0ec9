// The progress bar: what stands on a terminal, and that nothing is written anywhere else.

#include <troupe/error.hpp>
#include <troupe/file_descriptor.hpp>
#include <troupe/pool.hpp>
#include <troupe/process.hpp>
#include <troupe/progress.hpp>
#include <troupe/semaphore.hpp>

#include "support/pools.hpp"
#include "support/processes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <list>
#include <memory>
#include <optional>
#include <pty.h>
#include <ranges>
#include <sstream>
#include <stdexcept>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe::test;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using troupe::FileDescriptor;
using troupe::Pool;

/// While one lives, standard error is one end of it; `text` has what came out of the other.
class StandardError {
 public:
  enum class Kind { terminal, pipe };

  explicit StandardError(Kind kind, unsigned short columns = 100) : saved_(::dup(STDERR_FILENO)) {
    int ends[2] = {-1, -1};
    const winsize size{.ws_row = 25, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
    EXPECT_EQ(kind == Kind::pipe ? ::pipe(ends) : ::openpty(&ends[0], &ends[1], nullptr, nullptr, &size), 0);
    out_.reset(ends[0]);
    ::dup2(ends[1], STDERR_FILENO);
    ::close(ends[1]);
    ::setenv("TERM", "xterm", 1);
    ::fcntl(out_.get(), F_SETFL, O_NONBLOCK);
  }
  ~StandardError() { ::dup2(saved_.get(), STDERR_FILENO); }
  StandardError(const StandardError&) = delete;
  StandardError& operator=(const StandardError&) = delete;

  const std::string& text() {
    char block[4096];
    for (ssize_t count; (count = ::read(out_.get(), block, sizeof block)) > 0;)
      text_.append(block, static_cast<std::size_t>(count));
    return text_;
  }
  /// The last line as it stands there.
  std::string last_line() {
    const std::string& all = text();
    return all.substr(all.rfind('\r', all.size() - 3) + 1);  // a terminal ends its lines with \r\n
  }

 private:
  FileDescriptor saved_;
  FileDescriptor out_;
  std::string text_;
};

class ProgressTest : public testing::Test {
 protected:
  void TearDown() override { pool.terminate(); }
  Pool pool{2};
  StandardError error{StandardError::Kind::terminal};
};

TEST_F(ProgressTest, AMapShowsItsItems) {
  EXPECT_EQ(pool.map(square, std::vector{1, 2, 3}, troupe::progress("squaring")), (std::vector{1, 4, 9}));
  EXPECT_THAT(error.text(),
              AllOf(StartsWith("\rsquaring [                    "), HasSubstr("]   0 %  0/3  0/s  -:-- left")));
  EXPECT_THAT(error.last_line(),
              AllOf(StartsWith("squaring [===="), HasSubstr("=] 100 %  3/3  "), EndsWith("\033[K\r\n")));
}

TEST_F(ProgressTest, SizesThatAreNoMultipleOfTheChunksAreMetExactly) {
  for (const int size : {0, 1, 7, 199, 1001}) {
    const auto text = std::to_string(size);
    const auto squares = pool.map(square, std::views::iota(0, size), troupe::progress("squaring"), 3);
    EXPECT_EQ(squares.size(), static_cast<std::size_t>(size));
    EXPECT_THAT(error.last_line(), HasSubstr("100 %  " + text + '/' + text + "  ")) << error.last_line();
  }
}

TEST_F(ProgressTest, StarmapAndInputsWithoutASizeGoAsWell) {
  const auto add = [](int a, int b) { return a + b; };
  EXPECT_EQ(pool.starmap(add, std::vector<std::pair<int, int>>{{1, 2}, {3, 4}}, troupe::progress("adding")),
            (std::vector{3, 7}));
  EXPECT_THAT(error.last_line(), HasSubstr("adding ["));
  std::istringstream words{"1 2 3 4"};
  EXPECT_EQ(pool.map(square, std::ranges::istream_view<int>(words), troupe::progress("reading")),
            (std::vector{1, 4, 9, 16}));
  EXPECT_THAT(error.last_line(), HasSubstr("4/4"));
}

int acquire(const troupe::Semaphore& semaphore) { return static_cast<int>(semaphore.acquire()); }

// The line must move while the calls run.
TEST_F(ProgressTest, IsDrawnWhileAMapWaits) {
  const troupe::Semaphore may_end{1};
  {
    const std::jthread watcher{[&] {
      EXPECT_TRUE(comes_true([&] { return error.text().find("1/8") != std::string::npos; }, patience));
      for (int i = 1; i < 8; ++i) may_end.release();
    }};
    pool.map(acquire, std::vector(8, may_end), troupe::progress("waiting"));
  }
  EXPECT_THAT(error.text(), ContainsRegex("1/8  [0-9.]+/s  [0-9]+:[0-9]+ left"));
}

TEST_F(ProgressTest, AnErrorEndsTheLineAndArrives) {
  const auto fail = [](int x) { return x == 2 ? throw std::out_of_range("two") : x; };
  EXPECT_THROW(pool.map(fail, std::vector{1, 2, 3}, troupe::progress("failing")), std::out_of_range);
  EXPECT_THAT(error.last_line(), AllOf(HasSubstr("3/3"), EndsWith("\r\n")));
  const auto loop = [&] {
    for (const int y : troupe::progress("looping", 3).wrap(pool.imap(fail, std::vector{1, 2, 3}))) EXPECT_EQ(y, 1);
  };
  EXPECT_THROW(loop(), std::out_of_range);
  EXPECT_THAT(error.last_line(), AllOf(HasSubstr(" 33 %  1/3"), Not(HasSubstr("left")), EndsWith("\r\n")));
}

TEST_F(ProgressTest, AWrappedIteratorCountsAsItGoes) {
  int sum = 0;
  for (const int y : troupe::progress("squaring", 3).wrap(pool.imap(square, std::vector{1, 2, 3}))) sum += y;
  EXPECT_EQ(sum, 14);
  EXPECT_THAT(error.last_line(), AllOf(StartsWith("squaring ["), HasSubstr("100 %  3/3  ")));
  for (const int y : troupe::progress("squaring").wrap(pool.imap_unordered(square, std::vector{1, 2, 3}, 2))) sum += y;
  EXPECT_EQ(sum, 28);
  EXPECT_THAT(error.last_line(), AllOf(StartsWith("squaring 3  "), Not(HasSubstr("%"))));  // nobody said how many
}

TEST_F(ProgressTest, IsDrawnWhileAnIteratorWaits) {
  const troupe::Semaphore may_end{0};
  const std::jthread watcher{[&] {
    // Two per drawing: of the bar, and behind the line. One drawing is from the beginning.
    EXPECT_TRUE(comes_true([&] { return std::ranges::count(error.text(), '[') >= 6; }, patience)) << error.text();
    may_end.release();
  }};
  for (const int y : troupe::progress("waiting", 1).wrap(pool.imap(acquire, std::vector{may_end}))) EXPECT_EQ(y, 1);
}

// A task's own TimeoutError is no sign that the iterator should wait on.
TEST_F(ProgressTest, TimeoutsOfTasksAreNotMistakenForPauses) {
  const auto nap = [](int x) { return std::this_thread::sleep_for(1h), x; };
  const auto loop = [&] {
    for (const int y : troupe::progress("late", 1).wrap(pool.with({.timeout = 20ms}).imap(nap, std::vector{1})))
      ADD_FAILURE() << y;
  };
  EXPECT_THROW(loop(), troupe::TimeoutError);
}

TEST_F(ProgressTest, WrapsAnyRange) {
  std::list<std::string> words{"one", "two"};
  for (std::string& word : troupe::progress("words").wrap(words)) word += '!';  // the items themselves
  EXPECT_EQ(words.back(), "two!");
  EXPECT_THAT(error.last_line(), HasSubstr("2/2"));
  const auto lengths =
      pool.map([](const std::string& word) { return word.size(); }, troupe::progress("words").wrap(words));
  EXPECT_EQ(lengths, (std::vector<std::size_t>{4, 4}));
}

TEST_F(ProgressTest, CountsByHandAndFromCallbacks) {
  const auto bar = troupe::progress("loading", {.size = 4'000'000, .unit = troupe::ProgressOptions::Unit::bytes});
  EXPECT_EQ(error.text(), "");  // nothing begins before the job does
  bar.advance(1'000'000);
  EXPECT_THAT(error.text(), HasSubstr("  0 %  0 B/4.0 MB  0 B/s"));
  pool.callback([bar](int) { bar.advance(3'000'000); }).apply_async(square, 1).wait();
  EXPECT_THAT(error.last_line(), AllOf(HasSubstr("100 %  4.0 MB/4.0 MB  "), EndsWith("\r\n")));
  const std::string before = error.text();
  bar.advance(1);
  bar.finish();
  EXPECT_EQ(error.text(), before);  // a line ends once
}

TEST(Progress, FitsNarrowTerminals) {
  StandardError error{StandardError::Kind::terminal, 20};
  const auto bar = troupe::progress("a title of some length", 1);
  bar.begin();
  EXPECT_EQ(error.text(), "\ra title of some len\033[K");
}

TEST(Progress, IsSilentOnAPipe) {
  StandardError error{StandardError::Kind::pipe};
  Pool pool{1};
  const auto bar = troupe::progress("unseen", 2);
  EXPECT_FALSE(bar.is_visible());
  bar.advance();
  bar.finish();
  EXPECT_EQ(pool.map(square, std::vector{1, 2}, troupe::progress("unseen")), (std::vector{1, 4}));
  int sum = 0;
  for (const int y : troupe::progress("unseen", 2).wrap(pool.imap(square, std::vector{1, 2}))) sum += y;
  EXPECT_EQ(sum, 5);
  pool.terminate();
  EXPECT_EQ(error.text(), "");
}

TEST(Progress, IsSilentOnATerminalThatCannotMoveItsCursor) {
  StandardError error{StandardError::Kind::terminal};
  ::setenv("TERM", "dumb", 1);
  EXPECT_FALSE(troupe::progress("unseen").is_visible());
}

// After Ctrl-C the prompt has a line of its own, and the shell sees a death by the signal.
TEST(Progress, ASignalEndsTheLineFirst) {
  StandardError error{StandardError::Kind::terminal};
  troupe::Process process{[] {
    std::signal(SIGINT, SIG_DFL);
    const auto bar = troupe::progress("endless", 10);
    bar.begin();
    ::raise(SIGINT);
  }};
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), -SIGINT);
  EXPECT_THAT(error.text(), EndsWith("left\033[K\r\n"));
}

TEST(Progress, LeavesHandlersOfTheProgramAlone) {
  StandardError error{StandardError::Kind::terminal};
  const auto handler = +[](int) {};
  const auto before = std::signal(SIGTERM, handler);
  const auto interrupt_before = std::signal(SIGINT, SIG_DFL);
  {
    const auto bar = troupe::progress("watched", 10);
    bar.begin();
    struct sigaction action{};
    ::sigaction(SIGTERM, nullptr, &action);
    EXPECT_EQ(action.sa_handler, handler);
  }
  EXPECT_EQ(std::signal(SIGINT, interrupt_before), SIG_DFL);
  EXPECT_EQ(std::signal(SIGTERM, before), handler);
}

// A copy of the process, forked while a line stands, must not end it.
TEST(Progress, ForkedCopiesWriteNothing) {
  StandardError error{StandardError::Kind::terminal};
  auto bar = std::make_unique<troupe::Progress>("forked", troupe::ProgressOptions{.size = 10});
  bar->begin();
  const std::string before = error.text();
  const pid_t child = ::fork();
  if (child == 0) {
    bar->advance(10);
    bar.reset();
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(error.text(), before);
}

// --- What others can build theirs on ---

int stop_at_2(int x) {
  if (x == 2) ::raise(SIGSTOP);
  return x;
}

TEST(PoolProgress, MapsTellHowManyChunksAreLeft) {
  Pool pool{1};
  const auto all = pool.map_async(stop_at_2, std::vector{0, 1, 2, 3, 4}, 1);
  EXPECT_TRUE(comes_true([&] { return all.num_left() == 3; }));
  ASSERT_TRUE(wait_for_state(pool.worker_pids().at(0), 'T'));
  EXPECT_EQ(all.num_left(), 3U);
  ::kill(pool.worker_pids().at(0), SIGCONT);
  EXPECT_EQ(all.get(20s).size(), 5U);
  EXPECT_EQ(all.num_left(), 0U);
  EXPECT_EQ(pool.map_async(square, std::vector<int>{}).num_left(), 0U);
  const auto one = pool.apply_async(stop_at_2, 2);
  EXPECT_EQ(one.num_left(), 1U);
  pool.terminate();
  one.wait();
  EXPECT_EQ(one.num_left(), 0U);
}

TEST(PoolProgress, IteratorsTellWhetherNextWouldWait) {
  for (const std::size_t chunksize : {1U, 2U}) {
    for (const bool ordered : {true, false}) {
      Pool pool{1};
      const std::vector items{0, 1, 2, 3};
      auto results =
          ordered ? pool.imap(stop_at_2, items, chunksize) : pool.imap_unordered(stop_at_2, items, chunksize);
      for (const int expected : {0, 1}) {
        EXPECT_TRUE(results.wait(20s));
        EXPECT_EQ(results.next(), expected);
      }
      EXPECT_FALSE(results.wait(0s));  // has read the rest of the input now
      ASSERT_TRUE(wait_for_state(pool.worker_pids().at(0), 'T'));
      EXPECT_FALSE(results.wait(10ms));
      ::kill(pool.worker_pids().at(0), SIGCONT);
      EXPECT_TRUE(results.wait(20s));
      for (const int expected : {2, 3}) EXPECT_EQ(results.next(), expected);
      EXPECT_TRUE(results.wait(0s));
      EXPECT_EQ(results.next(), std::nullopt);
      pool.terminate();
    }
  }
}

}  // namespace
