// Queues whose users are killed, stopped and terminated at random moments: nothing is lost, nothing comes twice unless a
// lease says so, what each producer has put comes in its order, and nobody hangs.

#include <troupe/process.hpp>
#include <troupe/queue.hpp>

#include "support/forked.hpp"
#include "support/processes.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <fstream>
#include <map>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe;
using namespace troupe::test;

struct Item {
  int producer = 0;
  int number = 0;
  std::string padding{};  // of ever other sizes, now and then larger than any buffer
};
struct Seen {
  int producer = 0;
  int number = 0;
  unsigned deliveries = 0;
};

using In = JoinableQueue<Item>;
using Out = Queue<Seen>;

void produce(const In& queue, int producer) {
  std::minstd_rand random{static_cast<unsigned>(producer)};
  for (int number = 0;; ++number)
    queue.put({producer, number, std::string(number % 100 == 99 ? 20'000 : random() % 200, 'x')});
}

void consume(const In& in, const Out& out) {
  for (;;) {
    const auto [item, deliveries] = in.get_delivery();
    out.put({item.producer, item.number, deliveries});
    in.task_done();
  }
}

struct Fault {
  int signal;
  bool of_producers;
};

/// What came out, while it comes.
struct Record {
  std::map<int, std::map<int, int>> times;  // by producer and number: how often
  std::size_t num_again = 0;                // deliveries beyond the first

  void note(const Seen& seen) {
    ++times[seen.producer][seen.number];
    if (seen.deliveries > 1) ++num_again;
  }
  // Of every producer all numbers from 0 on, without a gap; twice only as often as something was delivered again.
  void check() const {
    std::size_t num_twice = 0;
    for (const auto& [producer, numbers] : times) {
      EXPECT_EQ(numbers.rbegin()->first, static_cast<int>(numbers.size()) - 1) << "producer " << producer;
      for (const auto& [number, count] : numbers) num_twice += static_cast<std::size_t>(count - 1);
    }
    EXPECT_LE(num_twice, num_again);
  }
};

class QueueFaults : public testing::TestWithParam<Fault> {};

TEST_P(QueueFaults, LoseNothingAndHoldNobodyUp) {
  const auto [signal, of_producers] = GetParam();
  const In in{32, {.lease = true}};
  const Out out;
  Record record;
  int next_producer = 0;
  std::vector<Process> producers;
  std::vector<Process> consumers;
  const auto add_producer = [&] { producers.emplace_back(produce, in, next_producer++).start(); };
  const auto add_consumer = [&] { consumers.emplace_back(consume, in, out).start(); };
  for (int i = 0; i < 2; ++i) {
    add_producer();
    add_consumer();
  }
  std::minstd_rand random{static_cast<unsigned>(signal)};
  const int num_faults = rounds(60);
  for (int i = 0; i < num_faults; ++i) {
    auto& victims = of_producers ? producers : consumers;
    const std::size_t victim = random() % victims.size();
    busy_pause(random() % 2'000'000);
    ::kill(*victims[victim].pid(), signal);
    if (signal == SIGSTOP) {
      busy_pause(random() % 1'000'000);
      ::kill(*victims[victim].pid(), SIGCONT);
    } else {
      victims[victim].join();
      victims.erase(victims.begin() + static_cast<std::ptrdiff_t>(victim));
      of_producers ? add_producer() : add_consumer();
    }
    for (int taken = 0; taken < 500; ++taken) record.note(out.get(true, 20s));  // so it goes on
  }
  for (const Process& producer : producers) {
    producer.kill();
    producer.join();
  }
  ASSERT_TRUE(in.join(20s));
  while (const auto seen = out.try_get()) record.note(*seen);
  for (const Process& consumer : consumers) consumer.kill();
  record.check();
}

/// How many memfds of that name this process has mapped.
std::size_t count_mapped(const std::string& name) {
  std::set<std::string> inodes;
  std::ifstream maps{"/proc/self/maps"};
  for (std::string line; std::getline(maps, line);) {
    std::istringstream fields{line};
    std::string range, access, offset, device, inode, path;
    if (fields >> range >> access >> offset >> device >> inode >> path && path == "/memfd:" + name)
      inodes.insert(inode);
  }
  return inodes.size();
}

// Each producer has put large items into memory of its own, which takes 64 GiB of address space here.
TEST(Queue, ForgetsTheMemoryOfProducersThatHaveEnded) {
  const Queue<std::string> queue;
  const JoinableQueue<std::string> leasing{0, {.lease = true}};
  for (int i = 0; i < 50; ++i) {
    Process producer{[](const Queue<std::string>& out, const JoinableQueue<std::string>& leased) {
                       for (int item = 0; item < 2; ++item) out.put(std::string(20'000, 'x'));
                       leased.put(std::string(20'000, 'y'));
                     },
                     queue, leasing};
    producer.start();
    producer.join();
    for (int item = 0; item < 2; ++item) EXPECT_EQ(queue.get(true, 20s), std::string(20'000, 'x'));
    EXPECT_EQ(leasing.get(true, 20s), std::string(20'000, 'y'));
    leasing.task_done();
  }
  EXPECT_LT(count_mapped("troupe-messages"), 20U);
  EXPECT_TRUE(leasing.join(20s));
}

INSTANTIATE_TEST_SUITE_P(P, QueueFaults,
                         testing::Values(Fault{SIGKILL, true}, Fault{SIGKILL, false}, Fault{SIGTERM, true},
                                         Fault{SIGTERM, false}, Fault{SIGSTOP, true}, Fault{SIGSTOP, false}),
                         [](const auto& fault) {
                           const int signal = fault.param.signal;
                           const std::string name = signal == SIGKILL ? "Killed" : signal == SIGTERM ? "Terminated" : "Stopped";
                           return name + (fault.param.of_producers ? "Producers" : "Consumers");
                         });

}  // namespace
