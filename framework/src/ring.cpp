#include <troupe/ring.hpp>

#include <cstring>

namespace troupe {

FrameHeader* RingWriter::try_write(std::span<const SegmentRef> segments, std::span<const std::uint64_t> words,
                                   FrameNote note) noexcept {
  const std::size_t bytes = frame_bytes(words.size(), segments.size());
  std::byte* place = try_reserve(bytes);
  if (place == nullptr) return nullptr;
  auto* header = reinterpret_cast<FrameHeader*>(place);
  header->words = static_cast<std::uint32_t>(words.size());
  header->segments = static_cast<std::uint32_t>(segments.size());
  header->stop.store(0, std::memory_order_relaxed);
  header->note = note;
  header->state.store(static_cast<std::uint32_t>(FrameState::queued), std::memory_order_relaxed);
  if (!segments.empty()) std::memcpy(place + sizeof(FrameHeader), segments.data(), segments.size_bytes());
  if (!words.empty())
    std::memcpy(place + sizeof(FrameHeader) + segments.size_bytes(), words.data(), words.size_bytes());
  commit(bytes);
  return header;
}

void RingWriter::wait_for_room(std::size_t bytes, Deadline deadline) noexcept {
  Bell{&control_->room_bell}.sleep_until([&] { return try_reserve(bytes) != nullptr; }, deadline);
}

RingReader::Status RingReader::peek(Frame& frame) noexcept {
  const std::uint64_t tail = control_->tail.load(std::memory_order_acquire);
  if (tail == head_) return Status::empty;
  const std::uint64_t available = tail - head_;
  if (available > ring_bytes || available < sizeof(FrameHeader)) return Status::corrupt;
  std::byte* place = data_ + head_ % ring_bytes;
  if (reinterpret_cast<std::uintptr_t>(place) % frame_alignment != 0) return Status::corrupt;
  // Fetch both lines of a small frame at once, the first for writing (its state), instead of one after the other.
  __builtin_prefetch(place, 1);
  __builtin_prefetch(place + frame_alignment, 0);
  auto* header = reinterpret_cast<FrameHeader*>(place);
  const std::size_t words = header->words;
  const std::size_t segments = header->segments;
  if (words > max_frame_bytes / sizeof(std::uint64_t) || segments > max_frame_bytes / sizeof(SegmentRef))
    return Status::corrupt;
  const std::size_t bytes = frame_bytes(words, segments);
  if (bytes > available) return Status::corrupt;
  const std::byte* table = place + sizeof(FrameHeader);
  frame.header = header;
  frame.segments = {reinterpret_cast<const SegmentRef*>(table), segments};
  frame.words = {reinterpret_cast<const std::uint64_t*>(table + segments * sizeof(SegmentRef)), words};
  frame.bytes = bytes;
  return Status::frame;
}

void RingReader::pop(const Frame& frame) noexcept {
  head_ += frame.bytes;
  control_->head.store(head_, std::memory_order_release);
  Bell{&control_->room_bell}.ring();
}

void RingReader::wait_for_data(Deadline deadline) noexcept {
  Bell{&control_->data_bell}.sleep_until([this] { return has_data(); }, deadline);
}

}  // namespace troupe
