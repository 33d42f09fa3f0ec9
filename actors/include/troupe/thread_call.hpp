#pragma once

/// \file
/// A ThreadPool's tasks with their types: what is called with what, and what came of it.

#include <troupe/callable.hpp>
#include <troupe/error.hpp>
#include <troupe/thread_task.hpp>

#include <concepts>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace troupe::detail {

/// What becomes of a result of type R: itself, without reference; views become owners, as in a Pool.
template <class R>
using thread_result_t = typename Owned<std::remove_cvref_t<R>>::type;

/// Where a result is kept; void has one as well.
template <class T>
using kept_result_t = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

template <class T, class R>
T own_result(R&& result) {
  if constexpr (std::constructible_from<T, R>)
    return T(std::forward<R>(result));
  else
    return T(result.begin(), result.end());  // of a span
}

/// Calls and gives the result as something to be kept.
template <class T, class Callable, class... Args>
kept_result_t<T> call_to_keep(Callable& callable, Args&&... arguments) {
  if constexpr (std::is_void_v<T>) {
    std::invoke(callable, std::forward<Args>(arguments)...);
    return {};
  } else {
    return own_result<T>(std::invoke(callable, std::forward<Args>(arguments)...));
  }
}

/// Hands a stored argument to the callable: what was borrowed as it is, what is owned as a value of its own.
template <class Stored>
Stored hand_on(std::remove_reference_t<Stored>& stored, [[maybe_unused]] bool last) {
  if constexpr (!std::is_reference_v<Stored> && std::is_copy_constructible_v<Stored>) {
    if (!last) return stored;
  }
  return static_cast<Stored&&>(stored);
}
template <class Stored>
inline constexpr bool can_hand_on_again = std::is_reference_v<Stored> || std::is_copy_constructible_v<Stored>;

/// A task with one result.
template <class T>
class ThreadTaskOf : public ThreadTask {
 public:
  using ThreadTask::ThreadTask;

  /// The value. Errors: what the task ended with, if not a value; ValueError for a second look at what has no copies.
  T value() const {
    if (error()) std::rethrow_exception(error());
    if constexpr (std::is_copy_constructible_v<T>) {
      return *value_;
    } else if constexpr (!std::is_void_v<T>) {
      return take();
    }
  }
  /// The same, moved out: nobody else looks.
  T take() const {
    if (error()) std::rethrow_exception(error());
    if constexpr (!std::is_void_v<T>) {
      if (!value_) throw ValueError("this result cannot be copied, and was taken before");
      T value = *std::move(value_);
      value_.reset();
      return value;
    }
  }

 protected:
  mutable std::optional<kept_result_t<T>> value_;
};

/// AsyncResult's source for one task.
template <class T>
struct ThreadValue {
  using Waited = ThreadTaskOf<T>;
  static bool failed(const Waited& task) { return task.has_failed(); }
  static std::size_t num_left(const Waited& task) noexcept { return task.ready() ? 0 : 1; }
  static T value(const Waited& task) { return task.value(); }
};

/// A call of `Callable` with `Args`. Both are values, or const references to what outlives the task.
template <class T, class Callable, class... Args>
class CallTask final : public ThreadTaskOf<T> {
 public:
  template <class F, class... A>
  CallTask(Ref<ThreadPoolCore> core, Ref<SharedOptions> options, Ref<ThreadListener> listener, F&& callable,
           A&&... arguments)
      : ThreadTaskOf<T>(std::move(core), std::move(options), std::move(listener)),
        call_(std::in_place, std::forward<F>(callable), std::forward<A>(arguments)...) {}

 private:
  struct Call {
    template <class F, class... A>
    explicit Call(F&& f, A&&... a) : callable(std::forward<F>(f)), arguments(std::forward<A>(a)...) {}
    Callable callable;
    std::tuple<Args...> arguments;
  };

  void call(bool last) override {
    const auto keep = [&](auto&... stored) {
      this->value_.emplace(call_to_keep<T>(call_->callable, hand_on<Args>(stored, last)...));
    };
    std::apply(keep, call_->arguments);
  }
  void drop() noexcept override { call_.reset(); }

  std::optional<Call> call_;
};

