// Any bytes as what another process left in a ring and in an arena, read as a worker reads its tasks and as a pool
// reads its results. What comes out must be what those two handle: the reading of a frame ends in a kj::Exception or a
// CodecError, the decoding of a result in a CodecError or in the error that the result holds, a task's name in nothing.
//
//   build/fuzz/tests/fuzz/frame_fuzz -max_total_time=60 tests/fuzz/corpus/frame

#include <troupe/arena.hpp>
#include <troupe/callable.hpp>
#include <troupe/error.hpp>
#include <troupe/failure.hpp>
#include <troupe/ring.hpp>
#include <troupe/task_call.hpp>
#include <troupe/wire_message.hpp>

#include "frame_input.hpp"
#include "quiet_errors.hpp"
#include "worker.hpp"

#include <kj/exception.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <span>
#include <string>
#include <unistd.h>
#include <vector>

namespace {

using troupe::CodecError;
using troupe::Frame;
using troupe::MessageReader;

/// Frames that are looked at in one input; a ring of zeros is full of empty ones.
constexpr int most_frames = 8;
/// What a table of segments may claim in all. A claim costs nothing until it is read; then it costs memory, which is
/// not what is looked for here.
constexpr std::uint64_t most_claimed_words = 16 * 1024;

/// A ring whose memory ends where the second mapping would, so that a sanitizer sees every step beyond.
class HostileRing {
 public:
  HostileRing() { std::memset(data_.get(), 0, 2 * troupe::ring_bytes); }

  /// Lasts until the next one.
  troupe::RingReader fill(std::uint64_t head, std::uint64_t tail, std::span<const std::uint8_t> bytes) {
    copy(filled_at_, std::vector<std::uint8_t>(filled_));
    filled_at_ = head % troupe::ring_bytes;
    filled_ = std::min(bytes.size(), troupe::ring_bytes);
    copy(filled_at_, bytes.first(filled_));
    control_.head = head;
    control_.tail = tail;
    return {&control_, data_.get()};
  }

 private:
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };

  // To both of the places where a ring has a byte.
  void copy(std::size_t at, std::span<const std::uint8_t> bytes) {
    if (bytes.empty()) return;
    const std::size_t before_end = std::min(bytes.size(), troupe::ring_bytes - at);
    for (std::byte* ring : {data_.get(), data_.get() + troupe::ring_bytes}) {
      std::memcpy(ring + at, bytes.data(), before_end);
      std::memcpy(ring, bytes.data() + before_end, bytes.size() - before_end);
    }
  }

  troupe::RingControl control_{};
  std::unique_ptr<std::byte, Free> data_{static_cast<std::byte*>(std::aligned_alloc(4096, 2 * troupe::ring_bytes))};
  std::size_t filled_at_ = 0;
  std::size_t filled_ = 0;
};

/// An arena that somebody else writes to.
class HostileArena {
 public:
  const troupe::ArenaView& fill(std::span<const std::uint8_t> bytes) {
    // Also drops what reading and giving back has put there.
    if (::fallocate(arena_.file(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                    static_cast<off_t>(troupe::arena_bytes)) != 0 ||
        ::pwrite(arena_.file(), bytes.data(), bytes.size(), troupe::arena_table_bytes) !=
            static_cast<ssize_t>(bytes.size()))
      std::abort();
    return view_;
  }

 private:
  troupe::Arena arena_{"hostile"};
  troupe::ArenaView view_{arena_.file(), true};
};

/// A frame and the arena beside it; every reading has its own allowance of work.
struct Message {
  std::span<const std::uint64_t> words;
  std::span<const troupe::SegmentRef> segments;
  const troupe::ArenaView& arena;

