#pragma once

/// \file
/// Shared memory for what is too large for a ring: one process allocates, others read in place.
///
/// An arena is a memfd with a large, mostly empty address range. The books are private to the allocating process, so
/// nobody else can damage them; all that others write is a byte per block that says "given back", and a count of those.

#include <troupe/file_descriptor.hpp>
#include <troupe/ring.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <vector>

namespace troupe {

/// Address range of an arena. Only what is used takes memory.
inline constexpr std::size_t arena_bytes = std::size_t{64} << 30U;
/// Most blocks that are out at once.
inline constexpr std::size_t max_arena_blocks = 1024 * 1024;
/// Freed memory that an arena keeps warm; what is beyond goes back to the system at once, and all of it before an arena
/// says that there is no memory.
inline constexpr std::size_t arena_keep_bytes = std::size_t{256} << 20U;

/// The beginning of an arena's memfd.
struct ReturnTable {
  static constexpr std::uint64_t right_mark = 0x73656761'73656d72;
  using Mark = std::atomic<std::uint8_t>;

  std::atomic<std::uint64_t> mark;  ///< right_mark, once a block was out
  /// How many blocks were given out and not taken back by the allocating end itself, modulo 2^32. Written by that end.
  std::atomic<std::uint32_t> num_given;
  /// How often blocks were given back, modulo 2^32; may lag behind the marks, as a reader may be killed between the
  /// two.
  std::atomic<std::uint32_t> count;
  alignas(64) Mark marks[max_arena_blocks];  ///< by ticket: 1, the block was given back
};

/// What the table takes, in whole pages; the first block lies behind it.
inline constexpr std::size_t arena_table_bytes = round_to_pages(sizeof(ReturnTable));

/// The allocating end. Thread: any. The memory goes back to the system when all ends are closed.
class Arena {
 public:
  struct Block {
    std::byte* data = nullptr;
    std::size_t bytes = 0;
    SegmentRef segment;  ///< as it goes into a frame, `words` set to what fits
  };

  /// Makes a new, empty arena, where at most `max_blocks` may be out at once. Errors: OSError.
  explicit Arena(const std::string& name, std::size_t max_blocks = max_arena_blocks);
  /// Takes over the allocating end of an arena that another process made and nobody has allocated from.
  explicit Arena(FileDescriptor file);

  /// A block of at least `bytes` bytes, cleared if `zeroed`.
  /// Errors: OSError when there is no memory, Full when too many blocks are out or the address range is used up.
  Block allocate(std::size_t bytes, bool zeroed);
  /// Takes a block back. Names it by its ticket.
  void release(std::uint64_t ticket) noexcept;

  int file() const noexcept { return file_.get(); }
  /// Blocks that are out now, those given back by readers and not yet noticed included.
  std::size_t num_blocks_out() const;
  /// Whether blocks are out of an arena whose allocating end is gone. Thread: any. `file` is one of an arena.
  static bool has_blocks_out(int file) noexcept;

 private:
  struct Place {
    std::uint64_t offset = 0;
    std::size_t size_class = 0;    // bytes of address range, a power of two
    std::size_t backed_bytes = 0;  // prefix that has memory
    std::size_t dirty_bytes = 0;   // prefix that may hold old data
  };

  void map(const std::string& name);
  Place take_place(std::size_t size_class);
  void back_with_memory(Place& place, std::size_t bytes);
  void give_memory_back(Place& place) noexcept;
  void give_free_memory_back() noexcept;
  void free_place(Place place) noexcept;
  void collect_returned() noexcept;
  void start_over() noexcept;

  FileDescriptor file_;
  std::size_t max_blocks_ = max_arena_blocks;
  Mapping memory_;
  ReturnTable* returned_ = nullptr;  // written by readers

  mutable std::mutex mutex_;
  // Guarded by mutex_:
  std::uint64_t end_ = 0;                           // first offset never handed out
  std::map<std::size_t, std::vector<Place>> free_;  // by size class
  std::size_t free_backed_bytes_ = 0;
  std::vector<Place> out_;  // by ticket; size_class 0: ticket unused
  std::vector<std::uint32_t> free_tickets_;
  std::size_t num_out_ = 0;
  std::uint32_t num_collected_ = 0;  // what the count of returns said when blocks were last collected
};

/// A reading end. Thread: any.
class ArenaView {
 public:
  /// Maps the arena behind `file`. `may_release`: this reader gives blocks back. Errors: OSError.
  ArenaView(int file, bool may_release);

  /// The words of a segment, in place. `segment` is a copy: where it lies another process may change it meanwhile.
  /// Errors: CodecError when `segment` reaches outside the arena.
  std::span<const std::uint64_t> words(SegmentRef segment) const;
  /// Tells the allocating end that nobody here needs the block any more.
  void release(std::uint64_t ticket) const noexcept;

 private:
  Mapping returned_map_;
  Mapping memory_;
};

}  // namespace troupe
