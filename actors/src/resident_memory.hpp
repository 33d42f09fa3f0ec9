#pragma once

#include <cstdint>
#include <sys/types.h>

namespace troupe::detail {

/// Memory that a process has in use, in bytes, as the kernel counts it: what it shares with others included; 0 if it
/// has ended. Thread: any. Reads /proc.
std::uint64_t resident_bytes(pid_t pid) noexcept;

}  // namespace troupe::detail
