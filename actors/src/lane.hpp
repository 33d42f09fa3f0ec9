#pragma once

/// \file
/// One direction of a Pipe: a ring of bytes in shared memory, and a socket beside it.
///
///     writer ── copies a message in ──► ring ── copies it out ──► reader
///        ▲          moves `tail`                  moves `head`      ▲
///        └───────────────── socket: wake-ups, descriptors, end ─────┘
///
/// All positions lie in the shared memory, because an end may be used by one process now and by another one later. A
/// message of up to a quarter of the ring appears at once, so that whoever is killed has sent it or not; a longer one
/// goes through in parts while it is read, and an end that stops in the middle of one spoils the lane, visibly.

#include <troupe/bell.hpp>

#include "lane_socket.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace troupe {

/// What the two sides tell each other. Lies in shared memory, zero at first; counts of bytes since the beginning.
struct LaneControl {
  alignas(64) std::atomic<std::uint64_t> tail;        // written so far; by the writer
  std::atomic<std::uint64_t> writing_until;           // above tail: the end of a message that goes through in parts
  alignas(64) std::atomic<std::uint64_t> head;        // read so far; by the reader
  std::atomic<std::uint64_t> reading_until;           // above head: the end of a message that is half read
  alignas(64) LaneSocket::Bell reader_bell;           // the reader sleeps until there is something
  std::atomic<std::uint32_t> reader_closings;         // how often a copy of the reading side was closed
  alignas(64) LaneSocket::Bell writer_bell;           // the writer sleeps until there is room
  std::atomic<std::uint32_t> spoiled;                 // a message was left half written
};
static_assert(sizeof(LaneControl) == 256 && std::atomic<std::uint64_t>::is_always_lock_free);

/// Bytes of the ring: several of the messages that appear at once. More than a pipe of the kernel holds (64 KiB).
inline constexpr std::size_t lane_bytes = std::size_t{256} * 1024;

/// When the other end was last known to be there, so that not every message costs a system call that asks. Its end is
/// noticed by anyone (a join, the end of a file) much later than `trusted` after it has happened. Thread: any.
class Presence {
 public:
  using Ticks = std::uint64_t;
  static Ticks now() noexcept;
  /// The other end did something after `when`.
  void seen(Ticks when) noexcept { seen_.store(when, std::memory_order_relaxed); }
  bool is_recent() const noexcept { return now() - seen_.load(std::memory_order_relaxed) < trusted; }
  /// The other end will never do anything again. The kernel closes the files of a process one after the other: a writer
  /// must not find the reader's still open when the end was seen in the other direction.
  void ended() noexcept {
    has_ended_.store(true, std::memory_order_relaxed);
    seen(0);
  }
  bool has_ended() const noexcept { return has_ended_.load(std::memory_order_relaxed); }

 private:
#if defined(__x86_64__)
  static constexpr Ticks trusted = 40'000;  // of the time stamp counter: 8 to 20 us
#else
  static constexpr Ticks trusted = 15'000;  // nanoseconds
#endif
  std::atomic<Ticks> seen_{0};
  std::atomic<bool> has_ended_{false};
};

/// Bytes of somebody else.
using Piece = std::span<const std::byte>;

/// The side that writes. Thread: caller.
class LaneWriter {
 public:
  LaneWriter(LaneControl* control, std::byte* data, FileDescriptor socket) noexcept
      : control_(control), data_(data), socket_(std::move(socket)), head_(control->head.load()) {}

  /// Writes one message made of `pieces`. Blocks: while the ring is full and the other side there.
  /// Errors: OSError, with EPIPE when nobody can read any more, with EIO when the lane is spoiled.
  void write(std::span<const Piece> pieces, std::span<const int> descriptors, Presence& presence);
  /// Closes this side; the memory may be unmapped then.
  void close() noexcept { socket_.close(); }
  const LaneSocket& socket() const noexcept { return socket_; }

 private:
  void require_reader(Presence& presence);
  bool has_room(std::uint64_t bytes, std::uint64_t tail) noexcept;
  void wait_for_room(std::uint64_t bytes, std::uint64_t tail);
  void copy_in(std::uint64_t position, Piece bytes) noexcept;
  void publish(std::uint64_t tail) noexcept;
  void write_in_parts(std::span<const Piece> pieces, std::uint64_t tail, std::uint64_t end);

  LaneControl* control_;
  std::byte* data_;
  LaneSocket socket_;
  std::uint64_t head_;  // what control_->head said when there last was room
  std::uint32_t closings_ = 0;
  std::uint32_t next_tag_ = 0;
  SpinWait spin_;
};

/// The side that reads. Thread: caller, but has_data is for any thread.
class LaneReader {
 public:
  LaneReader(LaneControl* control, std::byte* data, FileDescriptor socket) noexcept
      : control_(control), data_(data), socket_(std::move(socket)) {}

  enum class Arrival : std::uint8_t { data, timeout, end };
  /// Waits for a message, or a part of one. Blocks: until then, the end, or `deadline`; one that is over only looks.
  Arrival wait(Deadline deadline, Presence& presence);
  bool has_data() const noexcept {
    return control_->tail.load(std::memory_order_acquire) != control_->head.load(std::memory_order_relaxed);
  }

  /// Reads one message into `out`, replacing what is there. False: it is longer than `max_bytes`, and the lane is not
  /// to be read any more. Blocks: until it has come. Errors: EOFError at the end; OSError in the middle of a message.
  [[nodiscard]] bool read(std::vector<std::byte>& out, std::optional<std::size_t> max_bytes,
                          std::vector<FileDescriptor>& descriptors, Presence& presence);

  /// While armed, the socket becomes readable when something arrives. Look at has_data once more after it.
  void arm() noexcept { LaneSocket::arm(control_->reader_bell); }
  void disarm() noexcept { LaneSocket::disarm(control_->reader_bell); }
  /// Closes this side; the memory may be unmapped then.
  void close() noexcept;
  LaneSocket& socket() noexcept { return socket_; }
  const LaneSocket& socket() const noexcept { return socket_; }

 private:
  Arrival look(Deadline deadline, Presence& presence);
  bool is_spoiled() const noexcept { return control_->spoiled.load(std::memory_order_relaxed) != 0; }
  std::uint64_t available(std::uint64_t head) const;
  Arrival sleep(Deadline deadline);
  void copy_out(std::uint64_t position, std::size_t bytes, std::vector<std::byte>& out) const;
  void release(std::uint64_t head) noexcept;
  void read_rest(std::uint64_t head, std::uint64_t end, std::size_t bytes, std::vector<std::byte>& out,
                 Presence& presence);

  LaneControl* control_;
  std::byte* data_;
  LaneSocket socket_;
  SpinWait spin_;
};

}  // namespace troupe
