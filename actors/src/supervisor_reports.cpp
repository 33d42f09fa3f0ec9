// What the supervisor tells about its pool.

#include "supervisor.hpp"
#include "worker.hpp"

#include <utility>

namespace troupe::detail {

namespace {

/// How many deaths a pool remembers.
constexpr std::size_t most_deaths = 100;

}  // namespace

void Supervisor::answer(PoolRequest& request) {
  switch (request.kind) {
    case PoolRequest::Kind::cancel: {
      auto& wanted = static_cast<CancelRequest&>(request);
      wanted.done = cancel(wanted);
      break;
    }
    case PoolRequest::Kind::statistics: static_cast<StatisticsRequest&>(request).statistics = statistics(); break;
    case PoolRequest::Kind::deaths:
      static_cast<DeathsRequest&>(request).deaths.assign(deaths_.begin(), deaths_.end());
      break;
  }
  request.answered();
}

PoolStatistics Supervisor::statistics() {
  drain_results();
  PoolStatistics all{.done = num_done_,
                     .failed = num_failed_,
                     .cancelled = num_cancelled_,
                     .retried = num_retried_,
                     .deaths = num_deaths_,
                     .median_time = task_time_.percentile(0.5),
                     .time_90 = task_time_.percentile(0.9),
                     .time_99 = task_time_.percentile(0.99),
                     .longest_time = task_time_.longest(),
                     .workers = {}};
  for (const auto& slot : core_.slots()) {
    if (slot->number >= core_.num_workers() && !slot->child) continue;
    all.workers.push_back(statistics_of(*slot));
    if (!slot->in_flight.empty() && slot->in_flight.front().has_begun()) ++all.running;
  }
  all.queued = static_cast<std::size_t>(core_.num_outstanding()) - all.running;
  return all;
}

WorkerStatistics Supervisor::statistics_of(WorkerSlot& slot) {
  const auto state = [&] {
    if (!slot.child) return slot.starting ? WorkerState::starting : WorkerState::absent;
    if (slot.is_leaving()) return WorkerState::leaving;
    if (!slot.has_started()) return WorkerState::starting;
    if (slot.is_held_up()) return WorkerState::held_up;
    return slot.in_flight.empty() ? WorkerState::idle : WorkerState::busy;
  }();
  return {.state = state,
          .pid = slot.pid.load(),
          .tasks = slot.tasks,
          .busy = slot.busy,
          .resident_bytes = 0,
          .restarts = slot.restarts};
}

void Supervisor::remember(const DeathRecord& death) {
  ++num_deaths_;
  deaths_.push_back(death);
  if (deaths_.size() > most_deaths) deaths_.pop_front();
}

}  // namespace troupe::detail

namespace troupe {

std::string_view to_string(WorkerState state) noexcept {
  switch (state) {
    case WorkerState::absent: return "absent";
    case WorkerState::starting: return "starting";
    case WorkerState::idle: return "idle";
    case WorkerState::busy: return "busy";
    case WorkerState::held_up: return "held up";
    case WorkerState::leaving: return "leaving";
  }
  return "unknown";
}

}  // namespace troupe
