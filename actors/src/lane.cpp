#include "lane.hpp"

#include <troupe/error.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <sched.h>
#include <string>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace troupe {

namespace {

/// Before every message, which begins at a multiple of `alignment` and is filled up to one.
struct MessageHeader {
  std::uint64_t bytes = 0;        // without this header
  std::uint32_t descriptors = 0;  // that come through the socket
  std::uint32_t tag = 0;          // under which they come
};
static_assert(sizeof(MessageHeader) == 16);

constexpr std::uint64_t alignment = 64;
/// Longer messages go through in parts.
constexpr std::uint64_t largest_whole = lane_bytes / 4;
/// No message is longer than this.
constexpr std::uint64_t largest_message = std::uint64_t{1} << 60;
/// Of the memory for a message so much is taken before its bytes are there.
constexpr std::uint64_t taken_ahead = std::uint64_t{256} << 20;

constexpr std::uint64_t padded(std::uint64_t bytes) { return (bytes + alignment - 1) / alignment * alignment; }

/// How long to sleep at a time. Who was woken and finds nothing knows that the other side is about to change something;
/// if that process is killed when it has and before it rings again, nobody else tells, so for a while sleep is short.
class Nap {
 public:
  Deadline end(Deadline deadline) const {
    return length_ < longest ? std::min(deadline, std::chrono::steady_clock::now() + length_) : deadline;
  }
  void woken(LaneSocket::Woken why) {
    length_ = why == LaneSocket::Woken::rung ? shortest : std::min(2 * length_, longest);
  }

 private:
  static constexpr std::chrono::milliseconds shortest{1};
  static constexpr std::chrono::milliseconds longest{512};  // from here on there is no bound
  std::chrono::milliseconds length_ = longest;
};

[[noreturn]] void fail_unread() {
  throw OSError::from_text(EIO,
                           "a pipe cannot be read any more: a process ended, or gave up, in the middle of a message");
}
[[noreturn]] void fail_unwritten() {
  throw OSError::from_text(EIO, "a pipe cannot be written any more: a process ended in the middle of a message");
}

}  // namespace

Presence::Ticks Presence::now() noexcept {
#if defined(__x86_64__)
  return __rdtsc();
#else
  return static_cast<Ticks>(std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count());
#endif
}

// --- Writing ---

void LaneWriter::require_reader(Presence& presence) {
  const std::uint32_t closings = control_->reader_closings.load(std::memory_order_acquire);
  if (closings == closings_ && presence.is_recent()) return;
  const auto before = Presence::now();
  if (presence.has_ended() || socket_.is_alone())
    throw OSError(EPIPE, "sending through a pipe that nobody can read any more");
  closings_ = closings;
  presence.seen(before);
}

// A head beyond the tail is a reader gone mad; it counts as a full ring.
bool LaneWriter::has_room(std::uint64_t bytes, std::uint64_t tail) noexcept {
  if (tail - head_ <= lane_bytes && tail + bytes - head_ <= lane_bytes) return true;
  head_ = control_->head.load(std::memory_order_acquire);
  return tail - head_ <= lane_bytes && tail + bytes - head_ <= lane_bytes;
}

void LaneWriter::wait_for_room(std::uint64_t bytes, std::uint64_t tail) {
  if (has_room(bytes, tail)) return;
  if (spin_([&] { return has_room(bytes, tail); })) return;
  Nap nap;
  for (;;) {
    LaneSocket::arm(control_->writer_bell);
    if (has_room(bytes, tail)) break;
    const auto woken = socket_.sleep(nap.end(no_deadline));
    if (woken == LaneSocket::Woken::alone) {
      LaneSocket::disarm(control_->writer_bell);
      throw OSError(EPIPE, "sending through a pipe that nobody can read any more");
    }
    nap.woken(woken);
  }
  LaneSocket::disarm(control_->writer_bell);
  spin_.found_later();
}

void LaneWriter::copy_in(std::uint64_t position, Piece bytes) noexcept {
  if (bytes.empty()) return;
  const std::size_t at = position % lane_bytes;
  const std::size_t first = std::min(bytes.size(), lane_bytes - at);
  std::memcpy(data_ + at, bytes.data(), first);
  if (first < bytes.size()) std::memcpy(data_, bytes.data() + first, bytes.size() - first);
}

// A sleeper is woken before as well: if this process is killed right after the store, nobody else would wake it.
void LaneWriter::publish(std::uint64_t tail) noexcept {
  socket_.ring(control_->reader_bell);
  control_->tail.store(tail, std::memory_order_release);
  socket_.ring(control_->reader_bell);
}

void LaneWriter::write(std::span<const Piece> pieces, std::span<const int> descriptors, Presence& presence) {
  std::uint64_t bytes = 0;
  for (const Piece piece : pieces) bytes += piece.size();
  require_reader(presence);
  const std::uint64_t tail = control_->tail.load(std::memory_order_relaxed);
  if (control_->writing_until.load(std::memory_order_relaxed) > tail) {
    control_->spoiled.store(1);
    socket_.ring(control_->reader_bell);
    fail_unwritten();
  }
  MessageHeader header{.bytes = bytes, .descriptors = static_cast<std::uint32_t>(descriptors.size()), .tag = 0};
  const std::uint64_t needed = padded(sizeof header + bytes);
  const bool whole = needed <= largest_whole;
  wait_for_room(whole ? needed : alignment, tail);
  if (!descriptors.empty()) {
    // Other processes may have sent some with this end before: the position makes the tag another one.
    header.tag = static_cast<std::uint32_t>(tail / alignment) ^ (next_tag_++ << 24);
    socket_.send_descriptors(header.tag, descriptors);
  }
  copy_in(tail, std::as_bytes(std::span(&header, 1)));
  if (!whole) return write_in_parts(pieces, tail, tail + needed);
  std::uint64_t position = tail + sizeof header;
  for (const Piece piece : pieces) {
    copy_in(position, piece);
    position += piece.size();
  }
  publish(tail + needed);
}

