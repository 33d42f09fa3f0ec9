// The cases of CPython's suite for queues, between processes of every start method and between threads.

#include <troupe/dummy.hpp>
#include <troupe/error.hpp>
#include <troupe/event.hpp>
#include <troupe/process.hpp>
#include <troupe/queue.hpp>

#include "support/sync_flavours.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <dlfcn.h>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe;
using namespace troupe::test;
using std::chrono::steady_clock;
using testing::HasSubstr;

constexpr auto timeout1 = 100ms;
constexpr auto tolerance = 100ms;

class TestQueue : public EveryMethod {};
class TestSimpleQueue : public EveryMethod {};

/// Runs `code`, which must throw E; how long that took.
template <class E, class Code>
steady_clock::duration time_of_error(Code code) {
  const auto before = steady_clock::now();
  EXPECT_THROW(code(), E);
  return steady_clock::now() - before;
}

template <class F>
void take_six(const typename F::template Queue<int>& queue, const typename F::Event& may_start,
              const typename F::Event& may_continue) {
  may_start.wait();
  for (int i = 0; i < 6; ++i) queue.get();
  may_continue.set();
}

template <class F>
void test_put() {
  const typename F::template Queue<int> queue{6};
  const typename F::Event may_start;
  const typename F::Event may_continue;
  auto process = start<F>(take_six<F>, queue, may_start, may_continue);
  EXPECT_TRUE(queue.empty());
  EXPECT_FALSE(queue.full());
  queue.put(1);
  queue.put(2, true);
  queue.put(3, true, 30s);
  queue.put(4, false);
  queue.put(5, false, 30s);
  queue.put_nowait(6);
  EXPECT_FALSE(queue.empty());
  EXPECT_TRUE(queue.full());
  EXPECT_LT(time_of_error<Full>([&] { queue.put(7, false); }), timeout1);
  EXPECT_LT(time_of_error<Full>([&] { queue.put(7, false, 30s); }), timeout1);
  EXPECT_LT(time_of_error<Full>([&] { queue.put_nowait(7); }), timeout1);
  EXPECT_GE(time_of_error<Full>([&] { queue.put(7, true, timeout1); }), timeout1);
  may_start.set();
  EXPECT_TRUE(may_continue.wait(30s));
  EXPECT_TRUE(queue.empty());
  EXPECT_FALSE(queue.full());
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
}
TROUPE_TEST_BOTH_FLAVOURS(TestQueue, test_put)

template <class F>
void put_four(const typename F::template Queue<int>& queue, const typename F::Event& may_start,
              const typename F::Event& may_continue) {
  may_start.wait();
  for (int i = 2; i < 6; ++i) queue.put(i);
  may_continue.set();
}

template <class F>
void test_get() {
  const typename F::template Queue<int> queue;
  const typename F::Event may_start;
  const typename F::Event may_continue;
  auto process = start<F>(put_four<F>, queue, may_start, may_continue);
  EXPECT_TRUE(queue.empty());
  may_start.set();
  EXPECT_TRUE(may_continue.wait(30s));
  EXPECT_FALSE(queue.empty());
  EXPECT_EQ(queue.get(true), 2);
  EXPECT_EQ(queue.get(true, 30s), 3);
  EXPECT_EQ(queue.get(false), 4);
  EXPECT_EQ(queue.get_nowait(), 5);
  EXPECT_TRUE(queue.empty());
  EXPECT_LT(time_of_error<Empty>([&] { queue.get(false); }), timeout1);
  EXPECT_LT(time_of_error<Empty>([&] { queue.get_nowait(); }), timeout1);
  EXPECT_LT(time_of_error<Empty>([&] { queue.get(false, 30s); }), timeout1);
  EXPECT_GE(time_of_error<Empty>([&] { queue.get(true, timeout1); }), timeout1);
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
}
TROUPE_TEST_BOTH_FLAVOURS(TestQueue, test_get)

template <class F>
void test_qsize() {
  const typename F::template Queue<int> queue;
  EXPECT_EQ(queue.qsize(), 0U);
  queue.put(1);
  EXPECT_EQ(queue.qsize(), 1U);
  queue.put(5);
  EXPECT_EQ(queue.qsize(), 2U);
  queue.get();
  EXPECT_EQ(queue.qsize(), 1U);
  queue.get();
  EXPECT_EQ(queue.qsize(), 0U);
}
TROUPE_TEST_BOTH_FLAVOURS(TestQueue, test_qsize)

