#pragma once

/// \file
/// What a new process does from its first statement of ours to its last.

#include <troupe/child.hpp>

#include "self.hpp"

#include <functional>

namespace troupe {

/// Runs user code as a process does: 0, or 1 after a report on stderr of what it threw.
int run_reporting(const std::function<void()>& code) noexcept;

/// In a process that a fork of its parent has just made. `parent_lifeline` and `parent_connection` are descriptors of
/// the parent that came along.
[[noreturn]] void run_forked_child(const LaunchSpec& spec, Identity identity, int parent_lifeline,
                                   int parent_connection) noexcept;

/// Makes the null device standard input.
void replace_standard_input() noexcept;

}  // namespace troupe
