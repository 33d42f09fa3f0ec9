// Queues whose users are killed, stopped and terminated at random moments: nothing is lost but, without leases, what a
// killed one had taken; nothing comes twice unless a lease says so; each consumer gets what a producer has put in its
// order; nobody hangs.

#include <troupe/process.hpp>
#include <troupe/queue.hpp>

#include "support/faults.hpp"
#include "support/forked.hpp"
#include "support/one_piece.hpp"
#include "support/processes.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <map>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <type_traits>
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
  int consumer = 0;
  int producer = 0;
  int number = 0;
  unsigned deliveries = 0;
};
constexpr int end_of_items = -1;  // as producer

using Leasing = JoinableQueue<Item>;
using Plain = Queue<Item>;
using Simple = SimpleQueue<Item>;
using Out = Queue<Seen>;

/// How many items are on their way, about: keeps a queue without a bound small.
struct Flow {
  std::atomic<long> put;
  std::atomic<long> taken;
};
Flow& flow = make_shared_memory<Flow>();

template <class In>
void produce(const In& queue, int producer) {
  std::minstd_rand random{static_cast<unsigned>(producer)};
  for (int number = 0;; ++number) {
    while (flow.put - flow.taken > 20'000) std::this_thread::yield();
    queue.put({producer, number, std::string(number % 100 == 99 ? 20'000 : random() % 200, 'x')});
    ++flow.put;
  }
}

template <class In>
void consume(const In& in, const Out& out, int consumer) {
  for (;;) {
    Delivery<Item> delivery;
    if constexpr (std::is_same_v<In, Leasing>)
      delivery = in.get_delivery();
    else
      delivery.item = in.get();
    const auto& [item, deliveries] = delivery;
    out.put({consumer, item.producer, item.number, deliveries});
    if (item.producer == end_of_items) return;
    if constexpr (std::is_same_v<In, Leasing>) in.task_done();
  }
}

struct Fault {
  int signal;
  bool of_producers;
};

/// What came out, while it comes.
struct Record {
  std::map<int, std::map<int, int>> times;  // by producer and number: how often
  std::map<std::pair<int, int>, int> last;  // by consumer and producer: the number delivered last
  std::size_t num_again = 0;                // deliveries beyond the first

  void note(const Seen& seen) {
    ++flow.taken;
    ++times[seen.producer][seen.number];
    if (seen.deliveries > 1) {
      ++num_again;
      return;
    }
    const auto [before, is_first] = last.try_emplace({seen.consumer, seen.producer}, seen.number);
    if (is_first) return;
    EXPECT_GT(seen.number, before->second) << "producer " << seen.producer << ", consumer " << seen.consumer;
    before->second = seen.number;
  }
  // Of every producer all numbers from 0 on, but for `max_missing`; twice only as often as something was delivered
  // again.
  void check(std::size_t max_missing) const {
    std::size_t num_missing = 0;
    std::size_t num_twice = 0;
    for (const auto& [producer, numbers] : times) {
      num_missing += static_cast<std::size_t>(numbers.rbegin()->first) + 1 - numbers.size();
      for (const auto& [number, count] : numbers) num_twice += static_cast<std::size_t>(count - 1);
    }
    EXPECT_LE(num_missing, max_missing);
    EXPECT_LE(num_twice, num_again);
  }
};

/// Has all items taken out of the queue. Who is told of its end forwards that and ends.
template <class In>
void drain(const In& in, const Out& out, const std::vector<Process>& consumers, Record& record) {
  if constexpr (std::is_same_v<In, Leasing>) {
    ASSERT_TRUE(in.join(20s));
    while (const auto seen = out.try_get()) record.note(*seen);
    for (const Process& consumer : consumers) consumer.kill();
  } else {
    for (std::size_t i = 0; i < consumers.size(); ++i) in.put({end_of_items, 0});
    for (std::size_t ends = 0; ends < consumers.size();) {
      const Seen seen = out.get(true, 20s);
      if (seen.producer == end_of_items)
        ++ends;
      else
        record.note(seen);
    }
    for (const Process& consumer : consumers) EXPECT_TRUE(consumer.join(20s));
  }
}

template <class In>
void lose_nothing(const In& in, Fault fault) {
  flow.put = 0;
  flow.taken = 0;
  const auto [signal, of_producers] = fault;
  const Out out;
  Record record;
  int next_producer = 0;
  int next_consumer = 0;
  std::vector<Process> producers;
  std::vector<Process> consumers;
  const ProcessOptions daemon{.daemon = true};
  const auto add_producer = [&] { producers.emplace_back(daemon, produce<In>, in, next_producer++).start(); };
  const auto add_consumer = [&] { consumers.emplace_back(daemon, consume<In>, in, out, next_consumer++).start(); };
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
  drain(in, out, consumers, record);
  // What a consumer had taken dies with it, unless a lease has it.
  const bool may_miss = !of_producers && signal != SIGSTOP && !std::is_same_v<In, Leasing>;
  record.check(may_miss ? static_cast<std::size_t>(num_faults) : 0);
}

/// How many memfds of that name this process has mapped.
std::size_t count_mapped(const std::string& name) {
  std::set<std::string> inodes;
  for (const auto& line : mappings_of(::getpid())) {
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

class QueueFaults : public testing::TestWithParam<Fault> {};

TEST_P(QueueFaults, LoseNothingWithLeases) { lose_nothing(Leasing{32, {.lease = true}}, GetParam()); }
TEST_P(QueueFaults, LoseNothingButWhatWasTaken) { lose_nothing(Plain{32}, GetParam()); }
TEST_P(QueueFaults, LoseNothingOfASimpleQueue) { lose_nothing(Simple{}, GetParam()); }

INSTANTIATE_TEST_SUITE_P(P, QueueFaults,
                         testing::Values(Fault{SIGKILL, true}, Fault{SIGKILL, false}, Fault{SIGTERM, true},
                                         Fault{SIGTERM, false}, Fault{SIGSTOP, true}, Fault{SIGSTOP, false}),
                         [](const auto& fault) {
                           const int signal = fault.param.signal;
                           const std::string name = signal == SIGKILL   ? "Killed"
                                                    : signal == SIGTERM ? "Terminated"
                                                                        : "Stopped";
                           return name + (fault.param.of_producers ? "Producers" : "Consumers");
                         });

}  // namespace
