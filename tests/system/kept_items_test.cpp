// What lies in a queue, or is shared, when processes end and descriptors run out: nothing is lost, and what nobody can
// ask for any more takes no memory.

#include <troupe/error.hpp>
#include <troupe/lock.hpp>
#include <troupe/pipe.hpp>
#include <troupe/pool.hpp>
#include <troupe/process.hpp>
#include <troupe/queue.hpp>
#include <troupe/runtime.hpp>
#include <troupe/shared_array.hpp>
#include <troupe/shared_block.hpp>
#include <troupe/shared_memory.hpp>
#include <troupe/store.hpp>
#include <troupe/sync_slab.hpp>

#include "support/forked.hpp"
#include "support/processes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <sched.h>
#include <string>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using namespace troupe;

bool is_stopped_by_parcels = false;

/// Something that can stop the process that takes it before it has it.
struct Parcel {
  SharedBlock block;
};

}  // namespace

template <>
struct troupe::Codec<Parcel> {
  static void encode(const Parcel& parcel, wire::Value::Builder out) { troupe::encode(parcel.block, out); }
  static Parcel decode(wire::Value::Reader in) {
    if (is_stopped_by_parcels) ::raise(SIGSTOP);
    return {troupe::decode<SharedBlock>(in)};
  }
};

namespace {

using namespace troupe::test;
using namespace std::chrono_literals;
using testing::HasSubstr;

/// Larger than what lies in the queue itself.
constexpr std::size_t large_bytes = 100'000;

void put_large(const Queue<std::string>& queue) { queue.put(std::string(large_bytes, 'x')); }

// So much is left in the store by others that it forgets what is oldest.
void push_out_what_is_loose() {
  const auto [mine, theirs] = make_line();
  const int number = mine.get();
  for (std::size_t i = 0; i < store::max_loose; ++i) store::deposit({&number, 1});
}

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
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  const int first_free = ::dup(STDERR_FILENO);
  ::close(first_free);
  const rlimit low{static_cast<rlim_t>(first_free), before.rlim_max};
  ::setrlimit(RLIMIT_NOFILE, &low);
  EXPECT_THROW(queue.get(), OSError);
  ::setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_EQ(queue.qsize(), 1U);
  EXPECT_EQ(queue.get().size(), large_bytes);
}

/// The process's descriptors of what has that in its name.
std::vector<std::filesystem::path> descriptors_of(pid_t pid, const std::string& name) {
  std::vector<std::filesystem::path> found;
  for (const auto& entry : std::filesystem::directory_iterator{"/proc/" + std::to_string(pid) + "/fd"}) {
    std::error_code gone;
    if (std::filesystem::read_symlink(entry, gone).string().find(name) != std::string::npos) found.push_back(entry);
  }
  return found;
}

/// What the process has open of memory that was made under that name, in bytes.
std::uint64_t memory_kept_by(pid_t pid, const std::string& name) {
  std::uint64_t bytes = 0;
  for (const auto& path : descriptors_of(pid, name)) {
    struct stat status{};
    if (::stat(path.c_str(), &status) == 0) bytes += static_cast<std::uint64_t>(status.st_blocks) * 512;
  }
  return bytes;
}

void make_and_wait(const FileDescriptor& line) {
  const SharedBlock block{8 << 20};
  std::fill_n(block.data(), block.size_bytes(), std::byte{1});
  send_text(line, std::to_string(::getppid()));
  receive_text(line);
}

// The memory of a killed maker goes with it.
TEST(KeptItems, MemoryThatNobodyCanAskForGoes) {
  pid_t nursery = 0;
  for (int i = 0; i < 3; ++i) {
    auto [mine, theirs] = make_line();
    Process maker{make_and_wait, std::move(theirs)};
    maker.start();
    nursery = std::stoi(receive_text(mine));
    EXPECT_GE(memory_kept_by(nursery, "troupe-heap"), 8U << 20U);
    maker.kill();
    maker.join();
  }
  EXPECT_LT(memory_kept_by(nursery, "troupe-heap"), 8U << 20U);
}

void offer_and_wait(const Queue<SharedBlock>& full, const FileDescriptor& line) {
  const SharedBlock block{8 << 20};
  std::fill_n(block.data(), block.size_bytes(), std::byte{1});
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(full.try_put(block));
  send_text(line, std::to_string(::getppid()));
  receive_text(line);
}

// What does not get into a queue is not kept for those who ask for the items that are in.
TEST(KeptItems, MemoryThatDidNotGetInGoes) {
  const Queue<SharedBlock> queue{1};
  queue.put(SharedBlock{100});
  auto [mine, theirs] = make_line();
  Process offerer{offer_and_wait, queue, std::move(theirs)};
  offerer.start();
  const pid_t nursery = std::stoi(receive_text(mine));
  EXPECT_GE(memory_kept_by(nursery, "troupe-heap"), 8U << 20U);
  offerer.kill();
  offerer.join();
  EXPECT_LT(memory_kept_by(nursery, "troupe-heap"), 8U << 20U);
}

template <class Queue>
void put_parcel(const Queue& queue, const FileDescriptor& line) {
  const SharedBlock block{8 << 20};
  std::fill_n(block.data(), block.size_bytes(), std::byte{1});
  queue.put(Parcel{block});
  send_text(line, std::to_string(::getppid()));
}

