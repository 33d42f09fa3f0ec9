// Handles to shared memory: what travels, how long a block lives, and what remains of processes that are killed.

#include <troupe/codec.hpp>
#include <troupe/context.hpp>
#include <troupe/error.hpp>
#include <troupe/pool.hpp>
#include <troupe/process.hpp>
#include <troupe/shared_block.hpp>

#include "support/pools.hpp"
#include "support/processes.hpp"
#include "support/start_methods.hpp"

#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe;
using namespace troupe::test;

int& number_in(const SharedBlock& block) { return *reinterpret_cast<int*>(block.data()); }

/// What a handle looks like on its way.
class Parcel {
 public:
  explicit Parcel(const SharedBlock& block) { encode(block, message_.initRoot<wire::Value>()); }
  SharedBlock open() { return decode<SharedBlock>(message_.getRoot<wire::Value>().asReader()); }
  std::uint64_t address(unsigned index) {
    return message_.getRoot<wire::Value>().getHandle().getAddress()[index].getUint64();
  }
  void set_address(unsigned index, std::uint64_t number) {
    message_.getRoot<wire::Value>().getHandle().getAddress()[index].setUint64(number);
  }

 private:
  capnp::MallocMessageBuilder message_;
};

/// Blocks of this process that are in use, here or elsewhere.
std::size_t num_taken() {
  // Each call looks at some of those that others use.
  for (std::size_t i = 0; i <= shared_heap().statistics().num_pending / 16; ++i)
    shared_heap().release(shared_heap().allocate(0));
  const auto now = shared_heap().statistics();
  return now.num_allocations - now.num_frees;
}

class SharedBlockEveryMethod : public testing::TestWithParam<StartMethod> {
 protected:
  void SetUp() override { set_start_method(GetParam(), true); }
  void TearDown() override { set_start_method(std::nullopt, true); }
};

void add_one(const SharedBlock& block) { ++number_in(block); }

TEST_P(SharedBlockEveryMethod, IsTheSameMemoryInAnotherProcess) {
  const std::size_t taken = num_taken();
  {
    const SharedBlock block{100};
    number_in(block) = 41;
    Process process{add_one, block};
    process.start();
    process.join();
    EXPECT_EQ(process.exitcode(), 0);
    EXPECT_EQ(number_in(block), 42);
  }
  EXPECT_EQ(num_taken(), taken);
}

// The handle that arrived lives on when the sender has dropped its own, and so does the memory.
TEST_P(SharedBlockEveryMethod, LivesAsLongAsAnyHandle) {
  const std::size_t taken = num_taken();
  auto [mine, theirs] = make_line();
  std::optional<SharedBlock> block{std::in_place, 64};
  number_in(*block) = 7;
  std::optional<Process> process;
  process.emplace(
      [](const FileDescriptor& line, const SharedBlock& its) {
        send_text(line, "have it");
        receive_text(line);
        send_text(line, std::to_string(number_in(its)));
      },
      std::move(theirs), *block);
  process->start();
  EXPECT_EQ(receive_text(mine), "have it");
  block.reset();
  process.reset();  // which has its arguments, too
  EXPECT_EQ(num_taken(), taken + 1);
  const SharedBlock other{64};
  number_in(other) = 8;
  send_text(mine, "go on");
  EXPECT_EQ(receive_text(mine), "7");
  EXPECT_TRUE(comes_true([&] { return num_taken() == taken + 1; })) << "only the other block is left";
}

