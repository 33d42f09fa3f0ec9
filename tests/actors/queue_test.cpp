// Queue: what comes out of it, in which order, how large it may be, and what becomes of it when processes are killed.

#include <troupe/error.hpp>
#include <troupe/pool.hpp>
#include <troupe/process.hpp>
#include <troupe/queue.hpp>

#include "support/one_piece.hpp"
#include "support/pools.hpp"
#include "support/processes.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <map>
#include <string>
#include <thread>
#include <tuple>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe;
using namespace troupe::test;

TEST(Queue, HoldsWhatHasACodec) {
  const Queue<std::map<std::string, std::vector<double>>> maps;
  maps.put({{"a", {1, 2}}, {"b", {}}});
  EXPECT_EQ(maps.get(), (std::map<std::string, std::vector<double>>{{"a", {1, 2}}, {"b", {}}}));
  const Queue<> anything;
  anything.put(Dynamic{std::string("text")});
  EXPECT_EQ(anything.get().to_string(), Dynamic{std::string("text")}.to_string());
}

// An item may be larger than any buffer; the memory is used again.
TEST(Queue, HoldsItemsOfAnySize) {
  const Queue<std::string> queue;
  for (int round = 0; round < 3; ++round) {
    for (const std::size_t size : {0U, 1U, 5000U, 9000U, 70'000U, 3'000'000U, 40'000'000U})
      queue.put(std::string(size, static_cast<char>('a' + round)));
    for (const std::size_t size : {0U, 1U, 5000U, 9000U, 70'000U, 3'000'000U, 40'000'000U})
      EXPECT_EQ(queue.get(), std::string(size, static_cast<char>('a' + round)));
  }
}

// As many as come, beyond the first and the second piece of memory; then the queue works on in what it has.
TEST(Queue, GrowsAndKeepsTheOrder) {
  const Queue<int> queue;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 60'000; ++i) queue.put(i);
    EXPECT_EQ(queue.qsize(), 60'000U);
    for (int i = 0; i < 60'000; ++i) ASSERT_EQ(queue.get(), i);
    EXPECT_THROW(queue.get_nowait(), Empty);
  }
}

void produce(const Queue<std::pair<int, int>>& queue, int producer, int count) {
  for (int i = 0; i < count; ++i) queue.put({producer, i});
}

/// Passes on what it gets, with its own number in front.
void consume(const Queue<std::pair<int, int>>& in, const Queue<std::tuple<int, int, int>>& out, int consumer) {
  for (;;) {
    const auto [producer, number] = in.get();
    out.put({consumer, producer, number});
    if (producer < 0) return;
  }
}

// Not only the first time: who puts remembers how many were got.
TEST(Queue, IsFullAtItsBoundEachTime) {
  const Queue<int> queue{3};
  for (int round = 0; round < 10; ++round) {
    while (queue.try_put(round)) {
    }
    EXPECT_EQ(queue.qsize(), 3U);
    EXPECT_THROW(queue.put(round, true, 1ms), Full);
    for (int i = 0; i <= round % 3; ++i) queue.get();
    for (int i = 0; i <= round % 3; ++i) queue.put(round, true, 1ms);
    EXPECT_THROW(queue.put(round, true, 1ms), Full);
  }
}

// Several put, several get, through a queue that is nearly always full: everything once, each producer's in order.
TEST(Queue, DeliversOnceAndInOrderOfEachProducer) {
  const Queue<std::pair<int, int>> in{16};
  const Queue<std::tuple<int, int, int>> out;
  constexpr int num = 3;
  constexpr int count = 2000;
  std::vector<Process> producers;
  std::vector<Process> consumers;
  for (int i = 0; i < num; ++i) {
    producers.emplace_back(produce, in, i, count).start();
    consumers.emplace_back(consume, in, out, i).start();
  }
  for (const Process& producer : producers) producer.join();
  for (int i = 0; i < num; ++i) in.put({-1, i});
  std::map<int, std::vector<bool>> seen;
  std::map<std::pair<int, int>, int> next;  // by consumer and producer: what may come at the earliest
  int ends = 0;
  while (ends < num) {
    const auto [consumer, producer, number] = out.get(true, 20s);
    if (producer < 0) {
      ++ends;
      continue;
    }
    int& earliest = next[{consumer, producer}];
    EXPECT_GE(number, earliest);
    earliest = number + 1;
    auto& numbers = seen[producer];
    numbers.resize(count);
    EXPECT_FALSE(numbers[static_cast<std::size_t>(number)]) << "twice";
    numbers[static_cast<std::size_t>(number)] = true;
  }
  for (int i = 0; i < num; ++i) EXPECT_EQ(seen[i], std::vector<bool>(count, true));
  for (const Process& consumer : consumers) consumer.join();
}

// What a process has put is there, also when that process is not.
TEST(Queue, KeepsWhatAKilledProcessHasPut) {
  const Queue<std::string> queue;
  auto [mine, theirs] = make_line();
  Process process{[](const Queue<std::string>& out, const FileDescriptor& line) {
                    for (int i = 0; i < 100; ++i) out.put(std::string(20'000, 'x'));
                    send_text(line, "done");
                    receive_text(line);
                  },
                  queue, std::move(theirs)};
  process.start();
  EXPECT_EQ(receive_text(mine), "done");
  process.kill();
  process.join();
  for (int i = 0; i < 100; ++i) EXPECT_EQ(queue.get(true, 20s).size(), 20'000U);
}

// A queue that its maker gives away lives on.
TEST(Queue, OutlivesItsMaker) {
  const Queue<Queue<int>> queues;
  Process process{[](const Queue<Queue<int>>& out) {
                    const Queue<int> inner;
                    inner.put(42);
                    out.put(inner);
                  },
                  queues};
  process.start();
  process.join();
  const Queue<int> inner = queues.get(true, 20s);
  EXPECT_EQ(inner.get(true, 20s), 42);
  inner.put(43);
  EXPECT_EQ(inner.get(true, 20s), 43);
}

TEST(Queue, IsAnArgumentAndAResultOfTasks) {
  const Queue<int> queue;
  Pool pool{2};
  const auto put = [](const Queue<int>& out, int x) {
    out.put(x);
    return out;
  };
  EXPECT_TRUE(pool.apply(put, queue, 1) == queue);
  std::vector<AsyncResult<Queue<int>>> results;
  for (int i = 2; i <= 10; ++i) results.push_back(pool.apply_async(put, queue, i));
  int sum = 0;
  for (int i = 0; i < 10; ++i) sum += queue.get(true, 20s);
  EXPECT_EQ(sum, 55);
  pool.close();
  pool.join();
}

TEST(Queue, JoinWaitsForWhatIsNotDone) {
  const JoinableQueue<int> queue;
  EXPECT_TRUE(queue.join(0s));
  queue.put(1);
  queue.put(2);
  EXPECT_FALSE(queue.join(20ms));
  queue.get();
  queue.task_done();
  EXPECT_FALSE(queue.join(0s));
  std::jthread other{[&] {
    queue.get();
    queue.task_done();
  }};
  EXPECT_TRUE(queue.join(20s));
}

// More than 1024 cannot be got and not done; who tries keeps what it has, and the item stays.
TEST(Queue, LeasesAreFor1024ItemsAtATime) {
  const JoinableQueue<int> queue{0, {.lease = true}};
  for (int i = 0; i < 1025; ++i) queue.put(i);
  for (int i = 0; i < 1024; ++i) ASSERT_EQ(queue.get(), i);
  EXPECT_THROW(queue.get(), Full);
  EXPECT_EQ(queue.qsize(), 1U);
  queue.task_done();
  EXPECT_EQ(queue.get(), 1024);
}

// With leases, what a killed process has got and not done is given to somebody else, who is told.
TEST(Queue, LeasesGiveWhatAKilledProcessHadToAnother) {
  const JoinableQueue<std::string> queue{0, {.lease = true}};
  const std::string large(3'000'000, 'x');
  queue.put("small");
  queue.put(large);
  queue.put("later");
  for (unsigned deliveries = 1; deliveries <= 3; ++deliveries) {
    auto [mine, theirs] = make_line();
    Process process{[](const JoinableQueue<std::string>& in, const FileDescriptor& line) {
                      for (int i = 0; i < 2; ++i) {
                        const auto delivery = in.get_delivery(20s);
                        send_text(line, delivery.item.substr(0, 5) + std::to_string(delivery.deliveries));
                      }
                      receive_text(line);
                    },
                    queue, std::move(theirs)};
    process.start();
    EXPECT_EQ(receive_text(mine), "small" + std::to_string(deliveries));
    EXPECT_EQ(receive_text(mine), "xxxxx" + std::to_string(deliveries));
    EXPECT_FALSE(queue.join(0s));
    process.kill();
    process.join();
  }
  const auto small = queue.get_delivery(20s);
  EXPECT_EQ(small.item, "small");
  EXPECT_EQ(small.deliveries, 4U);
  EXPECT_TRUE(queue.get_delivery(20s).item == large);
  EXPECT_EQ(queue.get_delivery(20s).deliveries, 1U);
  for (int i = 0; i < 3; ++i) {
    EXPECT_FALSE(queue.join(0s));
    queue.task_done();
  }
  EXPECT_TRUE(queue.join(0s));
  EXPECT_THROW(queue.task_done(), ValueError);
}

// Who waits for an item already hears of the death.
TEST(Queue, LeasesWakeWhoWaits) {
  const JoinableQueue<int> queue{0, {.lease = true}};
  auto [mine, theirs] = make_line();
  Process process{[](const JoinableQueue<int>& in, const FileDescriptor& line) {
                    send_text(line, std::to_string(in.get()));
                    receive_text(line);
                  },
                  queue, std::move(theirs)};
  process.start();
  queue.put(7);
  EXPECT_EQ(receive_text(mine), "7");
  std::jthread waiter{[&] {
    EXPECT_EQ(queue.get(true, 20s), 7);
    queue.task_done();
  }};
  process.kill();
  EXPECT_TRUE(queue.join(20s));
  process.join();
}

void put_for_ever(const Queue<int>& queue) {
  for (int i = 0;; ++i) queue.put(i);
}
void get_for_ever(const Queue<int>& queue) {
  for (;;) queue.get();
}

// Killed at random, while it puts or gets: the others go on, and what comes out is what went in, once and in order.
class QueueKills : public testing::TestWithParam<bool> {};

TEST_P(QueueKills, HoldNobodyUp) {
  const bool kill_producers = GetParam();
  const Queue<int> queue{64};
  for (int round = 0; round < 40; ++round) {
    Process victim = kill_producers ? Process{put_for_ever, queue} : Process{get_for_ever, queue};
    victim.start();
    int expected = 0;
    const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds{500 + 100 * round};
    for (bool killed = false;;) {
      if (!killed && std::chrono::steady_clock::now() > end) {
        victim.kill();
        killed = true;
        victim.join();
      }
      if (kill_producers) {
        const auto item = queue.try_get();
        if (!item && killed) break;
        if (item) {
          ASSERT_EQ(*item, expected++);
        }
      } else {
        if (killed) break;
        queue.put(expected++, true, 20s);
      }
    }
    while (queue.try_get()) {
    }
    EXPECT_EQ(queue.qsize(), 0U);
    queue.put(1, true, 20s);
    EXPECT_EQ(queue.get(true, 20s), 1);
  }
}

INSTANTIATE_TEST_SUITE_P(P, QueueKills, testing::Bool(),
                         [](const auto& who) { return who.param ? "OfProducers" : "OfConsumers"; });

}  // namespace
