#pragma once

/// \file
/// The environment variables of this process, to be compared with and handed to others.

#include <cstdint>
#include <vector>

namespace troupe {

/// Every "NAME=value". Valid until the environment changes. Thread: caller, as getenv.
std::vector<const char*> environment_entries();
/// Equal for processes with the same environment, different otherwise (but for one in 2^64). Thread: caller.
std::uint64_t environment_hash();

}  // namespace troupe
