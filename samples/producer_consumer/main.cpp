// Shows queues between processes: full, closed, one whose producers wait until all is done, one with leases.
// Run: producer_consumer
// Prints what goes in and what comes out. Indented lines come from other processes, so their order is free.

#include <troupe/error.hpp>
#include <troupe/process.hpp>
#include <troupe/queue.hpp>
#include <troupe/runtime.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;

/// One write per line, so that lines of several processes do not mix.
void say(const std::string& text) { std::cout << text + '\n' << std::flush; }

void fast_producer(const troupe::Queue<int>& queue) {
  for (int i = 1; i <= 4; ++i) queue.put(i);
}

// The producer would be done at once, but there is room for one item only.
void slow_consumer() {
  const troupe::Queue<int> queue{1};
  troupe::Process producer{fast_producer, queue};
  producer.start();
  std::size_t most = 0;
  int sum = 0;
  for (int i = 0; i < 4; ++i) {
    std::this_thread::sleep_for(50ms);
    most = std::max(most, queue.qsize());
    sum += queue.get();
  }
  producer.join();
  say("four items, sum " + std::to_string(sum) + ", never more than " + std::to_string(most) + " in the queue");
}

void full_and_closed() {
  const troupe::Queue<int> queue{5};
  int put = 0;
  try {
    for (;; ++put) queue.put(put, false);
  } catch (const troupe::Full& error) {
    say("after " + std::to_string(put) + " items: " + error.what());
  }
  queue.close();
  try {
    queue.put(6);
  } catch (const troupe::ValueError& error) {
    say(std::string("after close: ") + error.what());
  }
}

using Dishes = troupe::JoinableQueue<std::string>;

// Returns only when somebody has eaten all that it has cooked.
void cook(const Dishes& dishes, const std::string& dish) {
  for (int i = 1; i <= 3; ++i) dishes.put(dish + " " + std::to_string(i));
  dishes.join();
}

void eat(const Dishes& dishes) {
  for (;;) {
    const std::string dish = dishes.get();
    say("  eaten: " + dish);
    dishes.task_done();
  }
}

// Three producers, two consumers. The consumers never end: they are daemons.
void restaurant() {
  const Dishes dishes;
  std::vector<troupe::Process> consumers;
  for (int i = 0; i < 2; ++i) consumers.emplace_back(troupe::ProcessOptions{.daemon = true}, eat, dishes).start();
  std::vector<troupe::Process> cooks;
  for (const char* dish : {"soup", "rice", "tea"}) cooks.emplace_back(cook, dishes, std::string(dish)).start();
  for (const auto& one : cooks) one.join();
  say("all cooks are done, dishes left: " + std::to_string(dishes.qsize()));
}

using Jobs = troupe::JoinableQueue<int>;

void die_of_the_third(const Jobs& jobs) {
  for (;;) {
    if (jobs.get() == 3) std::raise(SIGKILL);
    jobs.task_done();
  }
}

// With leases, what a dead consumer had taken and not done comes back.
void nothing_is_lost() {
  const Jobs jobs{0, {.lease = true}};
  for (int i = 1; i <= 4; ++i) jobs.put(i);
  troupe::Process consumer{die_of_the_third, jobs};
  consumer.start();
  consumer.join();
  for (int i = 0; i < 2; ++i) {
    const auto [job, deliveries] = jobs.get_delivery(10s);
    say("job " + std::to_string(job) + ", delivery " + std::to_string(deliveries));
    jobs.task_done();
  }
  jobs.join();
}

}  // namespace

int main(int argc, char** argv) {
  const troupe::Runtime runtime{argc, argv};
  try {
    slow_consumer();
    full_and_closed();
    restaurant();
    nothing_is_lost();
  } catch (const std::exception& error) {
    std::cerr << "producer_consumer: " << error.what() << '\n';
    return 1;
  }
}