/// A task with the results of a chunk of items.
template <class T>
class ThreadChunk : public ThreadTask {
 public:
  using ThreadTask::ThreadTask;

  /// Appends the values. Errors: what the task ended with, if not values.
  void append_to(std::vector<T>& all, bool moving) const {
    if (error()) std::rethrow_exception(error());
    if constexpr (std::is_copy_constructible_v<T>) {
      if (!moving) {
        all.insert(all.end(), values_.begin(), values_.end());
        return;
      }
    }
    all.insert(all.end(), std::make_move_iterator(values_.begin()), std::make_move_iterator(values_.end()));
  }

 protected:
  mutable std::vector<T> values_;
};
template <>
class ThreadChunk<void> : public ThreadTask {
 public:
  using ThreadTask::ThreadTask;
};

/// AsyncResult's source for the chunks of a map; T is a vector, or void.
template <class T>
struct ThreadChunks {
  using Waited = ThreadGroup;
  static bool failed(const ThreadGroup& group) { return group.first_failure() != nullptr; }
  static std::size_t num_left(const ThreadGroup& group) noexcept { return group.num_left(); }
  static T value(const ThreadGroup& group) { return gather(group, false); }
  /// The same, moved out: nobody else looks.
  static T take(const ThreadGroup& group) { return gather(group, true); }

 private:
  static T gather(const ThreadGroup& group, bool moving) {
    if (const ThreadTask* failure = group.first_failure()) std::rethrow_exception(failure->error());
    if constexpr (!std::is_void_v<T>) {
      T all;
      for (const auto& task : group.tasks)
        static_cast<const ThreadChunk<typename T::value_type>&>(*task).append_to(all, moving);
      return all;
    }
  }
};

/// An item of a chunk. A struct, so that a vector of them is never a vector<bool>.
template <class Value>
struct ThreadItem {
  Value value;
};

/// Calls of one callable, shared by the tasks of a map, with one item each; `Star`: each is a tuple of arguments.
template <class T, bool Star, class Callable, class Value>
class ChunkTask final : public ThreadChunk<T> {
 public:
  using Items = std::vector<ThreadItem<Value>>;

  ChunkTask(Ref<ThreadPoolCore> core, Ref<SharedOptions> options, Ref<ThreadListener> listener,
            std::shared_ptr<const Callable> callable, Items items)
      : ThreadChunk<T>(std::move(core), std::move(options), std::move(listener)),
        callable_(std::move(callable)),
        items_(std::move(items)) {}

 private:
  void call(bool last) override {
    if constexpr (!std::is_void_v<T>) {
      this->values_.clear();
      this->values_.reserve(items_.size());
    }
    for (auto& item : items_) {
      if constexpr (std::is_void_v<T>)
        call_one(item.value, last);
      else
        this->values_.push_back(call_one(item.value, last));
    }
  }
  kept_result_t<T> call_one(Value& item, bool last) {
    if constexpr (Star)
      return std::apply(
          [&](auto&&... values) { return call_to_keep<T>(*callable_, std::forward<decltype(values)>(values)...); },
          hand_on<Value>(item, last));
    else
      return call_to_keep<T>(*callable_, hand_on<Value>(item, last));
  }
  void drop() noexcept override {
    callable_.reset();
    items_ = {};
  }

  std::shared_ptr<const Callable> callable_;
  Items items_;
};

/// A callable that tasks share.
template <class Callable>
struct SharedCallable {
  std::shared_ptr<const Callable> callable;
  template <class... Args>
  decltype(auto) operator()(Args&&... arguments) const {
    return std::invoke(*callable, std::forward<Args>(arguments)...);
  }
};

/// What a ResultIterator over the tasks of a ThreadPool deals with.
template <class T>
struct ThreadTasks {
  using Core = ThreadPoolCore;
  using Task = ThreadTask;
  using Waited = ThreadCompletion;
  using Listener = ThreadListener;
  using Arrivals = ThreadArrivals;

  static T value(const ThreadTask& task) { return static_cast<const ThreadTaskOf<T>&>(task).take(); }
  static void append_chunk(const ThreadTask& task, std::vector<T>& values) {
    static_cast<const ThreadChunk<T>&>(task).append_to(values, true);
  }
};

}  // namespace troupe::detail
