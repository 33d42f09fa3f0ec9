#pragma once

/// \file
/// What an input of connection_fuzz begins with: a byte that says what the rest is, and one that says in pieces of how
/// many bytes (less one) it comes.

#include <cstdint>

namespace fuzz {

enum Part : std::uint8_t { frames = 0, frames_with_maximum = 1, listener = 2, client = 3, lane = 4 };

/// The words of a lane's control, before what lies in its ring from `head` on.
struct LanePositions {
  std::uint64_t tail = 0;
  std::uint64_t head = 0;
  std::uint64_t reading_until = 0;
  std::uint64_t spoiled = 0;
};

}  // namespace fuzz
