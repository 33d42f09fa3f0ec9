#include <troupe/arena.hpp>
#include <troupe/error.hpp>

#include "../support/forked.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <random>
#include <sched.h>
#include <string>
#include <sys/mount.h>
#include <sys/stat.h>
#include <thread>
#include <vector>

namespace troupe {
namespace {

using test::Forked;
using test::OnOneProcessor;
using test::rounds;
using test::Stepped;
using testing::HasSubstr;

constexpr std::size_t KiB = 1024;
constexpr std::size_t MiB = 1024 * KiB;

bool is_filled(const std::byte* data, std::size_t bytes, std::byte value) {
  return std::all_of(data, data + bytes, [value](std::byte byte) { return byte == value; });
}

void fill(const Arena::Block& block, int value) { std::memset(block.data, value, block.bytes); }

std::size_t memory_of(const Arena& arena) {
  struct stat status {};
  ::fstat(arena.file(), &status);
  return static_cast<std::size_t>(status.st_blocks) * 512;
}

/// A file in a file system with room for `bytes`; empty where that cannot be made. May change the process's namespaces.
FileDescriptor file_on_small_disk(std::size_t bytes) {
  int context = ::fsopen("tmpfs", FSOPEN_CLOEXEC);
  if (context < 0 && ::unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0) context = ::fsopen("tmpfs", FSOPEN_CLOEXEC);
  const FileDescriptor owner{context};
  if (!owner) return {};
  const std::string size = std::to_string(bytes);
  if (::fsconfig(context, FSCONFIG_SET_STRING, "size", size.c_str(), 0) != 0 ||
      ::fsconfig(context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0)
    return {};
  const FileDescriptor mount{::fsmount(context, FSMOUNT_CLOEXEC, 0)};
  FileDescriptor file{::openat(mount.get(), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)};
  if (file && ::ftruncate(file.get(), static_cast<off_t>(arena_bytes)) != 0) return {};
  return file;
}

TEST(Arena, GivesBlocksThatDoNotOverlap) {
  Arena arena{"arena"};
  std::vector<Arena::Block> blocks;
  for (const std::size_t bytes : {std::size_t{8}, std::size_t{24}, 64 * KiB, 64 * KiB + 8, 3 * MiB, std::size_t{4096}})
    blocks.push_back(arena.allocate(bytes, true));
  EXPECT_EQ(arena.num_blocks_out(), blocks.size());
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    EXPECT_EQ(blocks[i].segment.words, blocks[i].bytes / 8);
    EXPECT_TRUE(is_filled(blocks[i].data, blocks[i].bytes, std::byte{0}));
    fill(blocks[i], static_cast<int>(i) + 1);
  }
  const ArenaView view{arena.file(), true};
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const auto words = view.words(blocks[i].segment);
    EXPECT_TRUE(
        is_filled(reinterpret_cast<const std::byte*>(words.data()), blocks[i].bytes, static_cast<std::byte>(i + 1)));
  }
  for (const auto& block : blocks) arena.release(block.segment.ticket);
  EXPECT_EQ(arena.num_blocks_out(), 0U);
}

TEST(Arena, CarriesALargeBlockToAnotherProcess) {
  Arena arena{"arena"};
  const auto block = arena.allocate(64 * MiB, false);
  auto* words = reinterpret_cast<std::uint64_t*>(block.data);
  for (std::size_t i = 0; i < block.segment.words; ++i) words[i] = i * 0x9e3779b97f4a7c15U;
  Forked reader{[&] {
    const ArenaView view{arena.file(), true};
    const auto seen = view.words(block.segment);
    ASSERT_EQ(seen.size(), 64 * MiB / 8);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < seen.size(); ++i) wrong += seen[i] == i * 0x9e3779b97f4a7c15U ? 0 : 1;
    EXPECT_EQ(wrong, 0U);
  }};
  EXPECT_EQ(reader.wait(), 0);
}

