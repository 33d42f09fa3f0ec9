#pragma once

/// \file
/// Queues for threads of this process, under the names of those for processes. Items are moved, not encoded: T is any
/// type that can be moved. Need no Runtime. `wait` does not take them, as multiprocessing's takes no queue.Queue: a
/// thread that waits for several things uses a troupe::Queue, or one queue for all.

#include <troupe/bell.hpp>
#include <troupe/error.hpp>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

namespace troupe::dummy {

/// See troupe::JoinableQueue, which it is for threads. Copies are the same queue. Thread: any.
template <class T>
class JoinableQueue {
 public:
  using value_type = T;

  /// At most `maxsize` items at a time; 0 or less: any number.
  explicit JoinableQueue(std::ptrdiff_t maxsize = 0)
      : state_(std::make_shared<State>(maxsize > 0 ? static_cast<std::size_t>(maxsize) : 0)) {}

  /// Blocks: while the queue is full, if it is to `block`. Errors: Full if it is not; ValueError after close.
  void put(T item, bool block = true) const { put_until(std::move(item), block ? no_deadline : Deadline::min()); }
  /// The same, Full when there was no room for `timeout`; a negative one is zero.
  template <class Rep, class Period>
  void put(T item, bool block, std::chrono::duration<Rep, Period> timeout) const {
    put_until(std::move(item), block ? deadline_after(timeout) : Deadline::min());
  }
  /// put without blocking.
  void put_nowait(T item) const { put(std::move(item), false); }
  /// False instead of Full.
  [[nodiscard]] bool try_put(T item) const { return append(std::move(item), Deadline::min()); }

  /// Blocks: while there is no item, if it is to `block`. Errors: Empty if it is not; ValueError after close.
  T get(bool block = true) const { return get_until(block ? no_deadline : Deadline::min()); }
  /// The same, Empty when there was none for `timeout`; a negative one is zero.
  template <class Rep, class Period>
  T get(bool block, std::chrono::duration<Rep, Period> timeout) const {
    return get_until(block ? deadline_after(timeout) : Deadline::min());
  }
  /// get without blocking.
  T get_nowait() const { return get(false); }
  /// Nothing instead of Empty.
  std::optional<T> try_get() const { return take(Deadline::min()); }

  /// How many items wait; others may put and get meanwhile.
  std::size_t qsize() const {
    const std::lock_guard lock{state_->mutex};
    return state_->items.size();
  }
  bool empty() const { return qsize() == 0; }
  bool full() const { return state_->capacity != 0 && qsize() >= state_->capacity; }

  /// Nobody puts or gets any more. Again: nothing.
  void close() const {
    const std::lock_guard lock{state_->mutex};
    state_->closed = true;
  }
  /// Errors: AssertionError before close.
  void join_thread() const {
    const std::lock_guard lock{state_->mutex};
    if (!state_->closed) throw AssertionError("join_thread() waits for a closed queue: call close() first");
  }
  void cancel_join_thread() const noexcept {}

  /// One item that was got is done. Errors: ValueError when that was said of as many as were put.
  void task_done() const {
    const std::lock_guard lock{state_->mutex};
    if (state_->unfinished == 0) throw ValueError("task_done() was called more often than there were items put");
    if (--state_->unfinished == 0) state_->all_done.notify_all();
  }
  /// Waits until all items that were put are done. Blocks.
  void join() const { static_cast<void>(join_until(no_deadline)); }
  /// The same for at most `timeout`; whether they are.
  template <class Rep, class Period>
  [[nodiscard]] bool join(std::chrono::duration<Rep, Period> timeout) const {
    return join_until(deadline_after(timeout));
  }

  friend bool operator==(const JoinableQueue& a, const JoinableQueue& b) noexcept { return a.state_ == b.state_; }

 private:
  struct State {
    explicit State(std::size_t most) : capacity(most) {}

    const std::size_t capacity;  // 0: any number
    std::mutex mutex;
    std::condition_variable not_empty;
    std::condition_variable not_full;
    std::condition_variable all_done;
    // Guarded by mutex:
    std::deque<T> items;
    std::size_t unfinished = 0;
    bool closed = false;
  };
  using Lock = std::unique_lock<std::mutex>;

  // Waits until `ready`, at most until `deadline`; whether it is.
  template <class Ready>
  static bool wait(Lock& lock, std::condition_variable& changed, Deadline deadline, Ready ready) {
    if (deadline == Deadline::min()) return ready();
    if (deadline != no_deadline) return changed.wait_until(lock, deadline, ready);
    changed.wait(lock, ready);
    return true;
  }
  void require_open() const {
    if (state_->closed) throw ValueError("the queue is closed");
  }
  void put_until(T item, Deadline deadline) const {
    if (!append(std::move(item), deadline)) throw Full("the queue was full");
  }
  bool append(T item, Deadline deadline) const {
    Lock lock{state_->mutex};
    require_open();
    const auto has_room = [this] { return state_->capacity == 0 || state_->items.size() < state_->capacity; };
    if (!wait(lock, state_->not_full, deadline, has_room)) return false;
    state_->items.push_back(std::move(item));
    ++state_->unfinished;
    state_->not_empty.notify_one();
    return true;
  }
  T get_until(Deadline deadline) const {
    std::optional<T> item = take(deadline);
    if (!item) throw Empty("the queue was empty");
    return std::move(*item);
  }
  std::optional<T> take(Deadline deadline) const {
    Lock lock{state_->mutex};
    require_open();
    if (!wait(lock, state_->not_empty, deadline, [this] { return !state_->items.empty(); })) return std::nullopt;
    std::optional<T> item{std::move(state_->items.front())};
    state_->items.pop_front();
    state_->not_full.notify_one();
    return item;
  }
  bool join_until(Deadline deadline) const {
    Lock lock{state_->mutex};
    return wait(lock, state_->all_done, deadline, [this] { return state_->unfinished == 0; });
  }

  std::shared_ptr<State> state_;
};

/// In multiprocessing.dummy every queue is joinable.
template <class T>
using Queue = JoinableQueue<T>;

}  // namespace troupe::dummy
