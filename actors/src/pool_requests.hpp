#pragma once

/// \file
/// What other threads ask a pool's supervisor, and wait for.

#include <troupe/completion.hpp>
#include <troupe/pool_statistics.hpp>
#include <troupe/task_options.hpp>

#include <atomic>
#include <vector>

namespace troupe::detail {

/// A question, and room for the answer. Thread: the asker's; the supervisor's from `tell` until `answered`.
class PoolRequest : public Shared {
 public:
  enum class Kind : std::uint8_t { cancel, statistics, deaths };
  explicit PoolRequest(Kind what) : kind(what) {}

  const Kind kind;

  void answered() noexcept {
    is_answered_.store(true, std::memory_order_release);
    is_answered_.notify_all();
  }
  /// Blocks: until the thread that runs the supervisor has come to it, which takes microseconds.
  void wait() const noexcept { is_answered_.wait(false, std::memory_order_acquire); }

 private:
  std::atomic<bool> is_answered_{false};
};

class CancelRequest final : public PoolRequest {
 public:
  CancelRequest(std::vector<Ref<TaskRecord>> which, CancelOptions how)
      : PoolRequest(Kind::cancel), tasks(std::move(which)), options(how) {}
  const std::vector<Ref<TaskRecord>> tasks;
  const CancelOptions options;
  bool done = false;
};

class StatisticsRequest final : public PoolRequest {
 public:
  StatisticsRequest() : PoolRequest(Kind::statistics) {}
  PoolStatistics statistics;
};

class DeathsRequest final : public PoolRequest {
 public:
  DeathsRequest() : PoolRequest(Kind::deaths) {}
  std::vector<DeathRecord> deaths;
};

}  // namespace troupe::detail
