#include <troupe/error.hpp>
#include <troupe/log.hpp>
#include <troupe/pool.hpp>

#include "pool_core.hpp"

namespace troupe {

Pool::Pool(PoolOptions options) : core_(detail::PoolCore::create(options)) {}

Pool::~Pool() {
  if (!core_->is_ours()) return;  // a copy of the process that made it ends
  if (core_->state() == detail::PoolCore::State::running)
    get_logger().warning("unclosed running pool {}: call close() and join(), or terminate()", core_->name());
  core_->terminate();
  core_->join(no_deadline);
}

void Pool::close() { core_->close(); }

void Pool::terminate() { core_->terminate(); }

void Pool::join() { core_->join(no_deadline); }

bool Pool::join_until(Deadline deadline) { return core_->join(deadline); }

std::vector<pid_t> Pool::worker_pids() const { return core_->worker_pids(); }

const std::string& Pool::name() const noexcept { return core_->name(); }

std::size_t Pool::checked_chunksize(std::size_t chunksize) {
  if (chunksize == 0) throw ValueError("chunksize must be at least 1; leave it out for a good one");
  return chunksize;
}

}  // namespace troupe
