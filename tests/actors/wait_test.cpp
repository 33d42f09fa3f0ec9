// wait with things of several kinds at once.

#include <troupe/error.hpp>
#include <troupe/listener.hpp>
#include <troupe/pipe.hpp>
#include <troupe/process.hpp>
#include <troupe/queue.hpp>
#include <troupe/wait.hpp>

#include "support/forked.hpp"
#include "support/one_piece.hpp"
#include "support/processes.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <set>
#include <string>
#include <sys/resource.h>
#include <unistd.h>
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
  const Queue<int> queue;
  const auto used = [] {
    rusage usage{};
    ::getrusage(RUSAGE_THREAD, &usage);
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1'000'000 + usage.ru_utime.tv_usec +
           usage.ru_stime.tv_usec;
  };
  const auto before = used();
  EXPECT_TRUE(wait({a, b, listener, queue}, 500ms).empty());
  EXPECT_LT(used() - before, 20'000);
}

// A queue is ready while it has an item, whoever has put it, beside other things; waiting takes nothing.
TEST(Wait, TakesQueues) {
  const Queue<int> queue{1};
  const SimpleQueue<std::string> simple;
  const JoinableQueue<int> joinable;
  auto [mine, theirs] = Pipe();
  auto [line, other_line] = make_line();
  const auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(wait({queue, mine, simple, joinable, line}, 50ms).empty());
  EXPECT_GE(std::chrono::steady_clock::now() - start, 50ms);

  Process process{[](const Queue<int>& first, const SimpleQueue<std::string>& second, const FileDescriptor& told) {
                    first.put(1);
                    receive_text(told);
                    second.put("two");
                  },
                  queue, simple, std::move(other_line)};
  process.start();
  for (int i = 0; i < 2; ++i) {
    const auto ready = wait({mine, queue, simple}, patience);
    ASSERT_EQ(ready.size(), 1);
    EXPECT_EQ(ready[0], queue);
  }
  EXPECT_EQ(queue.get(), 1);
  EXPECT_TRUE(wait({mine, queue, simple}, 0s).empty());
  send_text(line, "go on");
  const auto ready = wait({mine, queue, simple, joinable}, patience);
  ASSERT_EQ(ready.size(), 1);
  EXPECT_EQ(ready[0], simple);
  process.join();

  joinable.put(3);
  theirs.send(4);
  EXPECT_EQ(wait({mine, joinable, queue, simple}).size(), 3);
  const std::vector<Queue<int>> queues{queue, joinable};
  const auto of_range = wait(queues, 0s);
  ASSERT_EQ(of_range.size(), 1);
  EXPECT_EQ(of_range[0], &queues[1]);
}

void give_back(const Queue<int>& in, const Queue<int>& out, unsigned long pause) {
  for (int i = 0; i < 500; ++i) {
    out.put(in.get());
    busy_pause(pause);
  }
}

