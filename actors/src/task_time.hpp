#pragma once

/// \file
/// How long a pool's tasks take.

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace troupe::detail {

/// An average that forgets, which decides how far ahead workers are fed, and a histogram that does not. Thread: actor.
class TaskTime {
 public:
  void learn(std::chrono::nanoseconds busy) noexcept {
    const auto ns = static_cast<double>(busy.count());
    // A single one that the kernel has held up for milliseconds says nothing about the others; a second one does.
    if (known_)
      mean_ns_ += (std::min(ns, std::max(most_growth * mean_ns_, last_ns_)) - mean_ns_) / 8;
    else
      mean_ns_ = ns;
    last_ns_ = ns;
    known_ = true;
    ++counts_[bucket_of(static_cast<std::uint64_t>(busy.count()))];
    longest_ = std::max(longest_, busy);
  }
  bool known() const noexcept { return known_; }
  /// So short that waking a sleeping worker would cost more than running the task behind others.
  bool is_short() const noexcept { return known_ && mean_ns_ < 50'000; }
  /// So short that giving it out takes as long as running it.
  bool is_tiny() const noexcept { return known_ && mean_ns_ < 700; }
  /// How many tasks a worker may hold: about 200 us of work, 1 for long tasks and while nothing is known.
  std::size_t depth() const noexcept {
    if (!known_ || mean_ns_ > 1'000'000) return 1;
    return 1 + std::min(most_ahead, static_cast<std::size_t>(work_ahead_ns / std::max(mean_ns_, 1.0)));
  }
  /// How long `count` tasks are likely to take, in nanoseconds.
  double backlog_ns(std::size_t count) const noexcept { return mean_ns_ * static_cast<double>(count); }

  /// The time that `share` (0 to 1) of all tasks stayed below, a quarter too long at most; 0 when there were none.
  std::chrono::nanoseconds percentile(double share) const noexcept {
    std::uint64_t total = 0;
    for (const std::uint64_t count : counts_) total += count;
    const auto wanted = static_cast<std::uint64_t>(share * static_cast<double>(total));
    std::uint64_t seen = 0;
    for (std::size_t bucket = 0; bucket < counts_.size(); ++bucket) {
      seen += counts_[bucket];
      if (seen > wanted || (seen == total && total > 0)) return std::min(end_of(bucket), longest_);
    }
    return {};
  }
  std::chrono::nanoseconds longest() const noexcept { return longest_; }

 private:
  /// Work that a worker may hold: enough to be busy until somebody looks, little enough to be fair.
  static constexpr double work_ahead_ns = 200'000;
  static constexpr std::size_t most_ahead = 1024;
  /// So many times the average does a single task count at most.
  static constexpr double most_growth = 8;

  /// Four buckets for every power of two.
  static std::size_t bucket_of(std::uint64_t ns) noexcept {
    if (ns < 4) return static_cast<std::size_t>(ns);
    const auto power = static_cast<std::size_t>(std::bit_width(ns)) - 1;
    return 4 * (power - 1) + static_cast<std::size_t>((ns >> (power - 2)) & 3U);
  }
  static std::chrono::nanoseconds end_of(std::size_t bucket) noexcept {
    if (bucket < 4) return std::chrono::nanoseconds{bucket + 1};
    const std::size_t power = bucket / 4 + 1;
    return std::chrono::nanoseconds{(bucket % 4 + 5) << (power - 2)};
  }

  double mean_ns_ = 0;
  double last_ns_ = 0;
  bool known_ = false;
  std::array<std::uint64_t, 256> counts_{};
  std::chrono::nanoseconds longest_{0};
};

}  // namespace troupe::detail
