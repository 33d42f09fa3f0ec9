#pragma once

/// \file
/// Locks, semaphores, events, conditions and barriers for threads of this process, under the names and with the errors
/// of multiprocessing.dummy. Each is also one of those for processes, but for that it cannot be sent to one, and can be
/// given to whatever takes those. Need no Runtime.

#include <troupe/barrier.hpp>
#include <troupe/condition.hpp>
#include <troupe/event.hpp>
#include <troupe/lock.hpp>
#include <troupe/semaphore.hpp>

#include <chrono>
#include <concepts>
#include <utility>

namespace troupe::dummy {

/// Misuse is a RuntimeError. Thread: any.
class Lock : public troupe::Lock {
 public:
  Lock() : troupe::Lock(CellHandle::make_local(CellKind::lock)) {}
};

/// Misuse is a RuntimeError. Thread: any.
class RLock : public troupe::RLock {
 public:
  RLock() : troupe::RLock(CellHandle::make_local(CellKind::recursive_lock)) {}
};

/// A negative value is a ValueError. Thread: any.
class Semaphore : public troupe::Semaphore {
 public:
  explicit Semaphore(int value = 1) : troupe::Semaphore(value, {}, Bound::none, Among::threads) {}
};

/// A negative value is a ValueError. Thread: any.
class BoundedSemaphore : public troupe::BoundedSemaphore {
 public:
  explicit BoundedSemaphore(int value = 1) : troupe::BoundedSemaphore(value, {}, Among::threads) {}
};

/// See troupe::Event. Thread: any.
class Event : public troupe::Event {
 public:
  Event() : troupe::Event(CellHandle::make_local(CellKind::event)) {}
};

/// Misuse is a RuntimeError. Thread: any.
class Condition : public troupe::Condition {
 public:
  explicit Condition(ConditionOptions options = {}) : Condition(RLock{}, options) {}
  explicit Condition(Lock lock, ConditionOptions options = {}) : troupe::Condition(std::move(lock), options) {}
  explicit Condition(RLock lock, ConditionOptions options = {}) : troupe::Condition(std::move(lock), options) {}
};

/// See troupe::Barrier. Thread: any.
class Barrier : public troupe::Barrier {
 public:
  explicit Barrier(int parties) : troupe::Barrier(parties, nullptr, std::nullopt, Among::threads) {}
  template <class Rep, class Period>
  Barrier(int parties, std::chrono::duration<Rep, Period> timeout)
      : troupe::Barrier(parties, nullptr, bound(timeout), Among::threads) {}
  template <std::invocable F>
  Barrier(int parties, F action)
      : troupe::Barrier(parties, make_action(std::move(action)), std::nullopt, Among::threads) {}
  template <std::invocable F, class Rep, class Period>
  Barrier(int parties, F action, std::chrono::duration<Rep, Period> timeout)
      : troupe::Barrier(parties, make_action(std::move(action)), bound(timeout), Among::threads) {}
};

}  // namespace troupe::dummy
