#pragma once

/// \file
/// What the nursery sees of the shared memory that it keeps, by its descriptor.

#include <cstdint>
#include <optional>

namespace troupe {

/// What kind of memory a file of ours holds: its first word, or 0 when nobody may rely on its size or there is none.
std::uint64_t mark_of(int descriptor) noexcept;

/// Whether a message on its way may name something in this memory: in a slab or an arena of blocks something that a
/// message counts, in an arena of messages a block that is out. Nothing: it is none of these.
/// Reads the counts that the processes keep; one that was killed while it changed them leaves one too many at most.
std::optional<bool> is_named_by_messages(int descriptor) noexcept;

/// How many items were put into the queue that this is the memory of, and how many of these, from the first on, nobody
/// can get any more.
struct QueueProgress {
  std::uint64_t num_put = 0;
  std::uint64_t num_gone = 0;
};
/// Both may lack one that a process has moved which was killed before it counted. Nothing: it is none of a queue.
std::optional<QueueProgress> queue_progress(int descriptor) noexcept;

/// The memory that it takes, in bytes; 0 for what takes none.
std::uint64_t memory_taken(int descriptor) noexcept;

}  // namespace troupe
