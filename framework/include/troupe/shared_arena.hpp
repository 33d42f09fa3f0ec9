#pragma once

/// \file
/// A piece of shared memory that blocks are cut from, as the process that made it and those that use its blocks map it.
/// The store keeps it for whoever is told its ticket; nothing of it appears in /dev/shm.

#include <troupe/file_descriptor.hpp>
#include <troupe/store.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace troupe {

/// Blocks begin at multiples of this.
inline constexpr std::size_t shared_block_alignment = 16;
/// Most that one arena can hold.
inline constexpr std::size_t max_shared_arena_bytes = std::size_t{1} << 46U;

/// One arena, mapped into this process. It holds its ticket in the store for as long as it lives. Thread: any.
///
/// Beside its data there is one word for each place where a block can begin: which block begins there (its *serial*, 0:
/// none), how many handles of all processes there are to it (*users*), and how many messages are on their way with it
/// (*messages*). Each change is one compare-and-swap, so that a process killed at any instruction leaves counts that
/// are exact, but for its own; and a handle to a block that is gone is always told from one to its successor.
class SharedArena {
 public:
  /// The first word of its memory.
  static constexpr std::uint64_t right_mark = 0x747270'6172656e61;

  /// Makes an arena of `bytes`, a multiple of the page size. Memory is taken as blocks need it.
  /// Errors: OSError naming the step; AssertionError without a Runtime.
  explicit SharedArena(std::size_t bytes);
  /// Maps the one that another process made. Blocks: a round trip to the nursery.
  /// Errors: OSError with ENOENT when it is gone; CodecError when the ticket names something else.
  static SharedArena* open(Ticket ticket);
  ~SharedArena();
  SharedArena(const SharedArena&) = delete;
  SharedArena& operator=(const SharedArena&) = delete;

  Ticket ticket() const noexcept { return ticket_; }
  std::size_t size_bytes() const noexcept { return bytes_; }
  std::byte* data(std::size_t offset) const noexcept { return data_ + offset; }
  /// Whether a block of `bytes` may lie at `offset`.
  bool has_room(std::uint64_t offset, std::uint64_t bytes) const noexcept {
    return fits(bytes_, offset, bytes);
  }

  // --- For the process that made it ---

  /// Gets memory for [begin, end) and for the word at `offset`, before it is touched: running out is an error here and
  /// would be SIGBUS later. Errors: OSError.
  void back_with_memory(std::size_t offset, std::size_t begin, std::size_t end);
  /// A block begins at `offset`, with one user.
  void begin_block(std::size_t offset, std::uint32_t serial) noexcept;
  /// Ends the block if nobody uses it and no message is on its way with it; returns whether it has ended.
  bool end_block(std::size_t offset, std::uint32_t serial) noexcept;
  /// Gives all memory back to the system. Nobody may use a block.
  void retire() noexcept;
  /// From now on nobody cuts blocks from it any more: those that are there are given back by their last users.
  void set_orphaned() noexcept;

  // --- For all ---

  /// Whether a message is on its way with a block of the arena behind `file`.
  static bool has_messages(int file) noexcept;
  /// One handle less to a block of the arena behind `file`: that of a process that was killed. Nothing happens if it is
  /// no such file, or the block is gone.
  static void drop_user_of_dead(int file, std::uint64_t offset, std::uint64_t serial, std::uint64_t bytes) noexcept;
  /// Whether its maker has given it back.
  bool is_retired() const noexcept;
  /// One more handle; `from_message`: it came in a message, which counted until now. False if the block is gone.
  /// Errors: RuntimeError when there are too many.
  [[nodiscard]] bool add_user(std::size_t offset, std::uint32_t serial, bool from_message);
  /// One more message on its way. False if the block is gone. Errors: RuntimeError when there are too many.
  [[nodiscard]] bool add_message(std::size_t offset, std::uint32_t serial);
  /// One message less, which has not arrived. The caller is a user of the block.
  void drop_message(std::size_t offset, std::uint32_t serial) noexcept;
  /// One handle less to a block of `bytes`.
  void drop_user(std::size_t offset, std::uint32_t serial, std::size_t bytes) noexcept;

 private:
  struct Control;
  static bool fits(std::size_t size, std::uint64_t offset, std::uint64_t bytes) noexcept {
    return offset % shared_block_alignment == 0 && offset < size && bytes <= size - offset;
  }
  using Word = std::atomic<std::uint64_t>;

  SharedArena(Ticket ticket, FileDescriptor file);
  void map(std::size_t bytes);
  Word& word(std::size_t offset) const noexcept { return words_[offset / shared_block_alignment]; }
  void punch(std::size_t begin, std::size_t end) const noexcept;

  Ticket ticket_ = 0;
  FileDescriptor file_;
  Mapping memory_;
  Control* control_ = nullptr;
  Word* words_ = nullptr;
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

/// Most users, and most messages, that a block can have.
inline constexpr std::uint64_t max_block_users = (std::uint64_t{1} << 20U) - 1;

}  // namespace troupe