  MessageReader open() const { return {words, segments, &arena}; }
};

bool claims_too_much(const Frame& frame) {
  std::uint64_t left = most_claimed_words;
  for (const auto& segment : frame.segments) {
    if (segment.words > left) return true;
    left -= segment.words;
  }
  return false;
}

// --- as a pool ---

bool is_failure(const Message& message) {
  auto reader = message.open();
  return reader.root<troupe::wire::Result>().isFailure();
}

template <class Decode>
void decode_as(const Message& message, Decode decode) {
  try {
    auto reader = message.open();
    decode(reader);
  } catch (const CodecError&) {
  } catch (const kj::Exception&) {
    std::abort();  // is a std::exception as well
  } catch (const std::exception&) {
    if (!is_failure(message)) throw;
  }
}

void read_as_result(const Message& message) {
  decode_as(message, [](MessageReader& in) { troupe::decode_result<void>(in); });
  decode_as(message, [](MessageReader& in) { static_cast<void>(troupe::decode_result<int>(in)); });
  decode_as(message, [](MessageReader& in) { static_cast<void>(troupe::decode_result<std::vector<std::string>>(in)); });
  decode_as(message, [](MessageReader& in) {
    std::vector<int> items;
    troupe::decode_chunk_result(in, items);
  });
  decode_as(message, [](MessageReader& in) {
    std::vector<std::string> items;
    troupe::decode_chunk_result(in, items);
  });
  decode_as(message, [](MessageReader& in) {
    troupe::guard_reading([&] {
      const auto result = in.root<troupe::wire::Result>();
      if (!result.isFailure()) return;
      const auto error = troupe::decode_exception(result.getFailure());
      if (error == nullptr) std::abort();
      static_cast<void>(troupe::describe_exception(error));
    });
  });
}

// --- as a worker ---

/// The thunk at the task's address. If nothing is there, the one that its number says: found, so to speak.
troupe::TaskThunk thunk_of(troupe::wire::Task::Reader task) {
  try {
    const auto found = reinterpret_cast<troupe::TaskThunk>(
        troupe::find_thunk(troupe::ThunkKind::task, {.offset = task.getThunk(), .module = task.getModule()}));
    if (std::ranges::find(fuzz::thunks, found) == fuzz::thunks.end()) std::abort();
    return found;
  } catch (const CodecError&) {
    return fuzz::thunks[task.getThunk() % fuzz::thunks.size()];
  }
}

/// A function that travels is looked up and never called here: any address in the program's code is one.
void read_function(const Message& message) {
  try {
    auto reader = message.open();
    const auto task = reader.root<troupe::wire::Task>();
    if (task.isCall() && task.getCall().size() > 0)
      static_cast<void>(troupe::decode_callable<int (*)(int)>(task.getCall()[0]));
    if (task.isChunk()) static_cast<void>(troupe::decode_callable<int (*)(int)>(task.getChunk().getState()));
  } catch (const kj::Exception&) {
  } catch (const CodecError&) {
  }
}

/// Builds a result, and reads it as a pool that trusts as little.
template <class Fill>
void answer(troupe::Arena& results, const troupe::ArenaView& view, Fill fill) {
  troupe::Scratch scratch;
  troupe::MessageWriter message{scratch.words(), results};
  fill(message.initRoot<troupe::wire::Result>());
  const auto words = message.first_words();
  scratch.set_used(words.size());
  const auto segments = message.take_segments();
  read_as_result({words, segments, view});
  for (const auto& segment : segments) results.release(segment.ticket);
}

void run_as_task(const Message& message, troupe::Arena& results, const troupe::ArenaView& view) {
  const std::string name = troupe::detail::task_name(message.words);
  const auto fail = [&](const std::exception_ptr& error) {
    answer(results, view,
           [&](troupe::wire::Result::Builder result) { troupe::encode_exception(error, name, result.initFailure()); });
  };
  try {
    auto reader = message.open();
    const auto task = reader.root<troupe::wire::Task>();
    if (task.isStop()) return;
    const auto thunk = thunk_of(task);
    answer(results, view, [&](troupe::wire::Result::Builder result) { thunk(task, result); });
  } catch (const kj::Exception&) {
    fail(std::current_exception());
  } catch (const CodecError&) {
    fail(std::current_exception());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::FrameInput input{};
  if (size < sizeof input) return 0;
  std::memcpy(&input, data, sizeof input);
  const std::span bytes(data + sizeof input, size - sizeof input);
  const auto arena_bytes = static_cast<std::size_t>(std::min<std::uint64_t>(input.arena_bytes, bytes.size()));
  const fuzz::NoStackTraces callback;

  static HostileRing ring;
  static HostileArena hostile;
  static troupe::Arena results{"results"};
  static const troupe::ArenaView results_view{results.file(), true};
  auto reader = ring.fill(input.head, input.tail, bytes.first(bytes.size() - arena_bytes));
  const auto& arena = hostile.fill(bytes.last(arena_bytes));
  Frame frame;
  for (int i = 0; i < most_frames && reader.peek(frame) == troupe::RingReader::Status::frame; ++i) {
    const Message message{frame.words, frame.segments, arena};
    auto expected = static_cast<std::uint32_t>(troupe::FrameState::queued);
    const bool is_queued =
        frame.header->state.compare_exchange_strong(expected, static_cast<std::uint32_t>(troupe::FrameState::running));
    if (!claims_too_much(frame)) {
      if (is_queued) run_as_task(message, results, results_view);
      read_function(message);
      read_as_result(message);
    }
    for (const auto& segment : frame.segments) arena.release(segment.ticket);
    reader.pop(frame);
  }
  if (results.num_blocks_out() != 0) std::abort();
  return 0;
}