// A block made over there is opened here, also when its maker has ended.
TEST_P(SharedBlockEveryMethod, OutlivesItsMaker) {
  auto [mine, theirs] = make_line();
  const SharedBlock mailbox{64};
  Process process{[](const FileDescriptor& line) {
                    const SharedBlock block{100'000};
                    number_in(block) = 4711;
                    Parcel parcel{block};
                    std::string text;
                    for (unsigned i = 0; i < 4; ++i) text += std::to_string(parcel.address(i)) + " ";
                    send_text(line, text);
                  },
                  std::move(theirs)};
  process.start();
  std::istringstream numbers{receive_text(mine)};
  process.join();
  Parcel parcel{mailbox};
  for (unsigned i = 0; i < 4; ++i) {
    std::uint64_t number = 0;
    numbers >> number;
    parcel.set_address(i, number);
  }
  const SharedBlock block = parcel.open();
  EXPECT_EQ(block.size_bytes(), 100'000U);
  EXPECT_EQ(number_in(block), 4711);
}

INSTANTIATE_TEST_SUITE_P(Methods, SharedBlockEveryMethod,
                         testing::Values(StartMethod::fork, StartMethod::forkserver, StartMethod::spawn),
                         [](const auto& its) { return std::string(to_string(its.param)); });

TEST(SharedBlock, IsEmptyOrAHandle) {
  const SharedBlock none;
  EXPECT_FALSE(none);
  EXPECT_EQ(none.size_bytes(), 0U);
  EXPECT_THROW(Parcel{none}, ValueError);
  const SharedBlock block{0};
  EXPECT_TRUE(block);
  EXPECT_EQ(block, SharedBlock(block));
  EXPECT_NE(block, SharedBlock{0});
  EXPECT_NE(block, none);
  EXPECT_EQ(none, SharedBlock{});
  EXPECT_THROW(SharedBlock{-1}, ValueError);
}

// In the same process, too, what arrives is another handle to the same memory.
TEST(SharedBlock, ComesBack) {
  const std::size_t taken = num_taken();
  {
    std::optional<SharedBlock> block{std::in_place, 32};
    Parcel parcel{*block};
    SharedBlock back = parcel.open();
    EXPECT_EQ(back, *block);
    EXPECT_EQ(back.data(), block->data());
    block.reset();
    EXPECT_EQ(num_taken(), taken + 1);
  }
  EXPECT_EQ(num_taken(), taken);
}

// The message alone keeps the block; once it was read it does not, and reading it again later is an error.
TEST(SharedBlock, LivesInAMessage) {
  const std::size_t taken = num_taken();
  std::optional<Parcel> parcel;
  parcel.emplace(SharedBlock{32});
  EXPECT_EQ(num_taken(), taken + 1);
  EXPECT_TRUE(parcel->open());
  EXPECT_EQ(num_taken(), taken);
  try {
    parcel->open();
    ADD_FAILURE() << "the block is gone";
  } catch (const OSError& error) {
    EXPECT_EQ(error.errno_value(), ENOENT);
  }
  const SharedBlock successor{32};
  EXPECT_THROW(parcel->open(), OSError);
}

// What a message says is believed only as far as the arena goes.
TEST(SharedBlock, RefusesHandlesThatCannotBe) {
  const SharedBlock block{64};
  const auto broken = [&](unsigned index, std::uint64_t number) {
    Parcel parcel{block};
    parcel.set_address(index, number);
    parcel.open();
  };
  EXPECT_THROW(broken(0, 12345), OSError);  // unknown ticket
  EXPECT_THROW(broken(1, 1), CodecError);   // between places
  EXPECT_THROW(broken(1, std::uint64_t{1} << 50U), CodecError);
  EXPECT_THROW(broken(1, ~std::uint64_t{15}), CodecError);
  EXPECT_THROW(broken(2, std::uint64_t{1} << 40U), CodecError);
  EXPECT_THROW(broken(2, ~std::uint64_t{0}), CodecError);
  EXPECT_THROW(broken(3, 0), OSError);
  EXPECT_THROW(broken(3, 999'999), OSError);
  capnp::MallocMessageBuilder message;
  auto value = message.initRoot<wire::Value>();
  value.setInt64(3);
  EXPECT_THROW(decode<SharedBlock>(value.asReader()), CodecError);
  auto handle = value.initHandle();
  handle.setKind("memory");
  handle.initAddress(2);
  EXPECT_THROW(decode<SharedBlock>(value.asReader()), CodecError);
  for (auto part : handle.initAddress(4)) part.setText("4");
  EXPECT_THROW(decode<SharedBlock>(value.asReader()), CodecError);
}

void overwrite(const SharedBlock& block, int number) { number_in(block) = number; }

SharedBlock make_block(int number) {
  SharedBlock block{200'000};
  number_in(block) = number;
  return block;
}

// Arguments and results of tasks; nothing is left over.
TEST(SharedBlock, TravelsThroughAPool) {
  const std::size_t taken = num_taken();
  {
    Pool pool{2};
    const SharedBlock block{64};
    for (int i = 0; i < 100; ++i) {
      pool.apply(overwrite, block, i);
      ASSERT_EQ(number_in(block), i);
    }
    const std::vector<int> numbers{1, 2, 3, 4, 5};
    const std::vector<SharedBlock> made = pool.map(make_block, numbers);
    for (std::size_t i = 0; i < numbers.size(); ++i) EXPECT_EQ(number_in(made[i]), numbers[i]);
    pool.close();
    pool.join();
    for (std::size_t i = 0; i < numbers.size(); ++i) EXPECT_EQ(number_in(made[i]), numbers[i]) << "the makers ended";
  }
  EXPECT_EQ(num_taken(), taken);
}

// A worker that is killed leaves its handle counted; the nursery takes it off.
TEST(SharedBlock, IsFreeWhenItsUserIsKilled) {
  const std::size_t taken = num_taken();
  {
    const SharedBlock block{64};
    Pool pool{1};
    EXPECT_THROW(pool.apply([](const SharedBlock&) { ::raise(SIGKILL); }, block), WorkerDied);
    pool.apply(overwrite, block, 5);
    EXPECT_EQ(number_in(block), 5);
  }
  EXPECT_EQ(num_taken(), taken);
}

void hold_blocks(const FileDescriptor& line, const std::vector<SharedBlock>& blocks) {
  const std::vector<SharedBlock> copies = blocks;
  std::vector<SharedBlock> returned = blocks;
  returned.resize(blocks.size() / 2);  // those are not used any more
  send_text(line, "has them");
  ::pause();
}

class SharedBlockOfKilled : public testing::TestWithParam<StartMethod> {};
INSTANTIATE_TEST_SUITE_P(By, SharedBlockOfKilled, every_start_method, name_of_method);

// Processes, however they were started and however many handles they had.
TEST_P(SharedBlockOfKilled, IsFreeWhenItsUserIsKilled) {
  const std::size_t taken = num_taken();
  {
    std::vector<SharedBlock> blocks;
    for (int i = 0; i < 500; ++i) blocks.emplace_back(i);
    for (int round = 0; round < 3; ++round) {
      auto [mine, theirs] = make_line();
      Process process{ProcessOptions{.start_method = GetParam()}, hold_blocks, std::move(theirs), blocks};
      process.start();
      ASSERT_EQ(receive_text(mine), "has them");
      process.kill();
      process.join();
    }
  }
  // The nursery hears of a process that was not forked there when we do.
  EXPECT_TRUE(comes_true([&] { return num_taken() == taken; }));
}

void wait_for_text(const FileDescriptor& line) { receive_text(line); }
void take_block(const SharedBlock&) {}

// Tasks that are cancelled, refused, or in a pool that is terminated: their messages are read by nobody.
TEST(SharedBlock, IsFreeWhenNoWorkerBeginsItsTask) {
  const std::size_t taken = num_taken();
  {
    Pool pool{PoolOptions{.workers = 1, .name = {}, .max_pending_tasks = 3, .when_full = WhenFull::fail}};
    auto [mine, theirs] = make_line();
    auto busy = pool.apply_async(wait_for_text, std::move(theirs));
    auto cancelled = pool.apply_async(take_block, SharedBlock{1000});
    auto late = pool.with({.deadline = 1ms}).apply_async(take_block, SharedBlock{1000});
    EXPECT_THROW(pool.apply_async(take_block, SharedBlock{1000}), Full);
    EXPECT_TRUE(cancelled.cancel());
    EXPECT_THROW(cancelled.get(), Cancelled);
    EXPECT_THROW(late.get(), TimeoutError);
    auto terminated = pool.apply_async(take_block, SharedBlock{1000});
    pool.terminate();
    EXPECT_THROW(terminated.get(), Cancelled);
    EXPECT_THROW(busy.get(), Error);
    EXPECT_EQ(num_taken(), taken);
  }
}

// A task that is retried reads the same message twice.
TEST(SharedBlock, ArrivesAgainWhenATaskIsRetried) {
  const SharedBlock block{64};
  Pool pool{1};
  pool.with({.retries = 2})
      .apply(
          [](const SharedBlock& its) {
            if (++number_in(its) < 2) ::raise(SIGKILL);
          },
          block);
  EXPECT_EQ(number_in(block), 2);
}

std::size_t num_mappings_of_heaps() {
  std::size_t count = 0;
  for (const auto& line : mappings_of(::getpid())) count += line.find("troupe-heap") != std::string::npos ? 1 : 0;
  return count;
}

// Arenas of others stay mapped for the next message, but not for ever.
TEST(SharedBlock, UnmapsArenasThatAreNotNeeded) {
  Pool pool{1};
  const std::size_t before = num_mappings_of_heaps();
  for (int i = 0; i < 40; ++i) {
    const auto block = pool.apply([](int) { return SharedBlock{5'000'000}; }, i);  // each an arena of its own
    EXPECT_TRUE(block);
  }
  EXPECT_LT(num_mappings_of_heaps(), before + 20);
}

// A copy of the process that troupe did not make takes nothing away from this one.
TEST(SharedBlock, IsOfNoConcernToProcessesForkedByHand) {
  auto block = std::make_unique<SharedBlock>(64);
  const pid_t pid = ::fork();
  if (pid == 0) {
    block.reset();
    ::_exit(0);
  }
  ::waitpid(pid, nullptr, 0);
  const std::size_t taken = num_taken();
  block.reset();
  EXPECT_EQ(num_taken(), taken - 1);
}

// A forked process has the handles of its parent, and counts them.
TEST(SharedBlock, IsInheritedByForkedProcesses) {
  const std::size_t taken = num_taken();
  auto [mine, theirs] = make_line();
  auto block = std::make_unique<SharedBlock>(64);
  number_in(*block) = 11;
  Process process{ProcessOptions{.start_method = StartMethod::fork},
                  [&block](const FileDescriptor& line) {
                    send_text(line, "here");
                    receive_text(line);
                    send_text(line, std::to_string(number_in(*block)));
                  },
                  std::move(theirs)};
  process.start();
  EXPECT_EQ(receive_text(mine), "here");
  block.reset();
  EXPECT_EQ(num_taken(), taken + 1);
  const SharedBlock other{64};
  number_in(other) = 12;
  send_text(mine, "go on");
  EXPECT_EQ(receive_text(mine), "11");
  process.join();
  EXPECT_EQ(num_taken(), taken + 1) << "only the other block is left";
}

}  // namespace