template <class Queue>
void be_stopped_by_parcel(const Queue& queue) {
  is_stopped_by_parcels = true;
  queue.get();
}

/// Puts a parcel into the queue, whose maker ends, and kills who is about to take it. Returns the nursery's pid.
template <class Queue>
pid_t lose_parcel(const Queue& queue) {
  auto [mine, theirs] = make_line();
  Process putter{put_parcel<Queue>, queue, std::move(theirs)};
  putter.start();
  const pid_t nursery = std::stoi(receive_text(mine));
  putter.join();
  Process getter{be_stopped_by_parcel<Queue>, queue};
  getter.start();
  EXPECT_TRUE(wait_for_state(getter.pid().value(), 'T'));
  queue.put(Parcel{SharedBlock{100}});  // nobody can have put one any more that is not counted
  queue.get();
  getter.kill();
  getter.join();
  return nursery;
}

// The nursery looks at a queue when a process lets go of it.
template <class Queue>
void end_a_process_with(const Queue& queue) {
  Process process{[](const Queue&) {}, queue};
  process.start();
  process.join();
}

// Who is killed with an item in its hands cannot say that nobody needs what it names.
TEST(KeptItems, MemoryOfItemsThatWereLostGoes) {
  const Queue<Parcel> queue;
  const pid_t nursery = lose_parcel(queue);
  end_a_process_with(queue);
  push_out_what_is_loose();
  EXPECT_LT(memory_kept_by(nursery, "troupe-heap"), 8U << 20U);
}

// With leases others get it.
TEST(KeptItems, MemoryOfItemsThatComeBackStays) {
  const JoinableQueue<Parcel> queue{0, {.lease = true}};
  const pid_t nursery = lose_parcel(queue);
  end_a_process_with(queue);
  push_out_what_is_loose();
  EXPECT_GE(memory_kept_by(nursery, "troupe-heap"), 8U << 20U);
  const Parcel parcel = queue.get();
  EXPECT_TRUE(std::all_of(parcel.block.data(), parcel.block.data() + parcel.block.size_bytes(),
                          [](std::byte byte) { return byte == std::byte{1}; }));
}

void tell_nursery(const FileDescriptor& line) { send_text(line, std::to_string(::getppid())); }

TEST(KeptItems, DescriptorsThatDidNotGetInGo) {
  const Queue<FileDescriptor> queue{1};
  auto [mine, theirs] = make_line();
  queue.put(copy_of(mine));
  Process teller{tell_nursery, std::move(theirs)};
  teller.start();
  const pid_t nursery = std::stoi(receive_text(mine));
  teller.join();
  const auto socket = std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(mine.get())).string();
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(queue.try_put(mine));
  EXPECT_EQ(descriptors_of(nursery, socket).size(), 1U);  // what is in
}

/// A way in which a message with a lock does not arrive.
struct Failure {
  const char* name;
  void (*send)(const Lock& lock);
};

class MessagesThatFail : public testing::TestWithParam<Failure> {};

// A lock is kept for messages that are on their way, not for these.
TEST_P(MessagesThatFail, LeaveNothingOfWhatTheyName) {
  const std::size_t before = detail::num_own_lines();
  {
    const Lock lock;
    GetParam().send(lock);
    EXPECT_GT(detail::num_own_lines(), before);
  }
  EXPECT_EQ(detail::num_own_lines(), before);
}

void send_to_full_queue(const Lock& lock) {
  const Queue<Lock> queue{1};
  queue.put(lock);
  EXPECT_FALSE(queue.try_put(lock));
  EXPECT_THROW(queue.put(lock, true, 1ms), Full);
  queue.get();
}
void put_with_what_is_refused(const Lock& lock) {
  const Queue<std::pair<Lock, SharedBlock>> queue;
  EXPECT_THROW(queue.put({lock, SharedBlock{}}), ValueError);
}
void send_to_closed_pipe(const Lock& lock) {
  auto [mine, theirs] = Pipe();
  theirs.close();
  EXPECT_THROW(mine.send(lock), OSError);
}
void apply_with_what_is_refused(const Lock& lock) {
  Pool pool{1};
  EXPECT_THROW(pool.apply([](const Lock&, const SharedBlock&) {}, lock, SharedBlock{}), ValueError);
  pool.terminate();
}

INSTANTIATE_TEST_SUITE_P(KeptItems, MessagesThatFail,
                         testing::Values(Failure{"in_a_full_queue", send_to_full_queue},
                                         Failure{"in_a_queue_with_what_is_refused", put_with_what_is_refused},
                                         Failure{"in_a_closed_pipe", send_to_closed_pipe},
                                         Failure{"in_a_pool_with_what_is_refused", apply_with_what_is_refused}),
                         [](const auto& test) { return std::string(test.param.name); });

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

// Who asks for what the nursery could not take is told so, and so is who comes too late to be heard; a block stays whose
// user it could not watch.
TEST(KeptItems, SayWhenTheNurseryHasTooManyFilesOpen) {
  Program program{"few files"};
  EXPECT_THAT(program.read_line(), HasSubstr(std::to_string(EMFILE) + " "));
  EXPECT_EQ(program.read_line(), "made");
  EXPECT_THAT(program.read_line(), HasSubstr("connecting to the nursery, which has too many files open"));
  EXPECT_EQ(program.read_line(), "stayed, 0");
  EXPECT_EQ(program.wait(), 0) << program.errors();
}

}  // namespace