// Items that come at any moment, before, while and after who waits goes to sleep: none is missed.
TEST(Wait, SeesItemsWheneverTheyCome) {
  for (const unsigned long pause : {0UL, 5000UL, 50'000UL}) {
    const Queue<int> there;
    const Queue<int> back;
    Process process{give_back, there, back, pause};
    process.start();
    for (int i = 0; i < 500; ++i) {
      there.put(i);
      const auto ready = wait({back, process}, patience);
      ASSERT_FALSE(ready.empty());
      ASSERT_EQ(ready[0], back);
      ASSERT_EQ(back.get_nowait(), i);
    }
    process.join();
  }
}

void take_what_is_ready(const Queue<int>& in, const Queue<int>& out, const FileDescriptor& end) {
  for (;;) {
    const auto ready = wait({in, end}, patience);
    if (ready.empty() || ready[0] == end) return;
    if (const auto item = in.try_get()) out.put(*item);
  }
}

/// Processes that wait for items of `in`, which they move to `out`, until this goes.
struct Movers {
  Movers(int count, const Queue<int>& in, const Queue<int>& out) {
    for (int i = 0; i < count; ++i) {
      auto [mine, theirs] = make_line();
      processes.emplace_back(take_what_is_ready, in, out, std::move(theirs)).start();
      lines.push_back(std::move(mine));
    }
  }
  ~Movers() {
    lines.clear();
    for (const Process& process : processes) process.join();
  }
  std::vector<FileDescriptor> lines;
  std::vector<Process> processes;
};

// Several wait for one queue; for each item one of them is first, and the others wait on.
TEST(Wait, LetsManyWaitForOneQueue) {
  const Queue<int> in{4};
  const Queue<int> out;
  const Movers movers{3, in, out};
  std::set<int> seen;
  for (int i = 0; i < 500; ++i) {
    in.put(i, true, patience);
    if (i % 3 == 0) {
      ASSERT_EQ(wait({out}, patience).size(), 1);
      seen.insert(out.get_nowait());
    }
  }
  while (seen.size() < 500) seen.insert(out.get(true, patience));
  EXPECT_EQ(*seen.begin(), 0);
  EXPECT_EQ(*seen.rbegin(), 499);
  EXPECT_TRUE(wait({in, out}, 0s).empty());
}

// All who wait are told of an item that nobody takes.
TEST(Wait, TellsAllWhoWait) {
  const Queue<int> queue;
  auto [mine, theirs] = make_line();
  std::vector<Process> processes;
  for (int i = 0; i < 3; ++i)
    processes
        .emplace_back(
            [](const Queue<int>& in, const FileDescriptor& line) {
              if (wait({in}, patience).size() == 1) send_text(line, "ready");
            },
            queue, copy_of(theirs))
        .start();
  for (const Process& process : processes) EXPECT_TRUE(wait_for_state(*process.pid(), 'S'));
  queue.put(1);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(receive_text(mine), "ready");
  for (const Process& process : processes) process.join();
  EXPECT_EQ(queue.get_nowait(), 1);
}

void put_for_ever(const Queue<int>& queue) {
  for (int i = 0;; ++i) queue.put(i);
}

// Whoever puts, or waits, may be killed at any moment: the others hear of all that is in.
TEST(Wait, SurvivesKills) {
  const Queue<int> in{8};
  const Queue<int> out;
  const Movers movers{1, in, out};
  for (int round = 0; round < 20; ++round) {
    Process producer{put_for_ever, in};
    auto [mine, theirs] = make_line();
    Process waiter{take_what_is_ready, in, out, std::move(theirs)};
    producer.start();
    waiter.start();
    for (int i = 0; i < 10 * round; ++i) ASSERT_GE(out.get(true, patience), 0);
    busy_pause(1000UL * static_cast<unsigned long>(round));
    waiter.kill();
    producer.kill();
    waiter.join();
    producer.join();
    const auto end = std::chrono::steady_clock::now() + patience;
    while (!in.empty()) ASSERT_LT(std::chrono::steady_clock::now(), end) << "nobody takes what is there";
    while (out.try_get()) {
    }
  }
}

// What a process had got that dies without having done it comes back.
TEST(Wait, HearsOfWhatComesBackToAQueueWithLeases) {
  const JoinableQueue<int> queue{0, {.lease = true}};
  auto [mine, theirs] = make_line();
  Process process{[](const JoinableQueue<int>& in, const FileDescriptor& line) {
                    send_text(line, std::to_string(in.get()));
                    receive_text(line);
                  },
                  queue, std::move(theirs)};
  queue.put(7);
  process.start();
  EXPECT_EQ(receive_text(mine), "7");
  EXPECT_TRUE(wait({queue}, 0s).empty());
  process.kill();
  EXPECT_EQ(wait({queue}, patience).size(), 1);
  EXPECT_EQ(queue.get_delivery(0s).deliveries, 2U);
  EXPECT_TRUE(wait({queue}, 0s).empty());
  queue.task_done();
  process.join();
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
  const Queue<int> queue;
  queue.put(1);
  queue.close();
  EXPECT_THROW(wait({queue}), OSError);
}

}  // namespace
