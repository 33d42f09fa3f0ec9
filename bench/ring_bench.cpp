// What a frame costs on its way through a ring, alone and there and back between two threads, and what a block of an
// arena costs.

#include <troupe/arena.hpp>
#include <troupe/file_descriptor.hpp>
#include <troupe/ring.hpp>

#include "figure.hpp"

#include <benchmark/benchmark.h>

#include <array>
#include <cstring>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace {

using bench::expect;
using troupe::Arena;
using troupe::ArenaView;
using troupe::Mapping;
using troupe::RingControl;
using troupe::RingReader;
using troupe::RingWriter;

using Words = std::span<const std::uint64_t>;

constexpr std::size_t page_bytes = 4096;
/// No frame has this number.
constexpr std::uint64_t end = ~std::uint64_t{0};

/// A ring as processes share it, with both of its ends.
struct Ring {
  troupe::FileDescriptor file = troupe::create_memory_file("a ring", page_bytes + troupe::ring_bytes);
  Mapping page{file.get(), 0, page_bytes, Mapping::Access::read_write, "a ring"};
  Mapping data = Mapping::twice_in_a_row(file.get(), page_bytes, troupe::ring_bytes, "a ring");
  RingWriter writer{reinterpret_cast<RingControl*>(page.data()), data.data()};
  RingReader reader{reinterpret_cast<RingControl*>(page.data()), data.data()};
};

bool write(RingWriter& writer, Words words) { return writer.try_write({}, words) != nullptr; }

/// Takes the oldest frame and returns its first and its last word.
std::array<std::uint64_t, 2> take(RingReader& reader) {
  troupe::Frame frame;
  expect(reader.peek(frame) == RingReader::Status::frame, "no frame");
  const std::array ends{frame.words.front(), frame.words.back()};
  reader.pop(frame);
  return ends;
}

/// One thread, one frame after another.
void write_and_read(benchmark::State& state) {
  Ring ring;
  std::vector<std::uint64_t> words(static_cast<std::size_t>(state.range(0)) / sizeof(std::uint64_t));
  std::uint64_t number = 0;
  for ([[maybe_unused]] const auto round : state) {
    words.front() = words.back() = ++number;
    expect(write(ring.writer, words), "a ring without frames is full");
    expect(take(ring.reader) == std::array{number, number}, "another frame than the one written");
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(write_and_read)->Arg(64)->Arg(4096);

/// As many as fit, then all of them out again: no line of the ring is still in the first cache.
void fill_and_drain(benchmark::State& state) {
  Ring ring;
  std::vector<std::uint64_t> words(static_cast<std::size_t>(state.range(0)) / sizeof(std::uint64_t));
  std::uint64_t written = 0;
  std::uint64_t read = 0;
  for ([[maybe_unused]] const auto round : state) {
    for (words.front() = words.back() = written; write(ring.writer, words); words.front() = words.back() = written)
      ++written;
    for (; ring.reader.has_data(); ++read) expect(take(ring.reader) == std::array{read, read}, "a frame out of order");
    expect(read == written, "frames were lost");
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(read));
  state.SetBytesProcessed(static_cast<std::int64_t>(read) * state.range(0));
}
BENCHMARK(fill_and_drain)->Arg(64)->Arg(4096);

/// Looks until there is a frame; in a crowd the others get their turn, but nobody ever sleeps.
std::array<std::uint64_t, 2> look_and_take(RingReader& reader) {
  troupe::SpinWait look;
  while (!look([&] { return reader.has_data(); })) continue;
  return take(reader);
}

/// There and back between two threads that both look all the time.
void round_trip(benchmark::State& state) {
  Ring there;
  Ring back;
  const std::jthread echo{[&] {
    for (std::uint64_t number = 0; number != end;) {
      number = look_and_take(there.reader).front();
      expect(write(back.writer, std::array{number + 1}), "the ring back is full");
    }
  }};
  std::uint64_t number = 0;
  bool right = true;
  for ([[maybe_unused]] const auto round : state) {
    ++number;
    right = write(there.writer, std::array{number}) && look_and_take(back.reader).front() == number + 1 && right;
  }
  right = write(there.writer, std::array{end}) && right;
  expect(right, "another answer than the one to this question");
}
BENCHMARK(round_trip)->UseRealTime();

/// The books alone: a block that is given back by who took it.
void allocate_and_release(benchmark::State& state) {
  Arena arena{"arena"};
  for ([[maybe_unused]] const auto round : state) {
    const Arena::Block block = arena.allocate(static_cast<std::size_t>(state.range(0)), false);
    benchmark::DoNotOptimize(block.data);
    arena.release(block.segment.ticket);
  }
  expect(arena.num_blocks_out() == 0, "blocks are still out");
}
BENCHMARK(allocate_and_release)->Arg(64 << 10)->Arg(1 << 20);

/// The limit of the next: the same bytes copied to the same place.
void copy_block(benchmark::State& state) {
  const std::vector<std::uint64_t> words(static_cast<std::size_t>(state.range(0)) / sizeof(std::uint64_t), 7);
  std::vector<std::uint64_t> to(words.size());
  for ([[maybe_unused]] const auto round : state) {
    std::memcpy(to.data(), words.data(), words.size() * sizeof(std::uint64_t));
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(copy_block)->Arg(1 << 20);

/// A block's whole way: taken, filled, found by its reader, who gives it back.
void send_block(benchmark::State& state) {
  const auto bytes = static_cast<std::size_t>(state.range(0));
  Arena arena{"arena"};
  const ArenaView view{arena.file(), true};
  std::vector<std::uint64_t> words(bytes / sizeof(std::uint64_t));
  std::uint64_t number = 0;
  for ([[maybe_unused]] const auto round : state) {
    words.front() = words.back() = ++number;
    const Arena::Block block = arena.allocate(bytes, false);
    std::memcpy(block.data, words.data(), bytes);
    const Words arrived = view.words(block.segment);
    expect(arrived.size() == words.size() && arrived.front() == number && arrived.back() == number, "another block");
    view.release(block.segment.ticket);
  }
  // What readers gave back is noticed when the next block is taken.
  arena.release(arena.allocate(bytes, false).segment.ticket);
  expect(arena.num_blocks_out() == 0, "blocks are still out");
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(send_block)->Arg(1 << 20);

/// The same for a block that has to be cleared, as for a message of many small parts.
void allocate_cleared(benchmark::State& state) {
  const auto bytes = static_cast<std::size_t>(state.range(0));
  Arena arena{"arena"};
  for ([[maybe_unused]] const auto round : state) {
    const Arena::Block block = arena.allocate(bytes, true);
    expect(block.data[0] == std::byte{} && block.data[bytes - 1] == std::byte{}, "old data in a cleared block");
    block.data[0] = block.data[bytes - 1] = std::byte{7};
    arena.release(block.segment.ticket);
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(allocate_cleared)->Arg(1 << 20);

}  // namespace

BENCHMARK_MAIN();
