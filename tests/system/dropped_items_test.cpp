// What nobody can get any more is not kept: of messages that did not arrive, of processes that were killed, of queues
// that are gone.

#include <troupe/error.hpp>
#include <troupe/lock.hpp>
#include <troupe/pipe.hpp>
#include <troupe/pool.hpp>
#include <troupe/process.hpp>
#include <troupe/queue.hpp>
#include <troupe/shared_block.hpp>
#include <troupe/store.hpp>
#include <troupe/sync_slab.hpp>

#include "support/nursery.hpp"
#include "support/processes.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
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

constexpr std::ptrdiff_t large_bytes = 8 << 20;

SharedBlock large_block() {
  SharedBlock block{large_bytes};
  std::fill_n(block.data(), block.size_bytes(), std::byte{1});
  return block;
}

/// Whether the nursery has the memory of a large block.
bool has_large_block() {
  wait_for_nursery();
  return memory_of(descriptors_of(nursery_pid(), "troupe-heap")) >= large_bytes;
}

void make_and_wait(const FileDescriptor& line) {
  const SharedBlock block = large_block();
  send_text(line, "made");
  receive_text(line);
}

TEST(DroppedItems, OfAKilledMakerThatNobodyWasTold) {
  for (int i = 0; i < 3; ++i) {
    auto [mine, theirs] = make_line();
    Process maker{make_and_wait, std::move(theirs)};
    maker.start();
    receive_text(mine);
    EXPECT_TRUE(has_large_block());
    maker.kill();
    maker.join();
    EXPECT_FALSE(has_large_block());
  }
}

// --- Messages that do not arrive ---

void offer_and_wait(const Queue<SharedBlock>& full, const FileDescriptor& line) {
  const SharedBlock block = large_block();
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(full.try_put(block));
  send_text(line, "offered");
  receive_text(line);
}

TEST(DroppedItems, MemoryThatDidNotGetIn) {
  const Queue<SharedBlock> queue{1};
  queue.put(SharedBlock{100});
  auto [mine, theirs] = make_line();
  Process offerer{offer_and_wait, queue, std::move(theirs)};
  offerer.start();
  receive_text(mine);
  EXPECT_TRUE(has_large_block());
  offerer.kill();
  offerer.join();
  EXPECT_FALSE(has_large_block());
}

/// How many descriptors of that file the nursery has.
std::size_t num_kept(const FileDescriptor& file) {
  wait_for_nursery();
  const auto name = std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(file.get())).string();
  return descriptors_of(nursery_pid(), name).size();
}

TEST(DroppedItems, DescriptorsThatDidNotGetIn) {
  const Queue<FileDescriptor> queue{1};
  const auto [file, other] = make_line();
  queue.put(file);
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(queue.try_put(file));
  EXPECT_EQ(num_kept(file), 1U);
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

INSTANTIATE_TEST_SUITE_P(DroppedItems, MessagesThatFail,
                         testing::Values(Failure{"in_a_full_queue", send_to_full_queue},
                                         Failure{"in_a_queue_with_what_is_refused", put_with_what_is_refused},
                                         Failure{"in_a_closed_pipe", send_to_closed_pipe},
                                         Failure{"in_a_pool_with_what_is_refused", apply_with_what_is_refused}),
                         [](const auto& test) { return std::string(test.param.name); });

// --- Items that a killed process has taken and not read ---

template <class Queue>
void put_parcel(const Queue& queue) {
  queue.put(Parcel{large_block()});
}

template <class Queue>
void be_stopped_by_parcel(const Queue& queue) {
  is_stopped_by_parcels = true;
  queue.get();
}

/// Puts a parcel into the queue, whose maker ends, and kills who is about to take it.
template <class Queue>
void lose_parcel(const Queue& queue) {
  Process putter{put_parcel<Queue>, queue};
  putter.start();
  putter.join();
  Process getter{be_stopped_by_parcel<Queue>, queue};
  getter.start();
  EXPECT_TRUE(wait_for_state(getter.pid().value(), 'T'));
  queue.put(Parcel{SharedBlock{100}});  // nobody can have put one any more that is not counted
  queue.get();
  getter.kill();
  getter.join();
  Process last{[](const Queue&) {}, queue};  // the nursery looks at a queue when a process lets go of it
  last.start();
  last.join();
}

// Who is killed with an item in its hands cannot say that nobody needs what it names.
TEST(DroppedItems, MemoryOfItemsThatWereLost) {
  const Queue<Parcel> queue;
  lose_parcel(queue);
  push_out_what_is_loose();
  EXPECT_FALSE(has_large_block());
}

// With leases others get it.
TEST(DroppedItems, NotMemoryOfItemsThatComeBack) {
  const JoinableQueue<Parcel> queue{0, {.lease = true}};
  lose_parcel(queue);
  push_out_what_is_loose();
  const Parcel parcel = queue.get();
  EXPECT_TRUE(std::all_of(parcel.block.data(), parcel.block.data() + parcel.block.size_bytes(),
                          [](std::byte byte) { return byte == std::byte{1}; }));
}

// --- Queues that are gone ---

// What lies in them counts as what nobody keeps.
TEST(DroppedItems, DescriptorsInQueuesThatAreGone) {
  const auto [file, other] = make_line();
  constexpr int num_queues = 50;
  constexpr int num_items = 40;
  static_assert(num_queues * num_items > store::max_loose);
  for (int i = 0; i < num_queues; ++i) {
    const Queue<FileDescriptor> queue;
    for (int item = 0; item < num_items; ++item) queue.put(file);
  }
  EXPECT_LE(num_kept(file), store::max_loose);
}

// A queue that is on its way keeps what lies in it, and once it has arrived no number of others pushes that out.
TEST(DroppedItems, NotWhatLiesInAQueueThatArrives) {
  const Queue<Queue<FileDescriptor>> outer;
  const auto [file, other] = make_line();
  std::optional<Queue<FileDescriptor>> inner{std::in_place};
  inner->put(file);
  outer.put(*inner);
  inner.reset();
  push_out_what_is_loose();
  const Queue<FileDescriptor> arrived = outer.get();
  push_out_what_is_loose();
  EXPECT_TRUE(arrived.get());
}

}  // namespace
