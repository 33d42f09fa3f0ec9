#pragma once

/// \file
/// A value and an array in memory that several processes share, each with a lock. raw_value.hpp has those without.
///
///     troupe::Value<int> counter{0};
///     troupe::Process process{count, counter};      // sees the same value
///     counter.update([](int& n) { ++n; });          // one step; get and set would be two
///     const std::lock_guard guard{counter};         // several steps as one
///
/// What multiprocessing calls Value(lock=False) is RawValue here, Array(lock=False) is RawArray.

#include <troupe/codec.hpp>
#include <troupe/lock.hpp>
#include <troupe/raw_value.hpp>

#include <concepts>
#include <cstddef>
#include <functional>
#include <initializer_list>
#include <mutex>
#include <ranges>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace troupe {

/// What can guard a shared value: a lock whose copies are the same lock, and which travels between processes.
template <class L>
concept ProcessLock = std::copy_constructible<L> && Encodable<L> && Decodable<L> && requires(const L& lock) {
  lock.lock();
  lock.unlock();
  lock.acquire();
  lock.release();
};

/// What Value and Array have in common: an object in shared memory and its lock, both with their accessors. It can be
/// locked itself, for several steps as one. Thread: any.
template <class Raw, class Lock>
class Synchronized {
 public:
  static_assert(ProcessLock<Lock>,
                "troupe: this is no lock that processes can share: it needs acquire, release, lock and unlock, copies "
                "that are the same lock, and a codec. Use troupe::RLock or troupe::Lock, or RawValue for no lock.");

  /// The object without the lock.
  const Raw& get_obj() const noexcept { return raw_; }
  /// The lock; the one that was passed in, if one was.
  const Lock& get_lock() const noexcept { return lock_; }

  void lock() const { lock_.lock(); }
  void unlock() const { lock_.unlock(); }
  /// As those of the lock.
  template <class... Args>
  bool acquire(Args&&... arguments) const {
    return lock_.acquire(std::forward<Args>(arguments)...);
  }
  void release() const { lock_.release(); }

 protected:
  Synchronized(Raw raw, Lock lock) : raw_(std::move(raw)), lock_(std::move(lock)) {}

  /// Runs `code` while the lock is held.
  template <class Code>
  decltype(auto) locked(Code code) const {
    const std::lock_guard guard{lock_};
    return code();
  }

  Raw raw_;
  Lock lock_;
};

/// One T in shared memory with a lock, an RLock unless told otherwise. Copies, and what arrives in another process, are
/// the same value with the same lock. Each function is one step; `value.set(value.get() + 1)` is two, between which
/// others may come: use `update`, or hold the lock. Thread: any.
template <class T, class Lock = RLock>
class Value : public Synchronized<RawValue<T>, Lock> {
 public:
  /// A new value, with a new lock or the given one.
  /// Errors: OSError without memory; AssertionError without a Runtime.
  explicit Value(const T& initial = T{})
    requires std::default_initializable<Lock>
      : Value(initial, Lock{}) {}
  Value(const T& initial, Lock lock) : Base(RawValue<T>(initial), std::move(lock)) {}

  /// Errors of all: those of taking the lock.
  T get() const {
    return this->locked([this] { return this->raw_.get(); });
  }
  /// Integers of other widths wrap, as everywhere in C++20.
  template <class U = T>
  void set(const U& value) const {
    this->locked([&] { this->raw_.set(value); });
  }
  /// Runs `change` with a reference to the value while the lock is held, and returns what it returns.
  template <class Change>
    requires std::invocable<Change, T&>
  decltype(auto) update(Change change) const {
    return this->locked([&]() -> decltype(auto) { return std::invoke(change, *this->raw_); });
  }
  /// A member of a struct.
  template <class Member, std::same_as<T> Struct>
  Member get(Member Struct::* member) const {
    return this->locked([&] { return (*this->raw_).*member; });
  }
  template <class Member, std::same_as<T> Struct>
  void set(Member Struct::* member, const std::type_identity_t<Member>& value) const {
    this->locked([&] { (*this->raw_).*member = value; });
  }

 private:
  using Base = Synchronized<RawValue<T>, Lock>;
  friend struct Codec<Value<T, Lock>>;
  Value(RawValue<T> raw, Lock lock) : Base(std::move(raw), std::move(lock)) {}
};

template <class T>
Value(T) -> Value<T>;
template <class T, class Lock>
Value(T, Lock) -> Value<T, Lock>;

/// A fixed number of Ts in shared memory with a lock, an RLock unless told otherwise. Copies, and what arrives in
/// another process, are the same array with the same lock. Indices may be negative and count from the end then. Each
/// function is one step. Thread: any.
template <class T, class Lock = RLock>
class Array : public Synchronized<RawArray<T>, Lock> {
 public:
  using value_type = T;

