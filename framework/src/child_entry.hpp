#pragma once

/// \file
/// What a new process does from its first statement of ours to its last.

#include <troupe/child.hpp>

#include "self.hpp"

#include <cstdint>
#include <functional>

namespace troupe {

/// Runs user code as a process does: 0, or 1 after a report on stderr of what it threw.
int run_reporting(const std::function<void()>& code) noexcept;

/// What came along from the parent by a fork.
struct Parent {
  int lifeline = -1;
  int door = -1;
  const NurseryLink* nursery = nullptr;
  std::uint64_t nursery_environment = 0;
  int gate = -1;  // see wait_at_gate
  int key = -1;
};
/// In a process that a fork of its parent has just made.
[[noreturn]] void run_forked_child(const LaunchSpec& spec, Identity identity, const Parent& parent) noexcept;

/// Makes the null device standard input.
void replace_standard_input() noexcept;

}  // namespace troupe
