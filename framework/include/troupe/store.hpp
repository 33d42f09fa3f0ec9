#pragma once

/// \file
/// Descriptors that any process of the program can come to have: the nursery, which outlives all others, keeps copies.
/// What holds shared memory, or travels in a message, is named by a ticket there.

#include <troupe/file_descriptor.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace troupe {

/// Names descriptors in the store. Random, never 0: who was not told it cannot guess it.
using Ticket = std::uint64_t;
/// One that nobody has yet. Errors: OSError.
Ticket new_ticket();

/// All of these: Thread: any. Errors: AssertionError without a Runtime; OSError when the nursery cannot be reached.
namespace store {

/// Most descriptors under one ticket.
inline constexpr std::size_t max_descriptors = 16;

/// Leaves copies of `descriptors` under `ticket`. They are kept for as long as this process, one forked from it, or
/// one that takes hold, lives and does not let go; however it ends. What nobody holds any more stays among the
/// `max_loose` youngest of those, because a message may be on its way that names it.
/// Shape: 1..max_descriptors, borrowed. A ticket that is known already keeps what it has. Blocks: no.
void hold(Ticket ticket, std::span<const int> descriptors);
/// Copies of what is under `ticket`, which this process holds from now on. Blocks: one round trip to the nursery, 0.1
/// ms. Errors: OSError with ENOENT when there is nothing.
std::vector<FileDescriptor> take_hold(Ticket ticket);
/// This process does not hold `ticket` any longer. Blocks: no. Nothing happens if it never did.
void let_go(Ticket ticket);

/// Leaves copies of `descriptors` for one who will be told the ticket: a connection in a message, for instance.
/// Shape: 1..max_descriptors, borrowed. Blocks: no.
Ticket deposit(std::span<const int> descriptors);
/// Takes what was deposited; once, so that the last copy elsewhere is the last copy. Blocks: one round trip to the
/// nursery. Errors: OSError with ENOENT when it was taken already, or left lying until there were max_loose younger
/// ones.
std::vector<FileDescriptor> withdraw(Ticket ticket);

/// Most tickets that nobody holds.
inline constexpr std::size_t max_loose = 1024;

}  // namespace store

}  // namespace troupe