  /// `count` zeros, with a new lock or the given one.
  /// Errors: ValueError if it is negative; OSError without memory; AssertionError without a Runtime.
  explicit Array(std::ptrdiff_t count)
    requires std::default_initializable<Lock>
      : Array(count, Lock{}) {}
  Array(std::ptrdiff_t count, Lock lock) : Base(RawArray<T>(count), std::move(lock)) {}
  /// A copy of these.
  Array(std::initializer_list<T> items)
    requires std::default_initializable<Lock>
      : Array(items, Lock{}) {}
  Array(std::initializer_list<T> items, Lock lock) : Base(RawArray<T>(items), std::move(lock)) {}
  template <std::ranges::input_range Range>
    requires std::default_initializable<Lock> && (!std::same_as<std::remove_cvref_t<Range>, Array>)
  explicit Array(Range&& items) : Array(std::forward<Range>(items), Lock{}) {}
  template <std::ranges::input_range Range>
  Array(Range&& items, Lock lock) : Base(RawArray<T>(std::forward<Range>(items)), std::move(lock)) {}

  std::size_t size() const noexcept { return this->raw_.size(); }
  /// Errors of both: IndexError.
  T get(std::ptrdiff_t index) const {
    return this->locked([&] { return this->raw_.get(index); });
  }
  template <class U>
  void set(std::ptrdiff_t index, const U& value) const {
    this->locked([&] { this->raw_.set(index, value); });
  }
  /// A copy of items `start` up to, without, `stop`; as in Python what lies outside is left out.
  std::vector<T> slice(std::ptrdiff_t start, std::ptrdiff_t stop) const {
    return this->locked([&] {
      const auto part = this->raw_.slice(start, stop);
      return std::vector<T>(part.begin(), part.end());
    });
  }
  /// Overwrites a slice. Errors: ValueError if there are not exactly as many items; nothing is written then.
  template <std::ranges::forward_range Range>
  void set_slice(std::ptrdiff_t start, std::ptrdiff_t stop, const Range& items) const {
    this->locked([&] { this->raw_.set_slice(start, stop, items); });
  }
  void set_slice(std::ptrdiff_t start, std::ptrdiff_t stop, std::initializer_list<T> items) const {
    this->locked([&] { this->raw_.set_slice(start, stop, items); });
  }
  /// Runs `change` with a span of all items while the lock is held, and returns what it returns.
  template <class Change>
    requires std::invocable<Change, std::span<T>>
  decltype(auto) update(Change change) const {
    return this->locked([&]() -> decltype(auto) { return std::invoke(change, this->raw_.span()); });
  }

  /// As those of RawArray<char>.
  std::string value() const
    requires std::same_as<T, char>
  {
    return this->locked([&] { return this->raw_.value(); });
  }
  void set_value(std::string_view text) const
    requires std::same_as<T, char>
  {
    this->locked([&] { this->raw_.set_value(text); });
  }
  std::string raw() const
    requires std::same_as<T, char>
  {
    return this->locked([&] { return this->raw_.raw(); });
  }
  void set_raw(std::string_view bytes) const
    requires std::same_as<T, char>
  {
    this->locked([&] { this->raw_.set_raw(bytes); });
  }

 private:
  using Base = Synchronized<RawArray<T>, Lock>;
  friend struct Codec<Array<T, Lock>>;
  Array(RawArray<T> raw, Lock lock) : Base(std::move(raw), std::move(lock)) {}
};

template <std::ranges::input_range Range>
Array(Range&&) -> Array<std::ranges::range_value_t<Range>>;
template <std::ranges::input_range Range, class Lock>
Array(Range&&, Lock) -> Array<std::ranges::range_value_t<Range>, Lock>;

namespace detail {

/// How a Value or an Array travels: as its memory and its lock.
template <class Object, class Raw, class Lock>
struct SynchronizedCodec {
  using Wire = std::tuple<Raw, Lock>;
  static void encode(const Object& object, wire::Value::Builder out) {
    encode_part(Wire{object.get_obj(), object.get_lock()}, out);
  }
};

}  // namespace detail

template <class T, class Lock>
struct Codec<Value<T, Lock>> : detail::SynchronizedCodec<Value<T, Lock>, RawValue<T>, Lock> {
  static Value<T, Lock> decode(wire::Value::Reader in) {
    auto [raw, lock] = detail::decode_part<std::tuple<RawValue<T>, Lock>>(in);
    return Value<T, Lock>{std::move(raw), std::move(lock)};
  }
};

template <class T, class Lock>
struct Codec<Array<T, Lock>> : detail::SynchronizedCodec<Array<T, Lock>, RawArray<T>, Lock> {
  static Array<T, Lock> decode(wire::Value::Reader in) {
    auto [raw, lock] = detail::decode_part<std::tuple<RawArray<T>, Lock>>(in);
    return Array<T, Lock>{std::move(raw), std::move(lock)};
  }
};

}  // namespace troupe
