#pragma once

// The nursery as it is seen from outside, and what a process has open.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <sys/types.h>
#include <vector>

namespace troupe::test {

std::vector<pid_t> children_of(pid_t pid);

/// The only child that this process has. Errors: std::runtime_error if it has none, or several.
pid_t nursery_pid();

/// The pid of the nursery as a process tells it that is started for that. In any process of the program.
pid_t pid_of_starting_nursery();

/// How many descriptors this process has.
std::size_t num_descriptors();

/// The process's descriptors of what has `name` in its name, as paths in /proc.
std::vector<std::filesystem::path> descriptors_of(pid_t pid, const std::string& name = "");

/// The memory of all files that are among these, in bytes, each once.
std::uint64_t memory_of(const std::vector<std::filesystem::path>& descriptors);

/// Returns once the nursery has done all that it was told before, by whomever.
void wait_for_nursery();

/// So much is left in the store that it forgets what nobody holds and nothing carries.
void push_out_what_is_loose();

}  // namespace troupe::test