TEST(Arena, AnotherProcessMayAllocateFromWhatThisOneMade) {
  FileDescriptor file = create_memory_file("arena", arena_bytes);
  const ArenaView view{file.get(), true};
  Forked owner{[&] {
    Arena arena{FileDescriptor{::fcntl(file.get(), F_DUPFD_CLOEXEC, 3)}};
    fill(arena.allocate(24, true), 7);
  }};
  EXPECT_EQ(owner.wait(), 0);
  const auto words = view.words({.offset = arena_table_bytes, .words = 3, .ticket = 0});
  EXPECT_TRUE(is_filled(reinterpret_cast<const std::byte*>(words.data()), 24, std::byte{7}));
}

// Old data in a message's unused bytes would make Cap'n Proto read nonsense.
TEST(Arena, ClearsOldDataWhenAsked) {
  Arena arena{"arena"};
  std::minstd_rand random{5};
  for (int i = 0; i < 200; ++i) {
    const std::size_t bytes = 8 * (random() % (3 * 64 * KiB / 8) + 1);
    const auto dirty = arena.allocate(bytes, false);
    fill(dirty, 0xff);
    arena.release(dirty.segment.ticket);
    const auto block = arena.allocate(8 * (random() % (3 * 64 * KiB / 8) + 1), true);
    ASSERT_TRUE(is_filled(block.data, block.bytes, std::byte{0})) << "round " << i;
    arena.release(block.segment.ticket);
  }
  EXPECT_LE(memory_of(arena), 2 * MiB);  // the same blocks all the time
}

TEST(Arena, TakesBackWhatIsOutAndNothingElse) {
  Arena arena{"arena"};
  const auto kept = arena.allocate(8, true);
  const auto block = arena.allocate(8, true);
  arena.release(block.segment.ticket);
  arena.release(block.segment.ticket);
  arena.release(12345);
  arena.release(~std::uint64_t{0});
  EXPECT_EQ(arena.num_blocks_out(), 1U);
  const auto first = arena.allocate(8, true);
  const auto second = arena.allocate(8, true);
  EXPECT_NE(first.data, second.data);
  EXPECT_NE(first.segment.ticket, second.segment.ticket);
  EXPECT_NE(first.data, kept.data);
  EXPECT_NE(second.data, kept.data);
}

TEST(Arena, NoticesWhatAReaderInAnotherProcessGaveBack) {
  Arena arena{"arena"};
  const auto kept = arena.allocate(8, true);
  const auto given = arena.allocate(8, true);
  Forked reader{[&] {
    const ArenaView view{arena.file(), true};
    view.release(given.segment.ticket);
    view.release(max_arena_blocks);  // no ticket: ignored
    view.release(~std::uint64_t{0});
  }};
  EXPECT_EQ(reader.wait(), 0);
  EXPECT_EQ(arena.num_blocks_out(), 2U);
  const auto next = arena.allocate(8, true);
  EXPECT_EQ(arena.num_blocks_out(), 2U);
  EXPECT_EQ(next.segment.offset, given.segment.offset);
  EXPECT_NE(next.segment.offset, kept.segment.offset);
}

// A burst of large messages must not keep the machine's memory for good.
TEST(Arena, GivesMemoryBackToTheSystemBeyondWhatItKeeps) {
  Arena arena{"arena"};
  constexpr std::size_t block_bytes = 32 * MiB;
  constexpr std::size_t num_blocks = arena_keep_bytes / block_bytes + 3;
  std::vector<Arena::Block> blocks;
  for (std::size_t i = 0; i < num_blocks; ++i) blocks.push_back(arena.allocate(block_bytes, false));
  EXPECT_GE(memory_of(arena), num_blocks * block_bytes);
  fill({.data = blocks.back().data, .bytes = 4096, .segment = {}}, 0xff);
  for (const auto& block : blocks) arena.release(block.segment.ticket);
  EXPECT_LE(memory_of(arena), arena_keep_bytes + MiB);
  EXPECT_GE(memory_of(arena), arena_keep_bytes - block_bytes);
  // What has lost its memory gets new memory, and is clear.
  for (std::size_t i = 0; i < num_blocks; ++i) {
    const auto block = arena.allocate(4096, true);
    EXPECT_TRUE(is_filled(block.data, block.bytes, std::byte{0}));
  }
}

