// What lies in a queue, or is shared, when processes end and descriptors run out: nothing is lost.

#include <troupe/error.hpp>
#include <troupe/pool.hpp>
#include <troupe/process.hpp>
#include <troupe/queue.hpp>
#include <troupe/runtime.hpp>
#include <troupe/shared_array.hpp>
#include <troupe/shared_memory.hpp>
#include <troupe/store.hpp>

#include "support/forked.hpp"
#include "support/limits.hpp"
#include "support/nursery.hpp"
#include "support/processes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <iostream>
#include <sched.h>
#include <string>
#include <sys/resource.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using namespace troupe;
using namespace troupe::test;
using testing::HasSubstr;

/// Larger than what lies in the queue itself.
constexpr std::size_t large_bytes = 100'000;

void put_large(const Queue<std::string>& queue) { queue.put(std::string(large_bytes, 'x')); }

TEST(KeptItems, LargeOnesOutliveTheirProducers) {
  const Queue<std::string> queue;
  Process producer{put_large, queue};
  producer.start();
  producer.join();
  push_out_what_is_loose();
  EXPECT_EQ(queue.get().size(), large_bytes);
}

TEST(KeptItems, ManyDescriptorsLieInOneQueue) {
  const Queue<FileDescriptor> queue;
  const auto [mine, theirs] = make_line();
  const int count = static_cast<int>(store::max_loose) + 100;
  for (int i = 0; i < count; ++i) queue.put(copy_of(theirs));
  for (int i = 0; i < count; ++i) EXPECT_TRUE(queue.get());
}

// At the limit of descriptors there is an error, and the item is still there.
TEST(KeptItems, AnItemStaysThatCannotBeReached) {
  if (sanitized) GTEST_SKIP() << "a sanitizer needs descriptors to look at an object that is thrown";
  const Queue<std::string> queue;
  Process producer{put_large, queue};
  producer.start();
  producer.join();
  {
    const LimitedFiles limit{first_free_descriptor()};
    EXPECT_THROW(queue.get(), OSError);
  }
  EXPECT_EQ(queue.qsize(), 1U);
  EXPECT_EQ(queue.get().size(), large_bytes);
}

SharedArray<int> make_large(int number) {
  const SharedArray<int> numbers{25'000'000};
  numbers(0) = number;
  return numbers;
}

// Results in shared memory wait for who asks for them, however much that is, and though their makers have retired.
TEST(KeptItems, LargeResultsOutliveTheirWorkers) {
  Pool pool{{.workers = 1, .maxtasksperchild = 1}};
  std::vector<AsyncResult<SharedArray<int>>> results;
  for (int i = 0; i < 5; ++i) results.push_back(pool.apply_async(make_large, i));
  for (const auto& result : results) EXPECT_TRUE(result.wait(patience));
  for (int i = 0; i < 5; ++i) EXPECT_EQ(results[static_cast<std::size_t>(i)].get()(0), i);
  pool.terminate();
}

// --- A nursery that may have few files open ---

void exhaust(const FileDescriptor& line) {
  const int number = line.get();
  receive_text(line);
  Ticket lost = 0;
  for (int i = 0; i < 200; ++i) {
    lost = new_ticket();
    store::hold(lost, {&number, 1});
  }
  try {
    store::take_hold(lost);
    send_text(line, "has it");
  } catch (const OSError& error) {
    send_text(line, std::to_string(error.errno_value()) + " " + error.what());
  }
  receive_text(line);
}

void make_name(const FileDescriptor& line, const std::string& name, bool is_known_before) {
  if (is_known_before) {
    EXPECT_THROW(store::withdraw(1), OSError);
  }
  send_text(line, "ready");
  receive_text(line);
  try {
    const auto block = SharedMemory::create(1000, name);
    send_text(line, "made");
    receive_text(line);
  } catch (const OSError& error) {
    send_text(line, error.what());
  }
}

[[maybe_unused]] const bool few_files = add_role("few files", [](int argc, char** argv, const std::string&) {
  const rlimit low{100, 100};
  if (::setrlimit(RLIMIT_NOFILE, &low) != 0) return 77;
  const Runtime runtime{argc, argv};
  const std::string name = "troupe-test-" + std::to_string(::getpid());
  auto [greedy, greedy_end] = make_line();
  auto [modest, modest_end] = make_line();
  auto [late, late_end] = make_line();
  Process first{exhaust, std::move(greedy_end)};
  Process second{make_name, std::move(modest_end), name, true};
  Process third{make_name, std::move(late_end), name + "-late", false};
  first.start();
  second.start();
  third.start();
  receive_text(modest);
  receive_text(late);
  for (const FileDescriptor* line : {&greedy, &modest, &late}) {
    send_text(*line, "go");
    std::cout << receive_text(*line) << std::endl;
  }
  send_text(greedy, "end");
  first.join();
  third.join();
  Process fourth{[] {}};  // it has what it needs again
  fourth.start();
  fourth.join();
  const bool stayed = std::filesystem::exists("/dev/shm/" + name);
  second.kill();
  second.join();
  const auto end = std::chrono::steady_clock::now() + patience;
  while (std::filesystem::exists("/dev/shm/" + name) && std::chrono::steady_clock::now() < end) ::sched_yield();
  std::cout << (stayed ? "stayed" : "was removed") << ", " << std::filesystem::exists("/dev/shm/" + name) << std::endl;
  return fourth.exitcode().value_or(-1);
});

// Who asks for what the nursery could not take is told so, and so is who comes too late to be heard; a block stays
// whose user it could not watch.
TEST(KeptItems, SayWhenTheNurseryHasTooManyFilesOpen) {
  Program program{"few files"};
  EXPECT_THAT(program.read_line(), HasSubstr(std::to_string(EMFILE) + " "));
  EXPECT_EQ(program.read_line(), "made");
  EXPECT_THAT(program.read_line(), HasSubstr("connecting to the nursery, which has too many files open"));
  EXPECT_EQ(program.read_line(), "stayed, 0");
  EXPECT_EQ(program.wait(), 0) << program.errors();
}

}  // namespace
