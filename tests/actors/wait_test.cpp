// wait with things of several kinds at once.

#include <troupe/error.hpp>
#include <troupe/listener.hpp>
#include <troupe/pipe.hpp>
#include <troupe/process.hpp>
#include <troupe/wait.hpp>

#include "support/forked.hpp"
#include "support/processes.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <sys/resource.h>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe;
using namespace troupe::test;

void answer_once(Connection connection) {
  connection.send(connection.recv<int>());
  connection.recv<int>();
}

// A pipe, a process, a listener and a number: each is ready when its own time has come, and only then.
TEST(Wait, TakesThingsOfEveryKind) {
  auto [mine, theirs] = Pipe();
  Listener listener;
  auto [line, other_line] = make_line();
  Process process{answer_once, std::move(theirs)};
  process.start();
  EXPECT_TRUE(wait({mine, process, listener, line, other_line.get()}, 0s).empty());

  mine.send(5);
  auto ready = wait({process, mine, listener, line}, patience);
  ASSERT_EQ(ready.size(), 1);
  EXPECT_EQ(ready[0], mine);
  EXPECT_EQ(mine.recv<int>(), 5);

  const Connection client = Client(listener.address());
  send_text(line, "x");
  ready = wait({process, mine, listener, other_line.get()}, patience);
  ASSERT_EQ(ready.size(), 2);
  EXPECT_EQ(ready[0], listener);
  EXPECT_EQ(ready[1], other_line.get());

  process.kill();
  process.join();
  ready = wait({mine, process}, patience);
  ASSERT_EQ(ready.size(), 2);
  EXPECT_EQ(ready[0], mine);
  EXPECT_EQ(ready[1], process);
}

void count_up(Connection connection, unsigned long pause) {
  for (int i = 0; i < 1000; ++i) {
    connection.send(connection.recv<int>() + 1);
    busy_pause(pause);
  }
}

// Messages that come at any moment, before, while and after their receiver goes to sleep: none is missed.
TEST(Wait, SeesMessagesWheneverTheyCome) {
  std::vector<Connection> ends;
  std::vector<Process> processes;
  for (unsigned i = 0; i < 3; ++i) {
    auto [mine, theirs] = Pipe();
    processes.emplace_back(count_up, std::move(theirs), 5000UL * i).start();
    mine.send(0);
    ends.push_back(std::move(mine));
  }
  while (!ends.empty()) {
    const auto ready = wait(ends, patience);
    ASSERT_FALSE(ready.empty());
    for (Connection* end : ready) {
      const int count = end->recv<int>();
      if (count < 1000) {
        end->send(count);
      } else {
        end->close();
      }
    }
    std::erase_if(ends, [](const Connection& end) { return end.closed(); });
  }
}

// Whoever waits sleeps.
TEST(Wait, TakesNoProcessorTime) {
  auto [a, b] = Pipe();
  Listener listener;
  const auto used = [] {
    rusage usage{};
    ::getrusage(RUSAGE_THREAD, &usage);
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1'000'000 + usage.ru_utime.tv_usec +
           usage.ru_stime.tv_usec;
  };
  const auto before = used();
  EXPECT_TRUE(wait({a, b, listener}, 500ms).empty());
  EXPECT_LT(used() - before, 20'000);
}

// What is closed, or is for sending only, cannot be waited for.
TEST(Wait, RefusesWhatCannotBecomeReady) {
  auto [reader, writer] = Pipe(Duplex::no);
  EXPECT_THROW(wait({reader, writer}, 0s), OSError);
  EXPECT_FALSE(reader.poll());
  writer.send(1);
  EXPECT_EQ(wait({reader}).size(), 1);
  reader.close();
  EXPECT_THROW(wait({reader}), OSError);
  EXPECT_THROW(wait({-1}), OSError);
  EXPECT_THROW(wait({FileDescriptor{}}), OSError);
}

}  // namespace