TEST(Arena, RunningOutOfMemoryIsAnErrorAndNotASignal) {
  constexpr int skipped = 77;
  Forked process{[] {
    FileDescriptor file = file_on_small_disk(2 * MiB);
    if (!file) ::_exit(skipped);
    Arena arena{std::move(file)};
    const auto before = arena.allocate(MiB, true);
    fill(before, 1);
    for (int i = 0; i < 3; ++i) {
      try {
        fill(arena.allocate(2 * MiB, true), 2);
        FAIL() << "no error";
      } catch (const OSError& error) {
        EXPECT_EQ(error.errno_value(), ENOSPC);
        EXPECT_THAT(error.what(), HasSubstr("getting 2097152 bytes of shared memory for a message"));
      }
    }
    EXPECT_EQ(arena.num_blocks_out(), 1U);
    EXPECT_TRUE(is_filled(before.data, before.bytes, std::byte{1}));
    fill(arena.allocate(512 * KiB, true), 3);  // what there is can still be had
  }};
  const int status = process.wait();
  if (status == skipped) GTEST_SKIP() << "no small file system can be made here";
  EXPECT_EQ(status, 0);
}

// Memory kept warm for small messages must not stand in the way of a large one.
TEST(Arena, GivesUpWhatItKeepsBeforeItRunsOut) {
  constexpr int skipped = 77;
  Forked process{[] {
    FileDescriptor file = file_on_small_disk(4 * MiB);
    if (!file) ::_exit(skipped);
    Arena arena{std::move(file)};
    const auto small = arena.allocate(MiB, true);
    const auto medium = arena.allocate(2 * MiB, true);
    fill(small, 0xff);
    arena.release(small.segment.ticket);
    arena.release(medium.segment.ticket);
    const auto large = arena.allocate(3 * MiB, true);
    fill(large, 1);
    arena.release(large.segment.ticket);
    const auto again = arena.allocate(MiB, true);
    EXPECT_TRUE(is_filled(again.data, again.bytes, std::byte{0}));
  }};
  const int status = process.wait();
  if (status == skipped) GTEST_SKIP() << "no small file system can be made here";
  EXPECT_EQ(status, 0);
}

TEST(Arena, SaysWhenTooManyBlocksAreOut) {
  Arena arena{"arena", 1000};
  std::vector<std::uint64_t> tickets;
  for (int i = 0; i < 1000; ++i) tickets.push_back(arena.allocate(8, false).segment.ticket);
  try {
    arena.allocate(8, false);
    FAIL() << "no error";
  } catch (const Full& error) {
    EXPECT_THAT(error.what(), HasSubstr("1000 large messages"));
  }
  const ArenaView view{arena.file(), true};
  view.release(tickets[77]);
  EXPECT_EQ(arena.allocate(8, false).segment.ticket, tickets[77]);
  for (const auto ticket : tickets) arena.release(ticket);
  EXPECT_EQ(arena.num_blocks_out(), 0U);
}

