#include <troupe/thread_pool.hpp>

#include <troupe/error.hpp>
#include <troupe/log.hpp>

#include "thread_pool_core.hpp"

#include <utility>

namespace troupe {

namespace {

Ref<detail::ThreadPoolCore> start(ThreadPoolOptions options) {
  auto core = make_ref<detail::ThreadPoolCore>(std::move(options));
  try {
    core->start();
  } catch (...) {
    core->terminate();
    core->join(no_deadline);
    throw;
  }
  return core;
}

}  // namespace

ThreadPool::ThreadPool(ThreadPoolOptions options) : ThreadCalls(start(std::move(options)), {}, {}) {}

ThreadPool::~ThreadPool() {
  if (!core().is_ours()) {  // in a copy of the process, where the threads are not: nothing can be joined
    release_core().release();
    return;
  }
  if (core().state() == detail::ThreadPoolCore::State::running)
    get_logger().warning("unclosed running pool {}: call close() and join(), or terminate()", name());
  core().terminate();
  if (core().is_own_thread())
    core().abandon();
  else
    core().join(no_deadline);
}

void ThreadPool::close() { core().close(); }

void ThreadPool::terminate() { core().terminate(); }

void ThreadPool::join() { join_until(no_deadline); }

bool ThreadPool::join_until(Deadline deadline) {
  if (core().is_own_thread())
    throw AssertionError(name() + ": its tasks and callbacks may not join() it, which would wait for them to return");
  return core().join(deadline);
}

void ThreadPool::resize(int workers) { core().resize(workers); }

PoolStatistics ThreadPool::statistics() const { return core().statistics(); }

const std::string& ThreadPool::name() const noexcept { return core().name(); }

}  // namespace troupe
