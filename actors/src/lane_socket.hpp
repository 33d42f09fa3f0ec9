#pragma once

/// \file
/// The socket beside a lane, as one of its two sides holds it: it wakes who sleeps, carries descriptors, and tells when
/// nobody is left on the other side, however the last one ended.

#include <troupe/bell.hpp>
#include <troupe/file_descriptor.hpp>

#include <atomic>
#include <cstdint>
#include <deque>
#include <span>
#include <utility>
#include <vector>

namespace troupe {

/// One end of a socket pair. Thread: caller.
class LaneSocket {
 public:
  /// Who sleeps says so in a word of the lane, so that the other side makes a system call only then.
  using Bell = std::atomic<std::uint32_t>;

  explicit LaneSocket(FileDescriptor socket) noexcept : socket_(std::move(socket)) {}

  int get() const noexcept { return socket_.get(); }
  void close() noexcept { socket_.reset(); }

  /// Announces that this side is about to sleep; look once more after it. Not with one that `sleep`s already.
  static void arm(Bell& bell) noexcept {
    bell.store((bell.load(std::memory_order_relaxed) | state_bits) + 1 + asleep, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }
  static void disarm(Bell& bell) noexcept {
    bell.store(bell.load(std::memory_order_relaxed) & ~state_bits, std::memory_order_relaxed);
  }
  /// Wakes the other side if it sleeps. Never blocks. Robust: who is killed in here has woken it, or the next one will.
  void ring(Bell& bell) noexcept {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const std::uint32_t seen = bell.load(std::memory_order_relaxed);
    if ((seen & state_bits) == asleep) wake(bell, seen);
  }

  enum class Woken : std::uint8_t { rung, timeout, alone };
  /// Sleeps until rung, until `deadline`, or until nobody holds the other side any more. May return for no reason.
  Woken sleep(Deadline deadline) noexcept;
  /// Whether nobody holds the other side any more. Never blocks; a system call.
  bool is_alone() const noexcept;
  /// Takes in what has arrived: wake-ups are forgotten, descriptors kept. Never blocks.
  void drain() noexcept;

  /// Sends copies of descriptors to the other side. `tag` names the message that they belong to.
  /// Blocks: until there is room. Errors: OSError, with EPIPE when nobody is there.
  void send_descriptors(std::uint32_t tag, std::span<const int> numbers);
  /// Those that were sent with `tag`; what was sent before them is closed. Errors: OSError when they are not there.
  std::vector<FileDescriptor> take_descriptors(std::uint32_t tag, std::size_t count);

 private:
  // The two lowest bits of a bell; 0: awake. Above them is counted how often somebody went to sleep, so that who has
  // woken one sleep, and was held up before it could say so, does not take a later sleep for rung.
  static constexpr std::uint32_t state_bits = 3;
  static constexpr std::uint32_t asleep = 1;
  static constexpr std::uint32_t rung = 2;

  /// Of what has arrived. False: there was nothing.
  bool take_in_one() noexcept;

  struct Arrived {
    std::uint32_t tag = 0;
    std::vector<FileDescriptor> descriptors;
  };

  void wake(Bell& bell, std::uint32_t seen) noexcept;

  FileDescriptor socket_;
  std::deque<Arrived> arrived_;
};

}  // namespace troupe
