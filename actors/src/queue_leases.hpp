#pragma once

/// \file
/// Items of a queue that were taken and are not done: kept until their taker says so, or has died; then somebody else
/// gets them.
///
///     get: copied into a place ─► place named with the taker's process ─► the item is out of the queue
///     done: the place is free again        taker dead: the place is named with the next taker
///
/// The naming is the one step at which an item changes hands.

#include <troupe/file_descriptor.hpp>

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace troupe::detail {

/// Those of the kernel's largest pid.
inline constexpr unsigned pid_bits = 22;
/// Tells a process from a later one with the same pid: the pid, and when it began, or just the pid if /proc cannot be
/// read. The pid is in the lowest `pid_bits`. Thread: any.
std::uint64_t process_key(pid_t pid);

/// One item. Written with the get lock, but for `owner`, which its taker sets to 0.
struct Lease {
  std::atomic<std::uint64_t> owner;  ///< key of the process; 0: the place is free
  std::uint64_t number;              ///< of the item
  std::uint32_t owner_thread;
  std::uint32_t deliveries;  ///< how often it was given to somebody
  std::uint32_t num_bytes;
  std::byte unused[36];
};
static_assert(sizeof(Lease) == 64);

/// Thread: who holds the get lock, unless said otherwise.
class QueueLeases {
 public:
  static constexpr std::size_t num_places = 1024;
  /// Room for one item's message; only what is used takes memory.
  static constexpr std::size_t place_bytes = 64 * 1024;
  static constexpr std::size_t bytes = num_places * (sizeof(Lease) + place_bytes);

  /// Maps the `bytes` of `file` from `offset` on. Errors: OSError.
  QueueLeases(int file, std::size_t offset);

  /// Keeps a copy of the message of item `number` for this thread. It is not the taker's before the item is out of the
  /// queue. Errors: Full when num_places items are not done; OSError without memory.
  void keep(std::uint64_t number, std::span<const std::byte> message);
  /// An item whose taker has died; null: there is none. Items from beyond `last_out` are in the queue still.
  Lease* find_orphan(std::uint64_t last_out);
  /// This thread takes such an item.
  static void take_over(Lease& lease);
  std::span<const std::byte> message_of(const Lease& lease) const;

  /// The oldest item that this thread has taken, or if it has none this process; null: there is none. Thread: any.
  Lease* oldest_taken();
  /// This process is done with the item. False: another thread was faster. Thread: any.
  [[nodiscard]] static bool end(Lease& lease);
  /// How many items are taken and not done. Thread: any.
  std::size_t size() const noexcept;

 private:
  Mapping memory_;
  std::span<Lease> places_;
  std::byte* messages_;
  int file_;
  std::size_t messages_offset_;
};

}  // namespace troupe::detail
