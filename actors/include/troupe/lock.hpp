#pragma once

/// \file
/// Locks between processes, for std::lock_guard, std::unique_lock and std::scoped_lock:
///
///     troupe::Lock lock;
///     troupe::Process process{count_up, lock};   // void count_up(troupe::Lock lock)
///     ...
///     const std::lock_guard guard{lock};
///
/// A lock can be an argument of processes and tasks, be stored and passed on; copies are the same lock. When a process
/// dies with a lock, by whatever cause, the lock is free again and whoever takes it next is told.

#include <troupe/bell.hpp>
#include <troupe/error.hpp>
#include <troupe/lock_cell.hpp>
#include <troupe/sync_slab.hpp>

#include <chrono>
#include <cstdint>
#include <utility>

namespace troupe {

class Lock;
class RLock;

/// What becomes of a lock whose holder has died.
enum class OnAbandoned : std::uint8_t {
  tell,  ///< the next one to take it is told by `abandoned`
  fail,  ///< taking it is an AbandonedError, until somebody calls clear_abandoned
};

struct LockOptions {
  /// `tell`, because most of what locks guard is right, or can be put right, by who comes next.
  OnAbandoned on_abandoned = OnAbandoned::tell;
};

/// What Lock and RLock have in common. Thread: any. All functions are const, because it is what the lock names that
/// changes.
class AnyLock {
 public:
  /// Takes the lock. Blocks: until it is free.
  /// Errors of everything that takes it: AbandonedError as said in the options; it is not held then.
  void lock() const { take(no_deadline); }
  /// Takes the lock if it is free; whether it has. Never blocks.
  bool try_lock() const { return take(at_once); }
  /// The same, waiting for at most `timeout`; a negative one is zero. Blocks.
  template <class Rep, class Period>
  bool try_lock_for(std::chrono::duration<Rep, Period> timeout) const {
    return take(deadline_after(timeout));
  }
  /// Gives the lock back. Errors: as release.
  void unlock() const { release(); }

  /// Takes the lock and returns true; false if it is not to `block` and the lock is not free.
  bool acquire(bool block = true) const { return take(block ? no_deadline : at_once); }
  /// The same with a bound for how long it may block; without blocking the bound does not matter.
  template <class Rep, class Period>
  bool acquire(bool block, std::chrono::duration<Rep, Period> timeout) const {
    return take(block ? deadline_after(timeout) : at_once);
  }
  /// Gives the lock back. A Lock whose holder has died can be released once in its place by anybody, unless taking it
  /// is an error then. Errors: of a Lock that nobody holds, ValueError; of an RLock that this thread does not hold,
  /// AssertionError; of those of troupe::dummy, RuntimeError. Nothing has changed then.
  void release() const {
    LockState& state = this->state();
    if (state.is_abandoned()) [[unlikely]]
      return release_abandoned();
    if (!(is_recursive_ ? state.give_recursive() : state.give())) [[unlikely]]
      fail_release();
  }

  /// Whether the process that held it last has died with it, as whoever holds it now sees it until giving it back.
  bool abandoned() const { return state().is_abandoned(); }
  /// What it guards is in order again.
  void clear_abandoned() const { state().clear_abandoned(); }

  /// Whether both name the same lock.
  friend bool operator==(const AnyLock& a, const AnyLock& b) noexcept { return a.cell_ == b.cell_; }

 protected:
  explicit AnyLock(CellHandle cell) noexcept
      : cell_(std::move(cell)), is_recursive_(cell_.head().kind.load() == CellKind::recursive_lock) {}
  AnyLock(CellKind kind, LockOptions options);

 private:
  friend class Condition;
  friend struct Codec<AnyLock>;
  friend struct Codec<Lock>;
  friend struct Codec<RLock>;

  LockState& state() const {
    if (!cell_) [[unlikely]]
      fail_empty();
    return cell_.as<LockCell>().state;
  }
  bool take(Deadline deadline) const {
    LockState& state = this->state();
    const bool taken = is_recursive_ ? state.take_recursive(deadline) : state.take(own_pid(), deadline);
    if (taken && state.is_abandoned()) [[unlikely]]
      refuse_abandoned();
    return taken;
  }
  bool is_held_here() const { return is_recursive_ ? state().is_own_recursive() : state().is_own(); }
  /// Gives all levels back; how many there were beyond the first. take_again takes as many.
  std::uint32_t give_all() const;
  void take_again(std::uint32_t depth) const;

  bool fails_abandoned() const;
  void refuse_abandoned() const;
  void release_abandoned() const;
  [[noreturn]] void fail_release() const;
  [[noreturn]] static void fail_empty();

  CellHandle cell_;
  bool is_recursive_;
};

/// A lock without an owner: any thread of any process may give it back. Taking it twice waits for ever.
class Lock : public AnyLock {
 public:
  /// Errors: AssertionError without a Runtime, OSError without memory.
  explicit Lock(LockOptions options = {}) : AnyLock(CellKind::lock, options) {}

 protected:
  explicit Lock(CellHandle cell) noexcept : AnyLock(std::move(cell)) {}

 private:
  friend struct Codec<Lock>;
};

/// A lock that the thread that holds it may take again, and has to give back as often. Only that thread may.
class RLock : public AnyLock {
 public:
  /// Errors: AssertionError without a Runtime, OSError without memory.
  explicit RLock(LockOptions options = {}) : AnyLock(CellKind::recursive_lock, options) {}

 protected:
  explicit RLock(CellHandle cell) noexcept : AnyLock(std::move(cell)) {}

 private:
  friend struct Codec<RLock>;
};

template <>
struct Codec<AnyLock> {
  static void encode(const AnyLock& lock, wire::Value::Builder out);
  static AnyLock decode(wire::Value::Reader in);
};
template <>
struct Codec<Lock> {
  static void encode(const Lock& lock, wire::Value::Builder out);
  static Lock decode(wire::Value::Reader in);
};
template <>
struct Codec<RLock> {
  static void encode(const RLock& lock, wire::Value::Builder out);
  static RLock decode(wire::Value::Reader in);
};

}  // namespace troupe
