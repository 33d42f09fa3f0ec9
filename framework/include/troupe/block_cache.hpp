#pragma once

/// \file
/// Memory for objects of one size that are made and given up all the time, often by different threads: records of tasks,
/// letters to actors. Each thread keeps some blocks at hand and exchanges them with a depot in bundles, as Bonwick and
/// Adams describe ("Magazines and Vmem", USENIX 2001), so that most calls touch nothing that other threads do.

#include <troupe/thread_storage.hpp>

#include <array>
#include <cstddef>
#include <mutex>
#include <new>
#include <span>
#include <vector>
#if __has_include(<sanitizer/asan_interface.h>)
#include <sanitizer/asan_interface.h>
#endif

namespace troupe {

namespace detail {

/// Has AddressSanitizer report whoever touches a block that nobody has, as it does for memory given back to malloc.
inline void close_block([[maybe_unused]] void* block, [[maybe_unused]] std::size_t bytes) noexcept {
#ifdef ASAN_POISON_MEMORY_REGION
  ASAN_POISON_MEMORY_REGION(block, bytes);
#endif
}
inline void* open_block(void* block, [[maybe_unused]] std::size_t bytes) noexcept {
#ifdef ASAN_UNPOISON_MEMORY_REGION
  ASAN_UNPOISON_MEMORY_REGION(block, bytes);
#endif
  return block;
}

}  // namespace detail

/// Blocks of one size that no thread keeps. Thread: any.
class BlockDepot {
 public:
  /// What is more goes back to malloc, which keeps as much of its own at most.
  static constexpr std::size_t max_bytes = std::size_t{64} << 20U;

  /// Lives until the process ends.
  static BlockDepot& make(std::size_t block_bytes);

  /// Fills the beginning of `places`; returns how many.
  std::size_t take(std::span<void*> places) noexcept;
  void give(std::span<void* const> blocks) noexcept;

 private:
  explicit BlockDepot(std::size_t block_bytes) : block_bytes_(block_bytes) {}
  static void forget_threads_of_parent();

  const std::size_t block_bytes_;
  std::mutex mutex_;
  std::vector<void*> blocks_;  // guarded by mutex_
};

/// Blocks of `block_bytes`, aligned as operator new aligns them. Thread: any.
template <std::size_t block_bytes>
class BlockCache {
 public:
  /// Errors: std::bad_alloc.
  static void* take() {
    Kept& kept = ThreadStorage<Kept>::get();
    if (kept.count == 0) kept.count = depot_.take({kept.blocks.data(), bundle});
    if (kept.count == 0) return ::operator new(block_bytes);
    return detail::open_block(kept.blocks[--kept.count], block_bytes);
  }
  /// Takes a block back, whichever thread took it.
  static void give(void* block) noexcept {
    Kept& kept = ThreadStorage<Kept>::get();
    if (kept.count == kept.blocks.size()) depot_.give({kept.blocks.data() + (kept.count -= bundle), bundle});
    detail::close_block(block, block_bytes);
    kept.blocks[kept.count++] = block;
  }

 private:
  static constexpr std::size_t bundle = 128;

  struct Kept {
    Kept() = default;
    ~Kept() { depot_.give({blocks.data(), count}); }
    Kept(const Kept&) = delete;
    Kept& operator=(const Kept&) = delete;

    std::array<void*, 2 * bundle> blocks;
    std::size_t count = 0;
  };

  // Made before main: the copy of a process in which a thread just makes it would wait for that thread for ever.
  static inline BlockDepot& depot_ = BlockDepot::make(block_bytes);
};

}  // namespace troupe