void LaneWriter::write_in_parts(std::span<const Piece> pieces, std::uint64_t tail, std::uint64_t end) {
  control_->writing_until.store(end, std::memory_order_relaxed);
  std::uint64_t position = tail + sizeof(MessageHeader);
  for (Piece piece : pieces) {
    while (!piece.empty()) {
      wait_for_room(std::min<std::uint64_t>(piece.size(), largest_whole), position);
      const std::size_t part = std::min<std::uint64_t>({piece.size(), lane_bytes - (position - head_), largest_whole});
      copy_in(position, piece.first(part));
      piece = piece.subspan(part);
      position += part;
      publish(position);
    }
  }
  wait_for_room(end - position, position);
  publish(end);
}

// --- Reading ---

void LaneReader::close() noexcept {
  socket_.close();
  control_->reader_closings.fetch_add(1, std::memory_order_release);
}

std::uint64_t LaneReader::available(std::uint64_t head) const {
  const std::uint64_t bytes = control_->tail.load(std::memory_order_acquire) - head;
  if (bytes > lane_bytes) throw OSError::from_text(EIO, "a pipe holds what no writer can have written");
  return bytes;
}

LaneReader::Arrival LaneReader::wait(Deadline deadline, Presence& presence) {
  const Arrival arrival = look(deadline, presence);
  if (arrival == Arrival::end) presence.ended();
  return arrival;
}

LaneReader::Arrival LaneReader::look(Deadline deadline, Presence& presence) {
  if (has_data()) return Arrival::data;
  if (is_over(deadline)) {
    const bool alone = socket_.is_alone();
    if (has_data()) return Arrival::data;
    return alone ? Arrival::end : Arrival::timeout;
  }
  const auto before = Presence::now();
  if (spin_([&] { return has_data(); })) {
    presence.seen(before);
    return Arrival::data;
  }
  const Arrival arrival = sleep(deadline);
  disarm();
  if (arrival == Arrival::data) spin_.found_later();
  return arrival;
}

LaneReader::Arrival LaneReader::sleep(Deadline deadline) {
  Nap nap;
  for (;;) {
    arm();
    if (has_data()) return Arrival::data;
    if (is_spoiled()) fail_unread();
    const auto woken = socket_.sleep(nap.end(deadline));
    for (int i = 0; woken == LaneSocket::Woken::rung && !has_data() && i < 4; ++i) ::sched_yield();
    if (has_data()) return Arrival::data;
    if (woken == LaneSocket::Woken::alone) return has_data() ? Arrival::data : Arrival::end;
    if (is_over(deadline)) return Arrival::timeout;
    nap.woken(woken);
  }
}

void LaneReader::copy_out(std::uint64_t position, std::size_t bytes, std::vector<std::byte>& out) const {
  const std::size_t at = position % lane_bytes;
  const std::size_t first = std::min(bytes, lane_bytes - at);
  out.insert(out.end(), data_ + at, data_ + at + first);
  if (first < bytes) out.insert(out.end(), data_, data_ + (bytes - first));
}

void LaneReader::release(std::uint64_t head) noexcept {
  socket_.ring(control_->writer_bell);
  control_->head.store(head, std::memory_order_release);
  socket_.ring(control_->writer_bell);
}

bool LaneReader::read(std::vector<std::byte>& out, std::optional<std::size_t> max_bytes,
                      std::vector<FileDescriptor>& descriptors, Presence& presence) {
  if (wait(no_deadline, presence) == Arrival::end) throw EOFError("the other end of the pipe is closed");
  const std::uint64_t head = control_->head.load(std::memory_order_relaxed);
  if (control_->reading_until.load(std::memory_order_relaxed) > head) fail_unread();
  const std::uint64_t here = available(head);
  MessageHeader header;
  // A message begins at a cache line, and its first one appears at once.
  if (head % alignment != 0 || here < sizeof header) fail_unread();
  std::memcpy(&header, data_ + head % lane_bytes, sizeof header);
  if (header.bytes > largest_message) fail_unread();
  if (max_bytes && header.bytes > *max_bytes) return false;
  out.clear();
  out.reserve(std::min(header.bytes, taken_ahead));
  const std::uint64_t end = head + padded(sizeof header + header.bytes);
  if (here < end - head) {
    read_rest(head, end, header.bytes, out, presence);
  } else {
    copy_out(head + sizeof header, header.bytes, out);
    release(end);
  }
  if (header.descriptors > 0) descriptors = socket_.take_descriptors(header.tag, header.descriptors);
  return true;
}

void LaneReader::read_rest(std::uint64_t head, std::uint64_t end, std::size_t bytes, std::vector<std::byte>& out,
                           Presence& presence) {
  control_->reading_until.store(end, std::memory_order_relaxed);
  std::uint64_t position = head + sizeof(MessageHeader);
  while (head < end) {
    if (wait(no_deadline, presence) == Arrival::end)
      throw OSError::from_text(ECONNRESET, "the other end of the pipe was closed in the middle of a message");
    const std::uint64_t there = std::min(head + available(head), end);
    const std::size_t part = std::min<std::uint64_t>(bytes - out.size(), there - std::min(there, position));
    copy_out(position, part, out);
    position += part;
    head = there;
    release(head);
  }
}

}  // namespace troupe
