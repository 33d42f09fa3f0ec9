#pragma once

/// \file
/// The shared-memory heap of a process: allocates blocks that other processes can use, from arenas of its own.

#include <troupe/shared_arena.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <tuple>
#include <vector>

namespace troupe {

/// Cuts blocks from arenas and joins them again when they are free. Arenas double in size, from one page up to
/// `largest_doubled`; a larger block gets one of its own size. An arena that is empty is given back if it has at least
/// `keep_below_bytes`. The books are private to this process: nobody else can damage them. Thread: any.
class SharedHeap {
 public:
  static constexpr std::size_t first_arena_bytes = 4096;
  static constexpr std::size_t largest_doubled = std::size_t{4} << 20U;

  struct Block {
    std::shared_ptr<SharedArena> arena;
    std::size_t offset = 0;
    std::size_t bytes = 0;  // as asked for
    std::uint32_t serial = 0;
  };
  /// Part of an arena.
  struct Piece {
    Ticket arena = 0;
    std::size_t offset = 0;
    std::size_t bytes = 0;
    bool is_free = false;
  };
  struct Statistics {
    std::size_t num_arenas = 0;
    std::size_t arena_bytes = 0;
    std::size_t num_allocations = 0;
    std::size_t num_frees = 0;
    std::size_t num_pending = 0;  ///< let go of here, in use elsewhere when last looked
  };

  explicit SharedHeap(std::size_t keep_below_bytes = largest_doubled) : keep_below_bytes_(keep_below_bytes) {}
  SharedHeap(const SharedHeap&) = delete;
  SharedHeap& operator=(const SharedHeap&) = delete;

  /// A block of `bytes` zero bytes with one user; 0 is legal. Aligned to 16.
  /// Errors: ValueError for a negative size; OSError without memory; AssertionError without a Runtime.
  Block allocate(std::ptrdiff_t bytes);
  /// One user less in this process. The block is free at once if there are no others, else when somebody allocates or
  /// frees after their end.
  void release(const Block& block) noexcept;

  /// The arena with that ticket, null if it is not of this heap.
  std::shared_ptr<SharedArena> find(Ticket arena) const;
  Statistics statistics() const;
  /// All arenas, cut up as they are: by arena, then by offset.
  std::vector<Piece> pieces() const;
  /// The process ends: arenas without blocks are given back, the others are for those who use them.
  void leave() noexcept;

 private:
  struct Span {
    std::size_t bytes = 0;
    bool is_free = false;
    std::uint32_t serial = 0;
  };
  struct Books {
    std::shared_ptr<SharedArena> arena;
    std::map<std::size_t, Span> spans;  // by offset, without gaps
    std::set<std::size_t> backed_word_pages;
    std::size_t backed_bytes = 0;  // memory was got for what is below
    std::size_t used_bytes = 0;    // what is beyond was never used, and is zero
    std::uint32_t last_serial = 0;
  };
  using Free = std::tuple<std::size_t, Ticket, std::size_t>;  // bytes, arena, offset
  struct Pending {
    Ticket arena = 0;
    std::size_t offset = 0;
    std::uint32_t serial = 0;
  };
  struct Cut {
    Block block;
    std::size_t dirty_bytes = 0;
    std::size_t back_from = 0;
    std::size_t span_bytes = 0;
    bool needs_backing = false;
  };
  using Arenas = std::vector<std::shared_ptr<SharedArena>>;

  std::size_t next_arena_bytes(std::size_t bytes);
  Cut cut(Free place, std::size_t wanted);
  void give_back(const Block& block) noexcept;
  void look_at_pending(std::size_t count, Arenas& empty);
  bool try_free(const Pending& block, Arenas& empty);
  static void give_up(Arenas& empty) noexcept;

  const std::size_t keep_below_bytes_;
  mutable std::mutex mutex_;
  // Guarded by mutex_:
  std::map<Ticket, Books> arenas_;
  std::set<Free> free_;
  std::deque<Pending> pending_;
  std::size_t next_arena_ = first_arena_bytes;
  std::size_t num_allocations_ = 0;
  std::size_t num_frees_ = 0;
};

}  // namespace troupe