// A list of many medium items would otherwise come to an end that has nothing to do with memory.
TEST(Arena, HasTensOfThousandsOfBlocksOut) {
  Arena arena{"arena"};
  const ArenaView view{arena.file(), true};
  std::vector<std::uint64_t> tickets;
  for (int i = 0; i < 40'000; ++i) tickets.push_back(arena.allocate(8, false).segment.ticket);
  for (const auto ticket : tickets) view.release(ticket);
  arena.allocate(8, false);
  EXPECT_EQ(arena.num_blocks_out(), 1U);
}

TEST(Arena, SaysWhenItsAddressRangeIsUsedUp) {
  Arena arena{"arena"};
  EXPECT_THROW(arena.allocate(arena_bytes, false), Full);
  EXPECT_THROW(arena.allocate(8 * arena_bytes, false), Full);
  EXPECT_EQ(arena.num_blocks_out(), 0U);
  EXPECT_NO_THROW(arena.allocate(8, true));
  EXPECT_LE(memory_of(arena), MiB);
}

TEST(Arena, ServesManyThreads) {
  Arena arena{"arena"};
  const ArenaView view{arena.file(), true};
  std::vector<std::thread> threads;
  for (unsigned id = 1; id <= 4; ++id)
    threads.emplace_back([&, id] {
      std::minstd_rand random{id};
      for (int i = 0; i < rounds(2000); ++i) {
        const auto block = arena.allocate(8 * (random() % 16384 + 1), random() % 2 == 0);
        fill(block, static_cast<int>(id));
        const auto words = view.words(block.segment);
        ASSERT_TRUE(
            is_filled(reinterpret_cast<const std::byte*>(words.data()), block.bytes, static_cast<std::byte>(id)));
        arena.release(block.segment.ticket);
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(arena.num_blocks_out(), 0U);
}

TEST(ArenaView, FindsNothingOutsideTheArena) {
  const Arena arena{"arena"};
  const ArenaView view{arena.file(), false};
  constexpr std::uint64_t first = arena_table_bytes;
  EXPECT_EQ(view.words({first, 1, 0}).size(), 1U);
  EXPECT_EQ(view.words({arena_bytes, 0, 0}).size(), 0U);
  EXPECT_EQ(view.words({arena_bytes - 8, 1, 0}).size(), 1U);
  for (const SegmentRef bad :
       {SegmentRef{0, 1, 0}, SegmentRef{first - 8, 1, 0}, SegmentRef{first + 4, 1, 0}, SegmentRef{arena_bytes, 1, 0},
        SegmentRef{arena_bytes - 8, 2, 0}, SegmentRef{arena_bytes + 8, 0, 0}, SegmentRef{~std::uint64_t{7}, 1, 0},
        SegmentRef{first, ~std::uint64_t{0}, 0}, SegmentRef{first, arena_bytes / 8, 0},
        SegmentRef{first, std::uint64_t{1} << 61U, 0}})
    EXPECT_THROW(static_cast<void>(view.words(bad)), CodecError) << bad.offset << ", " << bad.words;
}

// The table of segments lies in a ring: a process gone mad may change it between the check and the use.
TEST(ArenaView, IsNotFooledByASegmentThatChangesMeanwhile) {
  const OnOneProcessor quick;
  const Arena arena{"arena"};
  const ArenaView view{arena.file(), false};
  const auto* first_word = view.words({arena_table_bytes, 0, 0}).data();
  const FileDescriptor file = create_memory_file("a segment", 4096);
  const Mapping page{file.get(), 0, 4096, Mapping::Access::read_write, "a segment"};
  auto& segment = *reinterpret_cast<SegmentRef*>(page.data());
  enum Outcome { nothing_wrong = 0, fooled = 2 };
  for (int steps = 0;; steps += test::sanitized ? 29 : 1) {
    segment = {arena_table_bytes, 1, 0};
    Stepped process{[&] {
      try {
        const auto words = view.words(segment);
        Stepped::end_of_steps();
        ::_exit(words.size() == 1 && words.data() == first_word ? nothing_wrong : fooled);
      } catch (const CodecError&) {
        ::_exit(nothing_wrong);
      }
    }};
    if (!process.is_traced()) GTEST_SKIP() << "processes may not be traced here";
    for (int i = 0; i < steps; ++i)
      if (!process.step()) return;
    segment = {arena_bytes, arena_bytes, 0};
    ASSERT_EQ(process.run_on(), nothing_wrong) << "changed after " << steps << " instructions";
  }
}

}  // namespace
}  // namespace troupe
