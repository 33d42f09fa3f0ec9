#include <troupe/error.hpp>
#include <troupe/thread_storage.hpp>
#include <troupe/wire_message.hpp>

#include <algorithm>
#include <cstring>

namespace troupe {

namespace {

/// From this size on a list that needs no clearing gets a block of its own.
constexpr std::size_t own_block_words = 8 * 1024;
constexpr std::size_t largest_shared_block_words = 2 * 1024 * 1024;
/// More blocks than this are not made for single lists, so that the table of segments fits a frame.
constexpr std::size_t max_own_blocks = 512;

capnp::word* as_words(void* memory) { return static_cast<capnp::word*>(memory); }

kj::ArrayPtr<const capnp::word> as_segment(std::span<const std::uint64_t> words) {
  return {reinterpret_cast<const capnp::word*>(words.data()), words.size()};
}

}  // namespace

MessageWriter::~MessageWriter() noexcept(false) {
  for (const auto& block : blocks_) arena_->release(block.segment.ticket);
}

kj::ArrayPtr<capnp::word> MessageWriter::allocateSegment(unsigned minimum_words) {
  if (!first_given_ && minimum_words <= first_.size()) {
    first_given_ = true;
    return {as_words(first_.data()), first_.size()};
  }
  const bool own = UnzeroedAllocation::active() && minimum_words >= own_block_words && blocks_.size() < max_own_blocks;
  std::size_t words = minimum_words;
  if (!own) {
    words = std::max<std::size_t>(minimum_words, next_words_);
    next_words_ = std::min(next_words_ * 2, largest_shared_block_words);
  }
  blocks_.push_back(arena_->allocate(words * sizeof(std::uint64_t), !own));
  return {as_words(blocks_.back().data), words};
}

std::span<const std::uint64_t> MessageWriter::first_words() {
  const auto segments = getSegmentsForOutput();
  return {reinterpret_cast<const std::uint64_t*>(segments[0].begin()), segments[0].size()};
}

std::vector<SegmentRef> MessageWriter::take_segments() {
  if (is_single()) return {};
  const auto segments = getSegmentsForOutput();
  std::vector<SegmentRef> taken;
  taken.reserve(blocks_.size());
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    taken.push_back(blocks_[i].segment);
    taken.back().words = segments[i + 1].size();
  }
  blocks_.clear();
  return taken;
}

MessageReader::MessageReader(std::span<const std::uint64_t> words, std::span<const SegmentRef> segments,
                             const ArenaView* arena)
    : first_(as_segment(words)), reader_(fill(words, segments, arena), limits(words.size(), segments)) {}

kj::ArrayPtr<const MessageReader::Segment> MessageReader::fill(std::span<const std::uint64_t> words,
                                                               std::span<const SegmentRef> segments,
                                                               const ArenaView* arena) {
  if (segments.empty()) return {&first_, 1};
  if (arena == nullptr) throw CodecError("a message has large parts and no arena");
  all_.reserve(segments.size() + 1);
  all_.push_back(as_segment(words));
  for (const auto& segment : segments) all_.push_back(as_segment(arena->words(segment)));
  return {all_.data(), all_.size()};
}

// Every word may be visited a few times (argument names in error texts, a second look at a chunk), never many.
capnp::ReaderOptions MessageReader::limits(std::size_t words, std::span<const SegmentRef> segments) {
  std::uint64_t total = words;
  for (const auto& segment : segments) total += segment.words;
  capnp::ReaderOptions options;
  options.traversalLimitInWords = 8 * total + 64 * 1024;
  options.nestingLimit = 256;
  return options;
}

namespace {

struct ThreadScratch {
  alignas(16) std::array<std::uint64_t, Scratch::num_words> words{};
  bool in_use = false;
};

ThreadScratch& thread_scratch() { return ThreadStorage<ThreadScratch>::get(); }

}  // namespace

Scratch::Scratch() : from_thread_(!thread_scratch().in_use) {
  if (from_thread_) {
    thread_scratch().in_use = true;
    words_ = thread_scratch().words;
  } else {
    words_ = {new std::uint64_t[num_words]{}, num_words};
  }
}

Scratch::~Scratch() {
  if (from_thread_) {
    std::memset(words_.data(), 0, used_ * sizeof(std::uint64_t));
    thread_scratch().in_use = false;
  } else {
    delete[] words_.data();
  }
}

}  // namespace troupe
