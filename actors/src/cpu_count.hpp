#pragma once

/// \file
/// How many processors a process may use.

#include <filesystem>
#include <optional>
#include <string_view>

namespace troupe::detail {

/// What the control groups (version 2) of a process allow, rounded up; empty: no limit, or no such groups. `membership`
/// is the text of /proc/<pid>/cgroup, `root` where the groups are mounted. Thread: any. Reads files.
std::optional<int> cgroup_cpu_limit(std::string_view membership, const std::filesystem::path& root = "/sys/fs/cgroup");

}  // namespace troupe::detail
