#include <troupe/error.hpp>
#include <troupe/log.hpp>
#include <troupe/pool.hpp>

#include "pool_core.hpp"
#include "pool_requests.hpp"
#include "resident_memory.hpp"

#include <utility>

namespace troupe {

Pool::Pool(PoolOptions options) : TaskCalls(detail::PoolCore::create(std::move(options)), {}, {}) {}

Pool::~Pool() {
  if (!core().is_ours()) return;  // a copy of the process that made it ends
  if (core().state() == detail::PoolCore::State::running)
    get_logger().warning("unclosed running pool {}: call close() and join(), or terminate()", name());
  core().terminate();
  if (!CallbackThread::is_current()) core().join(no_deadline);
}

void Pool::close() { core().close(); }

void Pool::terminate() { core().terminate(); }

void Pool::join() { join_until(no_deadline); }

bool Pool::join_until(Deadline deadline) {
  if (CallbackThread::is_current())
    throw AssertionError(name() + ": a callback may not join() a pool, which would wait for it to return");
  return core().join(deadline);
}

void Pool::resize(int workers) { core().resize(workers); }

PoolStatistics Pool::statistics() const {
  auto request = make_ref<detail::StatisticsRequest>();
  core().ask(request);
  for (WorkerStatistics& worker : request->statistics.workers)
    if (worker.pid != 0) worker.resident_bytes = detail::resident_bytes(worker.pid);
  return std::move(request->statistics);
}

std::vector<DeathRecord> Pool::deaths() const {
  auto request = make_ref<detail::DeathsRequest>();
  core().ask(request);
  return std::move(request->deaths);
}

std::vector<pid_t> Pool::worker_pids() const { return core().worker_pids(); }

const std::string& Pool::name() const noexcept { return core().name(); }

}  // namespace troupe
