#pragma once

/// \file
/// Semaphores between processes: permits that are taken and given.
///
///     troupe::Semaphore seats{3};
///     if (seats.acquire(true, 100ms)) { ...; seats.release(); }

#include <troupe/bell.hpp>
#include <troupe/semaphore_cell.hpp>
#include <troupe/sync_slab.hpp>

#include <chrono>
#include <cstddef>
#include <utility>

namespace troupe {

class BoundedSemaphore;

struct SemaphoreOptions {
  /// Permits come back from processes that die with them. They then have to be released by the process that took them:
  /// what a process releases beyond that makes one more. Costs some 100 ns for each call.
  bool robust = false;
  /// How many processes can have permits of a robust one at the same time: 1 to 7154.
  std::size_t max_holders = 112;
};

/// A number of permits without an upper bound. A permit may be released by another process than the one that took it,
/// and more may be released than were taken. Copies are the same semaphore. Thread: any.
class Semaphore {
 public:
  /// Errors: OSError with EINVAL for a negative value; AssertionError without a Runtime; ValueError for
  /// other max_holders.
  explicit Semaphore(int value = 1, SemaphoreOptions options = {});

  /// Takes a permit and returns true; false if it is not to `block` and there is none.
  /// Blocks: while there is none, if it is to.
  /// Errors of everything that takes one: Full when a robust semaphore has `max_holders` holders.
  bool acquire(bool block = true) const { return take(block ? no_deadline : at_once); }
  /// The same with a bound for how long it may block, a negative one is zero; without blocking it does not matter.
  template <class Rep, class Period>
  bool acquire(bool block, std::chrono::duration<Rep, Period> timeout) const {
    return take(block ? deadline_after(timeout) : at_once);
  }
  /// Gives a permit. Errors: ValueError if it would be more than the bound.
  void release() const;
  /// How many permits are free, at some moment during the call.
  int get_value() const;

  /// The same under the names that std::lock_guard and std::unique_lock use. lock blocks until there is a permit,
  /// try_lock never, try_lock_for for at most `timeout`; both tell whether they have one.
  void lock() const { take(no_deadline); }
  bool try_lock() const { return take(at_once); }
  template <class Rep, class Period>
  bool try_lock_for(std::chrono::duration<Rep, Period> timeout) const {
    return take(deadline_after(timeout));
  }
  void unlock() const { release(); }

  /// Whether both name the same semaphore.
  friend bool operator==(const Semaphore& a, const Semaphore& b) noexcept { return a.cell_ == b.cell_; }

 protected:
  enum class Bound : bool { none, initial };
  enum class Among : bool { processes, threads };
  Semaphore(int value, SemaphoreOptions options, Bound bound, Among among);
  explicit Semaphore(CellHandle cell) noexcept : cell_(std::move(cell)) {}

 private:
  friend struct Codec<Semaphore>;
  friend struct Codec<BoundedSemaphore>;

  bool take(Deadline deadline) const;
  bool is_robust() const;

  CellHandle cell_;
};

/// A semaphore that never has more permits than at first: a release too many is a ValueError.
class BoundedSemaphore : public Semaphore {
 public:
  /// Errors: as Semaphore's.
  explicit BoundedSemaphore(int value = 1, SemaphoreOptions options = {})
      : BoundedSemaphore(value, options, Among::processes) {}

 protected:
  BoundedSemaphore(int value, SemaphoreOptions options, Among among)
      : Semaphore(value, options, Bound::initial, among) {}
  explicit BoundedSemaphore(CellHandle cell) noexcept : Semaphore(std::move(cell)) {}

 private:
  friend struct Codec<BoundedSemaphore>;
};

template <>
struct Codec<Semaphore> {
  static void encode(const Semaphore& semaphore, wire::Value::Builder out);
  static Semaphore decode(wire::Value::Reader in);
};
template <>
struct Codec<BoundedSemaphore> {
  static void encode(const BoundedSemaphore& semaphore, wire::Value::Builder out);
  static BoundedSemaphore decode(wire::Value::Reader in);
};

}  // namespace troupe
