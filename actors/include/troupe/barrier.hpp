#pragma once

/// \file
/// A meeting point of a fixed number of processes.
///
///     troupe::Barrier barrier{4};
///     barrier.wait();              // in each of the four

#include <troupe/barrier_cell.hpp>
#include <troupe/bell.hpp>
#include <troupe/callable.hpp>
#include <troupe/error.hpp>
#include <troupe/sync_slab.hpp>

#include <chrono>
#include <concepts>
#include <memory>
#include <optional>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace troupe {

namespace detail {

/// What a barrier does each time before it lets its parties go on.
class BarrierAction {
 public:
  virtual ~BarrierAction() = default;
  virtual void call() = 0;
  /// Writes it down for another process. Errors: CodecError if it cannot travel.
  virtual void encode(wire::Value::Builder out) const = 0;
  /// Reads it. Errors: CodecError.
  static std::shared_ptr<BarrierAction> decode(wire::Value::Reader in);

 protected:
  [[noreturn]] static void fail_encode(const std::type_info& type);
  /// Writes where `decoder` lies; returns the place for what it is to read.
  static wire::Value::Builder init(wire::Value::Builder out, AnyFunction decoder);
};

using DecodeAction = std::shared_ptr<BarrierAction> (*)(wire::Value::Reader);

template <class F>
class BarrierActionOf final : public BarrierAction {
 public:
  explicit BarrierActionOf(F callable) : callable_(std::move(callable)) {}

  void call() override { callable_(); }
  void encode(wire::Value::Builder out) const override {
    if constexpr (PortableCallable<F>) {
      static_cast<void>(registered);
      encode_callable(callable_, init(out, reinterpret_cast<AnyFunction>(&decode_this)));
    } else {
      fail_encode(typeid(F));
    }
  }

 private:
  static std::shared_ptr<BarrierAction> decode_this(wire::Value::Reader in) {
    if constexpr (PortableCallable<F>) {
      return std::make_shared<BarrierActionOf>(decode_callable<F>(in));
    } else {
      return nullptr;
    }
  }
  static std::string name() { return demangle(typeid(F).name()); }

  static inline const bool registered =
      register_thunk(ThunkKind::action, reinterpret_cast<AnyFunction>(&decode_this), &BarrierActionOf::name);

  F callable_;
};

}  // namespace detail

/// Lets `parties` threads of any processes go on when all of them wait. It is broken, until it is reset, when one of
/// them does not want to wait any longer, calls `abort`, dies while it waits, or when the action fails. Copies are the
/// same barrier. Thread: any.
class Barrier {
 public:
  /// `parties`: 1 to 3576. Errors: ValueError for others; AssertionError without a Runtime, OSError without memory.
  explicit Barrier(int parties) : Barrier(parties, nullptr, std::nullopt, Among::processes) {}
  /// `timeout` is that of waits without one.
  template <class Rep, class Period>
  Barrier(int parties, std::chrono::duration<Rep, Period> timeout)
      : Barrier(parties, nullptr, bound(timeout), Among::processes) {}
  /// `action` is called by one of the parties, when all have arrived and before any goes on. Under the start method
  /// fork it may be anything; a barrier that is sent needs one that can travel (callable.hpp).
  template <std::invocable F>
  Barrier(int parties, F action) : Barrier(parties, make_action(std::move(action)), std::nullopt, Among::processes) {}
  template <std::invocable F, class Rep, class Period>
  Barrier(int parties, F action, std::chrono::duration<Rep, Period> timeout)
      : Barrier(parties, make_action(std::move(action)), bound(timeout), Among::processes) {}

  /// Waits until all parties do, and returns how many were there before the caller: 0 to parties - 1, each once.
  /// Blocks. Errors: BrokenBarrierError if it is broken or breaks meanwhile, also because the caller's timeout ends; in
  /// the one that called the action, what that threw.
  int wait() const { return wait_until(timeout_ ? deadline_after(*timeout_) : no_deadline); }
  /// The same for at most `timeout`; a negative one is zero.
  template <class Rep, class Period>
  int wait(std::chrono::duration<Rep, Period> timeout) const {
    return wait_until(deadline_after(timeout));
  }

  /// Breaks it for those who wait; they can wait again at once.
  void reset() const;
  /// Breaks it for those who wait, and who will, until it is reset.
  void abort() const;

  /// How many have to wait for all to go on.
  int parties() const;
  /// How many wait at this moment; those who may go on do not count.
  int n_waiting() const;
  /// Whether waits fail until it is reset.
  bool broken() const;

  /// Whether both name the same barrier.
  friend bool operator==(const Barrier& a, const Barrier& b) noexcept { return a.cell_ == b.cell_; }

 protected:
  using Timeout = std::optional<std::chrono::nanoseconds>;
  enum class Among : bool { processes, threads };
  Barrier(int parties, std::shared_ptr<detail::BarrierAction> action, Timeout timeout, Among among);
  template <class F>
  static std::shared_ptr<detail::BarrierAction> make_action(F action) {
    return std::make_shared<detail::BarrierActionOf<F>>(std::move(action));
  }
  template <class Rep, class Period>
  static Timeout bound(std::chrono::duration<Rep, Period> timeout) {
    constexpr auto longest = std::chrono::hours{24 * 365 * 100};
    return timeout < longest ? Timeout{std::chrono::ceil<std::chrono::nanoseconds>(timeout)} : std::nullopt;
  }

 private:
  friend struct Codec<Barrier>;

  Barrier(CellHandle cell, std::shared_ptr<detail::BarrierAction> action, Timeout timeout) noexcept
      : cell_(std::move(cell)), action_(std::move(action)), timeout_(timeout) {}

  BarrierCell& cell() const;
  int wait_until(Deadline deadline) const;
  void run_action(BarrierCell& barrier) const;

  CellHandle cell_;
  std::shared_ptr<detail::BarrierAction> action_;
  Timeout timeout_;
};

template <>
struct Codec<Barrier> {
  static void encode(const Barrier& barrier, wire::Value::Builder out);
  static Barrier decode(wire::Value::Reader in);
};

}  // namespace troupe