template <class F>
void work(const typename F::template JoinableQueue<std::optional<int>>& queue,
          const typename F::template Queue<int>& done) {
  while (const std::optional<int> item = queue.get()) {
    done.put(*item);
    queue.task_done();
  }
  queue.task_done();
}

template <class F>
void test_task_done() {
  const typename F::template JoinableQueue<std::optional<int>> queue;
  const typename F::template Queue<int> done;
  std::vector<typename F::Process> workers;
  for (int i = 0; i < 4; ++i) workers.push_back(start<F>(work<F>, queue, done));
  for (int i = 0; i < 10; ++i) queue.put(i);
  queue.join();
  EXPECT_EQ(done.qsize(), 10U);
  for (int i = 0; i < 4; ++i) queue.put(std::nullopt);
  expect_all_end(workers);
  queue.join();
  EXPECT_THROW(queue.task_done(), ValueError);
}
TROUPE_TEST_BOTH_FLAVOURS(TestQueue, test_task_done)

// Before main: no thread and no lock of a loader is needed. (adapted)
const bool used_before_main = [] {
  try {
    const Queue<int> queue;
    queue.put(1);
    return false;
  } catch (const AssertionError& error) {
    return std::string(error.what()).find("Runtime") != std::string::npos;
  }
}();

/// Those of threads need none.
const bool threads_use_it_before_main = [] {
  const troupe::dummy::Queue<int> queue;
  queue.put(1);
  return queue.get(true, 3s) == 1;
}();

std::optional<int> got_while_loading;
std::optional<int> thread_got_while_loading;

}  // namespace

/// Called while the loader has its lock.
extern "C" void troupe_test_while_loading() {
  const Queue<int> queue;
  queue.put(7);
  got_while_loading = queue.get(true, 3s);
  const troupe::dummy::Queue<int> queue_of_threads;
  queue_of_threads.put(8);
  thread_got_while_loading = queue_of_threads.get(true, 3s);
}

namespace {

// Loads the library that uses queues while that happens, and closes it.
void load_hook() {
  void* library = ::dlopen(LOAD_HOOK, RTLD_NOW);
  ASSERT_NE(library, nullptr) << ::dlerror();
  ::dlclose(library);
}

// There is no Runtime before main, and that is said at once instead of waiting for ever. While a library is loaded a
// queue works.
TEST_P(TestQueue, test_no_import_lock_contention) {
  EXPECT_TRUE(used_before_main);
  got_while_loading.reset();
  load_hook();
  EXPECT_EQ(got_while_loading, 7);
}

TEST(TestQueueOfThreads, test_no_import_lock_contention) {
  EXPECT_TRUE(threads_use_it_before_main);
  thread_got_while_loading.reset();
  load_hook();
  EXPECT_EQ(thread_got_while_loading, 8);
}

template <class F>
void test_timeout() {
  const typename F::template Queue<int> queue;
  EXPECT_GE(time_of_error<Empty>([&] { queue.get(true, 200ms); }), 200ms - tolerance);
}
TROUPE_TEST_BOTH_FLAVOURS(TestQueue, test_timeout)

struct Unencodable {
  int number = 0;
};

}  // namespace

template <>
struct troupe::Codec<Unencodable> {
  static void encode(const Unencodable& item, troupe::wire::Value::Builder out) {
    if (item.number == 0) throw std::runtime_error("cannot be encoded");
    out.setInt64(item.number);
  }
  static Unencodable decode(troupe::wire::Value::Reader in) { return {troupe::decode<int>(in)}; }
};

namespace {

class SafeQueue : public Queue<Unencodable> {
 public:
  mutable std::vector<std::string> errors;

 protected:
  void on_queue_feeder_error(const std::exception_ptr& error, const Unencodable& item) const override {
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& thrown) {
      errors.push_back(std::string(thrown.what()) + " " + std::to_string(item.number));
    }
  }
};

TEST_P(TestQueue, test_queue_feeder_on_queue_feeder_error) {
  const SafeQueue queue;
  queue.put({0});
  queue.put({5});
  EXPECT_EQ(queue.get(true, 30s).number, 5);
  EXPECT_EQ(queue.errors, std::vector<std::string>{"cannot be encoded 0"});
  EXPECT_TRUE(queue.empty());
  const Queue<Unencodable> plain;
  EXPECT_THROW(plain.put({0}), std::runtime_error);
  plain.put({6});
  EXPECT_EQ(plain.get(true, 30s).number, 6);
}

