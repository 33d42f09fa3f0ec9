#pragma once

/// \file
/// A worker process: reads tasks from its ring, runs them, writes results.

#include <troupe/bell.hpp>
#include <troupe/callable.hpp>

#include <atomic>
#include <cstdint>
#include <span>
#include <string>

namespace troupe::detail {

/// The page that a pool shares with all its workers.
struct PoolPage {
  Bell::Word bell;                             ///< rung after every result
  std::atomic<std::uint32_t> has_initializer;  ///< the first frame of every worker is the initializer's
};

/// The entry point of worker processes. Descriptors, in order: slot file, pool page, task arena, result arena, eventfd.
CodeRef worker_entry();

/// A readable name of an encoded task, as in "square #12". Never throws.
std::string task_name(std::span<const std::uint64_t> words);
/// Its arguments in short, as in "(3, \"x\")". Never throws.
std::string task_arguments(std::span<const std::uint64_t> words);

}  // namespace troupe::detail
