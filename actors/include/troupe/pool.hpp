#pragma once

/// \file
/// A pool of worker processes, with the interface of multiprocessing.Pool.
///
///     troupe::Pool pool{4};
///     std::vector<int> squares = pool.map(square, std::views::iota(0, 100));

#include <troupe/pool_options.hpp>
#include <troupe/pool_statistics.hpp>
#include <troupe/task_calls.hpp>

#include <chrono>
#include <cstddef>
#include <string>
#include <sys/types.h>
#include <vector>

namespace troupe {

/// Worker processes that run tasks for this process. Tasks are taken in the order of submission; a worker that dies
/// costs the task that it was running (WorkerDied) and is replaced, everything else goes on.
/// Workers are daemonic unless the options say otherwise: they end with this process and may not start processes. The
/// destructor terminates.
/// Thread: any. Only in the process that made it.
class Pool : public TaskCalls<> {
 public:
  /// Starts the workers. Blocks: until they are started, not until they are ready.
  /// Errors: ValueError for less than one worker and other options that make no sense; OSError when one cannot be
  /// started; AssertionError without a Runtime and in a daemonic process.
  explicit Pool(PoolOptions options = {});
  explicit Pool(int workers) : Pool(PoolOptions{.workers = workers}) {}
  /// Terminates and joins; logs a warning if the pool was neither closed nor terminated before.
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  /// Takes no more tasks; workers end when all are done. Never blocks; may be repeated.
  void close();
  /// Ends the workers now. What is not done fails with Cancelled. Never blocks; may be repeated.
  void terminate();
  /// Waits until the workers have ended and callbacks have returned. Blocks. Errors: ValueError while the pool is
  /// running; AssertionError in one of its callbacks.
  void join();
  /// The same with a bound; returns whether they have ended. Errors: as join.
  template <class Rep, class Period>
  bool join(std::chrono::duration<Rep, Period> timeout) {
    return join_until(deadline_after(timeout));
  }

  /// Changes how many workers the pool keeps. New ones are started, or the last ones end when they have done what they
  /// have begun; what waited for those goes to others. Never blocks for a task.
  /// Errors: ValueError for less than one or more than 4096, or when the pool is not running; OSError.
  void resize(int workers);

  /// What the pool does now, and what it has done so far. One moment; nothing is stopped for it. Thread: any.
  PoolStatistics statistics() const;
  /// The last hundred workers that ended without being told to, oldest first. Thread: any.
  std::vector<DeathRecord> deaths() const;

  /// How many workers the pool keeps.
  std::size_t num_workers() const noexcept { return detail::num_workers(core()); }
  /// Process ids of the workers that live now; shorter while one is being replaced. Thread: any.
  std::vector<pid_t> worker_pids() const;
  /// "Pool-1", or the name given.
  const std::string& name() const noexcept;

 private:
  bool join_until(Deadline deadline);
};

}  // namespace troupe
