#pragma once

/// \file
/// Two connected ends for two processes of one program.

#include <troupe/connection.hpp>

#include <cstdint>
#include <utility>

namespace troupe {

enum class Duplex : std::uint8_t { no, yes };

/// A new pipe. With Duplex::yes both ends send and receive; else the first only receives, the second only sends. What
/// is sent lies in shared memory, up to 256 KiB each way until it is received; longer messages go through while the
/// other side receives. Needs no Runtime.
/// Thread: any. Errors: OSError.
std::pair<Connection, Connection> Pipe(Duplex duplex = Duplex::yes);

}  // namespace troupe
