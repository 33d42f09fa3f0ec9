// Writes the seed corpus of frame_fuzz: rings with tasks and results of every kind, and a few that are damaged. Run it
// again when the schema, the frames or the callables of frame_input.hpp change.
// Usage: frame_seeds DIR

#include <troupe/arena.hpp>
#include <troupe/error.hpp>
#include <troupe/failure.hpp>
#include <troupe/ring.hpp>
#include <troupe/task_call.hpp>
#include <troupe/wire_message.hpp>

#include "frame_input.hpp"

#include <cstddef>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

namespace {

using troupe::MessageWriter;
using troupe::ring_bytes;
using troupe::SegmentRef;
using troupe::wire::Result;
using troupe::wire::Task;

enum class Room { ample, scarce };

/// A ring from `head` on, the arena beside it, and the file that they go to.
class Seed {
 public:
  Seed(std::filesystem::path file, std::uint64_t head = 0) : file_(std::move(file)), head_(head) {
    control_->head = control_->tail = head;
    writer_ = {control_.get(), data_.data()};
  }

  /// Puts a frame with what `fill` writes into the ring. With scarce room most of it goes to the arena.
  template <class Fill>
  Seed& add(Fill fill, Room room = Room::ample) {
    std::vector<std::uint64_t> first(room == Room::ample ? 1024 : 4);
    MessageWriter message{first, arena_};
    fill(message);
    const auto words = message.first_words();
    const auto segments = message.take_segments();
    return add_frame(segments, words);
  }
  Seed& add_frame(std::span<const SegmentRef> segments, std::span<const std::uint64_t> words) {
    if (writer_.try_write(segments, words) == nullptr) throw std::logic_error("a seed does not fit its ring");
    for (const auto& segment : segments) {
      if (segment.offset != troupe::arena_table_bytes) continue;  // only the first block is part of an input
      const auto in_arena = view_.words(segment);
      const auto bytes = std::as_bytes(in_arena.first(std::min<std::size_t>(in_arena.size(), 512)));
      arena_content_.assign(bytes.begin(), bytes.end());
    }
    return *this;
  }
  template <class F, class... Args>
  Seed& add_call(fuzz::Thunk thunk, Room room, const F& callable, const Args&... arguments) {
    return add(
        [&](MessageWriter& message) {
          troupe::encode_call(message, 1, callable, arguments...);
          message.getRoot<Task>().setThunk(thunk);
        },
        room);
  }
  template <class Item, bool Star, class F>
  Seed& add_chunk(fuzz::Thunk thunk, const F& callable, const std::vector<Item>& items) {
    return add([&](MessageWriter& message) {
      troupe::encode_chunk<Item, Star>(message, 2, callable, items.begin(), items.size());
      message.getRoot<Task>().setThunk(thunk);
    });
  }
  template <class T>
  Seed& add_value(const T& value, Room room = Room::ample) {
    return add(
        [&](MessageWriter& message) {
          auto result = message.initRoot<Result>();
          troupe::encode(value, result.initValue());
        },
        room);
  }
  template <class E>
  Seed& add_failure(E error) {
    return add([&](MessageWriter& message) {
      troupe::encode_exception(std::make_exception_ptr(std::move(error)), "square #1",
                               message.initRoot<Result>().initFailure(), "Worker-1");
    });
  }
  /// Changes the 32 bits at `at` bytes behind the head, as a header's number of words (0) or of segments (8).
  Seed& damage(std::size_t at, std::uint32_t value) {
    std::memcpy(data_.data() + head_ % ring_bytes + at, &value, sizeof value);
    return *this;
  }
  Seed& set_tail(std::uint64_t tail) {
    tail_ = tail;
    return *this;
  }

  void write() const {
    const std::uint64_t written = control_->tail - head_;
    const fuzz::FrameInput input{
        .head = head_, .tail = tail_ != 0 ? tail_ : control_->tail.load(), .arena_bytes = arena_content_.size()};
    std::ofstream out(file_, std::ios::binary);
    const auto put = [&](const void* bytes, std::size_t count) {
      out.write(static_cast<const char*>(bytes), static_cast<std::streamsize>(count));
    };
    put(&input, sizeof input);
    put(data_.data() + head_ % ring_bytes, written);
    put(arena_content_.data(), arena_content_.size());
    if (!out.flush()) throw std::runtime_error("cannot write " + file_.string());
  }

