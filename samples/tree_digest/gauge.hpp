#pragma once

/// \file
/// How far the digesting is: a bar on a terminal, a line now and then elsewhere. Both on standard error.

#include <troupe/progress.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace tree_digest {

class Gauge {
 public:
  /// Of so much to do. Begins now.
  Gauge(std::size_t files, std::uint64_t bytes);

  /// So much more is done.
  void advance(std::size_t files, std::uint64_t bytes);
  /// Shows that time passes. Call it while waiting.
  void refresh();

 private:
  using Clock = std::chrono::steady_clock;

  void print_if_due();

  std::size_t all_files_;
  std::uint64_t all_bytes_;
  std::size_t files_ = 0;
  std::uint64_t bytes_ = 0;
  troupe::Progress bar_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point next_line_;
};

}  // namespace tree_digest
