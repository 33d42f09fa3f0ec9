#include <troupe/block_cache.hpp>
#include <troupe/runtime.hpp>

#include <algorithm>

namespace troupe {

namespace {

std::vector<BlockDepot*>& all_depots() {
  static auto* depots = new std::vector<BlockDepot*>;  // never destroyed, as what they are for may be static
  return *depots;
}

}  // namespace

BlockDepot& BlockDepot::make(std::size_t block_bytes) {
  detail::at_child_start(forget_threads_of_parent);
  return *all_depots().emplace_back(new BlockDepot{block_bytes});
}

// A thread of the parent may have been at work here. What it kept is lost to a forked process, as any thread's memory.
void BlockDepot::forget_threads_of_parent() {
  for (BlockDepot* depot : all_depots()) {
    new (&depot->mutex_) std::mutex;
    new (&depot->blocks_) std::vector<void*>;
  }
}

std::size_t BlockDepot::take(std::span<void*> places) noexcept {
  const std::lock_guard lock{mutex_};
  const std::size_t count = std::min(places.size(), blocks_.size());
  std::copy(blocks_.end() - static_cast<std::ptrdiff_t>(count), blocks_.end(), places.begin());
  blocks_.resize(blocks_.size() - count);
  return count;
}

void BlockDepot::give(std::span<void* const> blocks) noexcept {
  {
    const std::lock_guard lock{mutex_};
    const std::size_t count = std::min(blocks.size(), max_bytes / block_bytes_ - blocks_.size());
    try {
      blocks_.insert(blocks_.end(), blocks.begin(), blocks.begin() + static_cast<std::ptrdiff_t>(count));
      blocks = blocks.subspan(count);
    } catch (const std::bad_alloc&) {
      // Then all of them go.
    }
  }
  for (void* block : blocks) ::operator delete(detail::open_block(block, block_bytes_));
}

}  // namespace troupe