 private:
  std::filesystem::path file_;
  std::uint64_t head_;
  std::uint64_t tail_ = 0;
  std::unique_ptr<troupe::RingControl> control_ = std::make_unique<troupe::RingControl>();
  std::vector<std::byte> data_ = std::vector<std::byte>(2 * ring_bytes);
  troupe::RingWriter writer_;
  troupe::Arena arena_{"a seed's"};
  troupe::ArenaView view_{arena_.file(), false};
  std::vector<std::byte> arena_content_;
};

void write_tasks(const std::filesystem::path& dir) {
  const std::vector<std::string> parts{"one", "two", "and a part that needs some words of its own"};
  const auto add_seven = troupe::bind(fuzz::Add{}, 7);
  const fuzz::Scale scale{2.5, "m"};
  Seed(dir / "call_add").add_call(fuzz::add, Room::ample, fuzz::Add{}, 4, 5).write();
  Seed(dir / "call_join").add_call(fuzz::join, Room::ample, fuzz::Join{}, parts).write();
  Seed(dir / "call_join_in_arena").add_call(fuzz::join, Room::scarce, fuzz::Join{}, parts).write();
  Seed(dir / "call_scale").add_call(fuzz::scale, Room::ample, scale, 1.5).write();
  Seed(dir / "call_bound").add_call(fuzz::add_to, Room::ample, add_seven, 5).write();
  Seed(dir / "call_wrong_type").add_call(fuzz::join, Room::ample, fuzz::Add{}, 4, 5).write();
  Seed(dir / "call_function")
      .add([](MessageWriter& message) {
        auto list = message.initRoot<Task>().initCall(2);
        troupe::encode_code_ref({.offset = 0x1000, .module = 5}, list[0]);
        troupe::encode(3, list[1]);
      })
      .write();
  Seed(dir / "chunk_starmap")
      .add_chunk<std::tuple<int, int>, true>(fuzz::add_star, fuzz::Add{}, {{1, 2}, {3, 4}})
      .write();
  Seed(dir / "chunk_bound").add_chunk<int, false>(fuzz::add_to_each, add_seven, {1, 2, 3}).write();
  Seed(dir / "chunk_scale").add_chunk<double, false>(fuzz::scale_each, scale, {0.5, 1}).write();
  Seed(dir / "chunk_void").add_chunk<std::string, false>(fuzz::forget_each, fuzz::Forget{}, parts).write();
  Seed(dir / "stop").add([](MessageWriter& message) { message.initRoot<Task>().setStop(); }).write();
  Seed(dir / "several_around_the_end", ring_bytes - 64)
      .add_call(fuzz::add, Room::ample, fuzz::Add{}, 4, 5)
      .add_value(9)
      .add_value(parts)
      .write();
}

void write_results(const std::filesystem::path& dir) {
  const std::vector<std::string> parts{"one", "two", "and a part that needs some words of its own"};
  Seed(dir / "value_none").add_value(nullptr).write();
  Seed(dir / "value_int").add_value(9).write();
  Seed(dir / "value_ints").add_value(std::vector<int>{1, 2, 3}).write();
  Seed(dir / "value_texts").add_value(parts).write();
  Seed(dir / "value_texts_in_arena").add_value(parts, Room::scarce).write();
  Seed(dir / "failure").add_failure(troupe::ValueError("no such number")).write();
  Seed(dir / "failure_standard").add_failure(std::out_of_range("index")).write();
  Seed(dir / "failure_system").add_failure(std::system_error(2, std::generic_category(), "open")).write();
  Seed(dir / "failure_death")
      .add_failure(troupe::WorkerDied({.pid = 5, .exitcode = -9, .task = "square", .attempts = 2}))
      .write();
}

void write_damaged(const std::filesystem::path& dir) {
  const SegmentRef outside{.offset = troupe::arena_bytes, .words = 1, .ticket = 0};
  const SegmentRef large{.offset = troupe::arena_table_bytes, .words = troupe::arena_bytes / 16, .ticket = ~0ULL};
  Seed(dir / "segment_outside").add_frame({&outside, 1}, {}).write();
  Seed(dir / "segment_large").add_frame({&large, 1}, {}).write();
  Seed(dir / "empty_frame").add_frame({}, {}).write();
  Seed(dir / "too_many_words").add_value(9).damage(0, 1U << 20U).write();
  Seed(dir / "too_many_segments").add_value(9).damage(8, 3000).write();
  Seed(dir / "more_frames_than_written").add_value(9).set_tail(ring_bytes).write();
  Seed(dir / "tail_before_head", 1024).add_value(9).set_tail(960).write();
  Seed(dir / "head_between_lines", 8).add_value(9).write();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: frame_seeds DIR\n";
    return 2;
  }
  const std::filesystem::path dir = argv[1];
  std::filesystem::create_directories(dir);
  write_tasks(dir);
  write_results(dir);
  write_damaged(dir);
}
