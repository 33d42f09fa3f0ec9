#include "stored_memory.hpp"

#include <troupe/arena.hpp>
#include <troupe/queue_cell.hpp>
#include <troupe/shared_arena.hpp>

#include "slab_registry.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe {

std::uint64_t mark_of(int descriptor) noexcept {
  // Without the seal it could be cut off while somebody reads it.
  const int seals = ::fcntl(descriptor, F_GET_SEALS);
  std::uint64_t mark = 0;
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) return 0;
  return ::pread(descriptor, &mark, sizeof mark, 0) == static_cast<ssize_t>(sizeof mark) ? mark : 0;
}

std::optional<bool> is_named_by_messages(int descriptor) noexcept {
  switch (mark_of(descriptor)) {
    case detail::SlabHead::right_mark: return detail::slab_has_messages(descriptor);
    case SharedArena::right_mark: return SharedArena::has_messages(descriptor);
    case ReturnTable::right_mark: return Arena::has_blocks_out(descriptor);
    default: return std::nullopt;
  }
}

std::optional<QueueProgress> queue_progress(int descriptor) noexcept {
  QueueCounts counts{};
  if (mark_of(descriptor) != QueueCounts::right_mark ||
      ::pread(descriptor, &counts, sizeof counts, 0) != static_cast<ssize_t>(sizeof counts))
    return std::nullopt;
  const QueueProgress plain{.num_put = counts.puts.count, .num_gone = counts.gets.count};
  if (counts.is_leasing == 0) return plain;
  return QueueProgress{.num_put = plain.num_put, .num_gone = counts.done >= plain.num_put ? plain.num_put : 0};
}

std::uint64_t memory_taken(int descriptor) noexcept {
  constexpr std::uint64_t block_bytes = 512;
  struct stat status{};
  return ::fstat(descriptor, &status) == 0 ? static_cast<std::uint64_t>(status.st_blocks) * block_bytes : 0;
}

}  // namespace troupe