template <class AnyQueue>
void expect_closed(const AnyQueue& queue) {
  queue.close();
  for (const auto& use : std::vector<std::function<void()>>{[&] { queue.put(1); }, [&] { queue.get(); }}) {
    try {
      use();
      FAIL();
    } catch (const ValueError& error) {
      EXPECT_THAT(error.what(), HasSubstr("is closed"));
    }
  }
}

template <class F>
void test_closed_queue_put_get_exceptions() {
  expect_closed(typename F::template Queue<int>{});
  expect_closed(typename F::template JoinableQueue<int>{});
}
TROUPE_TEST_BOTH_FLAVOURS(TestQueue, test_closed_queue_put_get_exceptions)

// Rule: a get spends its time once, also when another one was stopped in the middle of a get.
TEST_P(TestQueue, rule_one_budget_for_get) {
  const Queue<int> queue;
  auto [mine, theirs] = make_line();
  const auto other = start<Processes>(
      [](const Queue<int>& its, const FileDescriptor& line) {
        send_text(line, "gets");
        send_text(line, std::to_string(its.get()));
      },
      queue, std::move(theirs));
  EXPECT_EQ(receive_text(mine), "gets");
  ASSERT_TRUE(wait_for_state(*other.pid(), 'S'));
  ::kill(*other.pid(), SIGSTOP);
  ASSERT_TRUE(wait_for_state(*other.pid(), 'T'));
  const auto elapsed = time_of_error<Empty>([&] { queue.get(true, 400ms); });
  EXPECT_GE(elapsed, 400ms - tolerance);
  EXPECT_LT(elapsed, 800ms);
  ::kill(*other.pid(), SIGCONT);
  queue.put(7);
  EXPECT_EQ(receive_text(mine), "7");
  EXPECT_TRUE(other.join(patience));
}

// Rule: what the codec throws reaches who puts, and nothing is in the queue.
TEST_P(TestSimpleQueue, rule_codec_errors_reach_the_caller) {
  const SimpleQueue<Unencodable> queue;
  EXPECT_THROW(queue.put({0}), std::runtime_error);
  EXPECT_TRUE(queue.empty());
  queue.put({6});
  EXPECT_EQ(queue.get().number, 6);
}

void put_empty_twice(const SimpleQueue<bool>& queue, const Event& may_start, const Event& may_continue) {
  may_start.wait();
  queue.put(queue.empty());
  queue.put(queue.empty());
  may_continue.set();
}

TEST_P(TestSimpleQueue, test_empty) {
  const SimpleQueue<bool> queue;
  const Event may_start;
  const Event may_continue;
  Process process{put_empty_twice, queue, may_start, may_continue};
  process.start();
  EXPECT_TRUE(queue.empty());
  may_start.set();
  EXPECT_TRUE(may_continue.wait(30s));
  EXPECT_FALSE(queue.empty());
  EXPECT_TRUE(queue.get());
  EXPECT_FALSE(queue.get());
  EXPECT_TRUE(queue.empty());
  process.join();
}

TEST_P(TestSimpleQueue, test_close) {
  const SimpleQueue<int> queue;
  queue.close();
  queue.close();
}

TEST_P(TestSimpleQueue, test_closed) {
  const SimpleQueue<int> queue;
  queue.close();
  EXPECT_TRUE(queue.closed());
  EXPECT_THROW(queue.put(1), OSError);
  EXPECT_THROW(queue.get(), OSError);
  EXPECT_THROW(static_cast<void>(queue.empty()), OSError);
}

// Waiting for items to be gone before the queue is closed is a misuse.
template <class F>
void rule_join_thread_before_close() {
  const typename F::template Queue<int> queue;
  EXPECT_THROW(queue.join_thread(), AssertionError);
  queue.cancel_join_thread();
  queue.close();
  EXPECT_NO_THROW(queue.join_thread());
}
TROUPE_TEST_BOTH_FLAVOURS(TestQueue, rule_join_thread_before_close)

template <class F>
void rule_capacity_zero_or_negative_is_unbounded() {
  for (const std::ptrdiff_t maxsize : {0, -1}) {
    const typename F::template Queue<int> queue{maxsize};
    for (int i = 0; i < 10'000; ++i) queue.put_nowait(i);
    EXPECT_FALSE(queue.full());
    for (int i = 0; i < 10'000; ++i) EXPECT_EQ(queue.get_nowait(), i);
  }
}
TROUPE_TEST_BOTH_FLAVOURS(TestQueue, rule_capacity_zero_or_negative_is_unbounded)

TROUPE_TEST_EVERY_METHOD(TestQueue);
TROUPE_TEST_EVERY_METHOD(TestSimpleQueue);

}  // namespace
