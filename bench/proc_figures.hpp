#pragma once

/// \file
/// What the kernel says about processes, read from /proc.

#include <cstddef>
#include <cstdint>
#include <sys/types.h>
#include <vector>

namespace bench {

/// This process and all its descendants, this one last.
std::vector<pid_t> process_tree();

/// Processor time of all threads of these processes since they began, in nanoseconds.
std::uint64_t cpu_nanoseconds(const std::vector<pid_t>& pids);

/// Processor time that this process and its descendants take while this thread sleeps for three seconds, in % of a
/// core. Waits a moment first. Fails if there are fewer than `num_children` of them.
double idle_cpu_percent(std::size_t num_children);

/// Memory that only this process has: its private pages, clean and dirty.
std::uint64_t private_bytes(pid_t pid);

/// Memory of the calling process that is in RAM, shared pages included.
std::uint64_t resident_bytes();

}  // namespace bench
