// allocate: cut from the smallest free span that is large enough, or from a new arena.
// release:  one user less ──none left──► span free, joined with its neighbours ──all free──► arena retired
//                └──others──► pending, looked at again with the next calls

#include <troupe/error.hpp>
#include <troupe/shared_heap.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

namespace troupe {

namespace {

constexpr std::uint32_t max_serial = (std::uint32_t{1} << 24U) - 1;
/// How many blocks in use elsewhere each call looks at.
constexpr std::size_t pending_looks = 16;

std::size_t round_up(std::size_t bytes, std::size_t unit) { return (bytes + unit - 1) / unit * unit; }

}  // namespace

// The mutex is not held while the store is called: that waits for launches, and one of those may be a fork that waits
// for the registry of blocks.
SharedHeap::Block SharedHeap::allocate(std::ptrdiff_t bytes) {
  if (bytes < 0) throw ValueError("a block of shared memory cannot have " + std::to_string(bytes) + " bytes");
  const auto asked = static_cast<std::size_t>(bytes);
  if (asked > max_shared_arena_bytes)
    throw OSError(ENOMEM, "making " + std::to_string(asked) + " bytes of shared memory");
  const std::size_t wanted = round_up(std::max<std::size_t>(asked, 1), shared_block_alignment);
  Arenas empty;
  std::shared_ptr<SharedArena> added;
  std::size_t added_bytes = 0;
  Cut part;
  for (;;) {
    {
      const std::lock_guard lock{mutex_};
      auto place = free_.end();
      if (added) {
        // Cut from it even if another thread has freed enough meanwhile: an arena of which nothing was ever cut would
        // not be given back.
        const Ticket ticket = added->ticket();
        arenas_[ticket] = {.arena = added, .spans = {{0, {added_bytes, true, 0}}}, .backed_word_pages = {}};
        place = free_.emplace(added_bytes, ticket, 0).first;
      } else {
        look_at_pending(pending_looks, empty);
        place = free_.lower_bound({wanted, 0, 0});
        if (place == free_.end()) {
          look_at_pending(pending_.size(), empty);
          place = free_.lower_bound({wanted, 0, 0});
        }
      }
      if (place != free_.end()) {
        part = cut(*place, wanted);
        part.block.bytes = asked;
        break;
      }
      added_bytes = next_arena_bytes(wanted);
    }
    added = std::make_shared<SharedArena>(added_bytes);
  }
  give_up(empty);
  try {
    const Block& block = part.block;
    if (part.needs_backing) block.arena->back_with_memory(block.offset, part.back_from, block.offset + part.span_bytes);
    std::memset(block.arena->data(block.offset), 0, std::min(part.dirty_bytes, part.span_bytes));
    block.arena->begin_block(block.offset, block.serial);
  } catch (...) {
    give_back(part.block);
    throw;
  }
  return std::move(part.block);
}

std::size_t SharedHeap::next_arena_bytes(std::size_t bytes) {
  const std::size_t next = round_to_pages(std::max(next_arena_, bytes));
  if (next_arena_ < largest_doubled) next_arena_ *= 2;
  return next;
}

// Takes the first `wanted` bytes of a free span.
SharedHeap::Cut SharedHeap::cut(Free place, std::size_t wanted) {
  const auto [bytes, ticket, offset] = place;
  Books& books = arenas_.at(ticket);
  books.last_serial = books.last_serial % max_serial + 1;
  if (bytes > wanted) {
    books.spans[offset + wanted] = {.bytes = bytes - wanted, .is_free = true, .serial = 0};
    free_.emplace(bytes - wanted, ticket, offset + wanted);
  }
  free_.erase(place);
  books.spans[offset] = {.bytes = wanted, .is_free = false, .serial = books.last_serial};
  ++num_allocations_;

  const std::size_t end = offset + wanted;
  const std::size_t word_page = offset / shared_block_alignment * sizeof(std::uint64_t) / memory_page_bytes;
  Cut part{.block = {.arena = books.arena, .offset = offset, .bytes = 0, .serial = books.last_serial},
           .dirty_bytes = books.used_bytes > offset ? books.used_bytes - offset : 0,
           .back_from = std::max(books.backed_bytes, offset),
           .span_bytes = wanted,
           .needs_backing = end > books.backed_bytes};
  part.needs_backing |= books.backed_word_pages.insert(word_page).second;
  books.backed_bytes = std::max(books.backed_bytes, end);
  books.used_bytes = std::max(books.used_bytes, end);
  return part;
}

// A block that could not get its memory, and never began.
void SharedHeap::give_back(const Block& block) noexcept {
  Arenas empty;
  {
    const std::lock_guard lock{mutex_};
    Books& books = arenas_.at(block.arena->ticket());
    books.backed_bytes = std::min(books.backed_bytes, block.offset);
    books.backed_word_pages.clear();
    books.spans.at(block.offset).serial = 0;  // there is nothing to end
    try_free({block.arena->ticket(), block.offset, 0}, empty);
  }
  give_up(empty);
}

void SharedHeap::release(const Block& block) noexcept {
  block.arena->drop_user(block.offset, block.serial, block.bytes);
  Arenas empty;
  {
    const std::lock_guard lock{mutex_};
    const Pending released{block.arena->ticket(), block.offset, block.serial};
    if (!try_free(released, empty)) pending_.push_back(released);
    look_at_pending(pending_looks, empty);
  }
  give_up(empty);
}

// Whether there is nothing to do about this block any more.
bool SharedHeap::try_free(const Pending& block, Arenas& empty) {
  const auto found = arenas_.find(block.arena);
  if (found == arenas_.end()) return true;
  Books& books = found->second;
  auto span = books.spans.find(block.offset);
  if (span == books.spans.end() || span->second.is_free || span->second.serial != block.serial) return true;
  if (block.serial != 0 && !books.arena->end_block(block.offset, block.serial)) return false;

  ++num_frees_;
  span->second.is_free = true;
  if (const auto next = std::next(span); next != books.spans.end() && next->second.is_free) {
    free_.erase({next->second.bytes, block.arena, next->first});
    span->second.bytes += next->second.bytes;
    books.spans.erase(next);
  }
  if (span != books.spans.begin()) {
    if (const auto previous = std::prev(span); previous->second.is_free) {
      free_.erase({previous->second.bytes, block.arena, previous->first});
      previous->second.bytes += span->second.bytes;
      books.spans.erase(span);
      span = previous;
    }
  }
  if (span->second.bytes == books.arena->size_bytes() && span->second.bytes >= keep_below_bytes_) {
    empty.push_back(std::move(books.arena));
    arenas_.erase(found);
  } else {
    free_.emplace(span->second.bytes, block.arena, span->first);
  }
  return true;
}

void SharedHeap::look_at_pending(std::size_t count, Arenas& empty) {
  for (count = std::min(count, pending_.size()); count > 0; --count) {
    const Pending block = pending_.front();
    pending_.pop_front();
    if (!try_free(block, empty)) pending_.push_back(block);
  }
}

void SharedHeap::give_up(Arenas& empty) noexcept {
  for (const auto& arena : empty) arena->retire();
  empty.clear();
}

std::shared_ptr<SharedArena> SharedHeap::find(Ticket arena) const {
  const std::lock_guard lock{mutex_};
  const auto found = arenas_.find(arena);
  return found == arenas_.end() ? nullptr : found->second.arena;
}

SharedHeap::Statistics SharedHeap::statistics() const {
  const std::lock_guard lock{mutex_};
  Statistics now{.num_arenas = arenas_.size(),
                 .num_allocations = num_allocations_,
                 .num_frees = num_frees_,
                 .num_pending = pending_.size()};
  for (const auto& [ticket, books] : arenas_) now.arena_bytes += books.arena->size_bytes();
  return now;
}

std::vector<SharedHeap::Piece> SharedHeap::pieces() const {
  const std::lock_guard lock{mutex_};
  std::vector<Piece> all;
  for (const auto& [ticket, books] : arenas_)
    for (const auto& [offset, span] : books.spans) all.push_back({ticket, offset, span.bytes, span.is_free});
  return all;
}

void SharedHeap::leave() noexcept {
  const std::lock_guard lock{mutex_};
  Arenas empty;
  look_at_pending(pending_.size(), empty);
  give_up(empty);
  for (auto& [ticket, books] : arenas_) {
    const bool is_empty = books.spans.size() == 1 && books.spans.begin()->second.is_free;
    if (is_empty) {
      books.arena->retire();
    } else {
      books.arena->set_orphaned();
    }
  }
}

}  // namespace troupe
