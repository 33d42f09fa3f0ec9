#pragma once

/// \file
/// A condition between processes: waiting, under a lock, until another process says that something has changed.
///
///     const std::lock_guard guard{condition};
///     condition.wait_for([&] { return stock.load() > 0; });

#include <troupe/bell.hpp>
#include <troupe/condition_cell.hpp>
#include <troupe/lock.hpp>
#include <troupe/sync_slab.hpp>

#include <chrono>
#include <cstddef>

namespace troupe {

struct ConditionOptions {
  /// How many threads can wait at the same time, 1 to 7154; each takes 9 bytes.
  std::size_t max_waiters = 224;
};

/// A condition and its lock. Copies are the same condition. Thread: any.
class Condition {
 public:
  /// With an RLock of its own. Errors of both: AssertionError without a Runtime, OSError without memory, ValueError for
  /// other max_waiters.
  explicit Condition(ConditionOptions options = {}) : Condition(RLock{}, options) {}
  /// With a Lock or RLock that is there already.
  explicit Condition(AnyLock lock, ConditionOptions options = {});

  /// The lock's own functions.
  void lock() const { lock_.lock(); }
  bool try_lock() const { return lock_.try_lock(); }
  void unlock() const { lock_.unlock(); }
  bool acquire(bool block = true) const { return lock_.acquire(block); }
  template <class Rep, class Period>
  bool acquire(bool block, std::chrono::duration<Rep, Period> timeout) const {
    return lock_.acquire(block, timeout);
  }
  void release() const { lock_.release(); }

  /// Gives the lock up, however often this thread holds it, waits until notified, and takes it as often again. Returns
  /// true. Blocks. If the lock was abandoned meanwhile it is held all the same, and tells so.
  /// Errors: AssertionError unless the caller holds the lock (RuntimeError for those of troupe::dummy); Full when
  /// max_waiters wait already.
  bool wait() const { return wait_until(no_deadline); }
  /// The same for at most `timeout`, a negative one is zero; false when nobody has notified it.
  template <class Rep, class Period>
  bool wait(std::chrono::duration<Rep, Period> timeout) const {
    return wait_until(deadline_after(timeout));
  }
  /// Waits until `predicate()` is true, which is looked at before the first wait and after each notification, under the
  /// lock. Returns what it said last.
  template <class Predicate>
  bool wait_for(Predicate predicate) const {
    return wait_until(predicate, no_deadline);
  }
  /// The same for at most `timeout` in all.
  template <class Predicate, class Rep, class Period>
  bool wait_for(Predicate predicate, std::chrono::duration<Rep, Period> timeout) const {
    return wait_until(predicate, deadline_after(timeout));
  }

  /// Wakes the `count` threads that have waited longest, or as many as there are, and returns when they are awake: none
  /// of them has timed out meanwhile, and one that dies leaves its turn to the next. They go on when the lock is free.
  /// Blocks: until the kernel has let them run. Errors: AssertionError unless the caller holds the lock (RuntimeError
  /// for those of troupe::dummy).
  void notify(std::size_t count = 1) const;
  void notify_all() const { notify(static_cast<std::size_t>(-1)); }

  /// Whether both name the same condition.
  friend bool operator==(const Condition& a, const Condition& b) noexcept { return a.cell_ == b.cell_; }

 protected:
  Condition(AnyLock lock, CellHandle cell) noexcept : lock_(std::move(lock)), cell_(std::move(cell)) {}

 private:
  friend struct Codec<Condition>;

  bool wait_until(Deadline deadline) const;
  template <class Predicate>
  bool wait_until(Predicate& predicate, Deadline deadline) const {
    for (;;) {
      if (static_cast<bool>(predicate())) return true;
      if (!wait_until(deadline)) return static_cast<bool>(predicate());
    }
  }
  /// Errors: unless the caller holds the lock.
  ConditionCell& cell(const char* attempted) const;

  AnyLock lock_;
  CellHandle cell_;
};

template <>
struct Codec<Condition> {
  static void encode(const Condition& condition, wire::Value::Builder out);
  static Condition decode(wire::Value::Reader in);
};

}  // namespace troupe
