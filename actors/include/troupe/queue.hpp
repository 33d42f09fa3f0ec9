#pragma once

/// \file
/// Queues between processes: any number of them put, any number of them get.
///
///     troupe::Queue<std::string> queue{10};            // at most ten items wait in it
///     troupe::Process process{produce, queue};          // void produce(troupe::Queue<std::string> queue)
///     process.start();
///     std::string first = queue.get();
///
/// An item is in when put returns: it lies in memory that all processes share, not with the one that put it, so it is
/// not lost when that process ends. Items of one process come out in the order in which they went in. A process that is
/// killed at any instruction has put an item wholly or not at all, has got it or has not, and holds nobody up.

#include <troupe/bell.hpp>
#include <troupe/codec.hpp>
#include <troupe/dynamic.hpp>
#include <troupe/error.hpp>
#include <troupe/queue_message.hpp>

#include <chrono>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace troupe {

/// An item, and how often it was given to somebody, this time included.
template <class T>
struct Delivery {
  T item;
  unsigned deliveries = 1;
};

/// A queue of items of type T, which is any type with a codec; Dynamic takes what others put as anything. A queue can
/// be an argument of processes and tasks, be stored and passed on; copies are the same queue. Thread: any. All
/// functions are const, because it is what the queue names that changes.
template <class T = Dynamic>
class Queue {
 public:
  using value_type = T;

  /// At most `maxsize` items at a time; 0 or less: as many as memory allows.
  /// Errors: AssertionError without a Runtime, OSError without memory.
  explicit Queue(std::ptrdiff_t maxsize = 0) : Queue(maxsize, detail::QueueKind::plain) {}
  virtual ~Queue() = default;
  Queue(const Queue&) = default;
  Queue& operator=(const Queue&) = default;
  Queue(Queue&&) noexcept = default;
  Queue& operator=(Queue&&) noexcept = default;

  /// Appends an item. Blocks: while the queue is full, if it is to `block`.
  /// Errors: Full if it is not to block; ValueError after close; OSError when there is no memory for it; what the
  /// codec throws, unless on_queue_feeder_error takes it.
  void put(const T& item, bool block = true) const { put_until(item, block ? no_deadline : Deadline::min()); }
  /// The same, Full when there was no room for `timeout`. Without blocking that does not matter; a negative one is
  /// zero.
  template <class Rep, class Period>
  void put(const T& item, bool block, std::chrono::duration<Rep, Period> timeout) const {
    put_until(item, block ? deadline_after(timeout) : Deadline::min());
  }
  /// put without blocking. Errors: Full as well.
  void put_nowait(const T& item) const { put(item, false); }
  /// The same, with false instead of Full.
  [[nodiscard]] bool try_put(const T& item) const { return append(item, Deadline::min()); }

  /// Takes the oldest item. Blocks: while there is none, if it is to `block`.
  /// Errors: Empty if it is not to block; ValueError after close; CodecError when the item is no T, which is lost then.
  T get(bool block = true) const { return get_until(block ? no_deadline : Deadline::min()); }
  /// The same, Empty when there was none for `timeout`.
  template <class Rep, class Period>
  T get(bool block, std::chrono::duration<Rep, Period> timeout) const {
    return get_until(block ? deadline_after(timeout) : Deadline::min());
  }
  /// get without blocking. Errors: Empty as well.
  T get_nowait() const { return get(false); }
  /// The same, with nothing instead of Empty.
  std::optional<T> try_get() const { return take(Deadline::min()); }

  /// How many items wait; others may put and get meanwhile.
  std::size_t qsize() const { return queue_.size(); }
  /// Whether no item waits, and whether as many wait as may; just as momentary.
  bool empty() const { return queue_.is_empty(); }
  bool full() const { return queue_.is_full(); }

  /// What `wait` (wait.hpp) looks at: ready while get would not block.
  const detail::QueueHandle& wait_source() const noexcept { return queue_; }

  /// This process will neither put nor get any more, with this copy or another. Again: nothing.
  void close() const { queue_.close(); }
  /// For programs that come from multiprocessing: nothing has to be waited for, as items are in when put returns.
  /// Errors: AssertionError before close.
  void join_thread() const { queue_.require_closed(); }
  void cancel_join_thread() const noexcept {}

  /// Whether both name the same queue.
  friend bool operator==(const Queue& a, const Queue& b) noexcept { return a.queue_ == b.queue_; }

 protected:
  Queue(std::ptrdiff_t maxsize, detail::QueueKind kind) : queue_(maxsize, kind) {}
  explicit Queue(detail::QueueHandle queue) noexcept : queue_(std::move(queue)) {}
  const detail::QueueHandle& handle() const noexcept { return queue_; }
  Delivery<T> delivery_until(Deadline deadline) const {
    auto delivery = take_delivery(deadline);
    if (!delivery) detail::QueueHandle::fail_empty();
    return std::move(*delivery);
  }

  /// Called by put when `item` cannot be encoded; the queue is as before. This one throws `error`, an override may do
  /// otherwise. Thread: the caller's.
  virtual void on_queue_feeder_error(const std::exception_ptr& error, [[maybe_unused]] const T& item) const {
    std::rethrow_exception(error);
  }

 private:
  friend struct Codec<Queue>;

  void put_until(const T& item, Deadline deadline) const {
    if (!append(item, deadline)) detail::QueueHandle::fail_full(queue_.size());
  }
  bool append(const T& item, Deadline deadline) const {
    queue_.require_open();
    detail::QueueMessage message;
    try {
      encode(item, message.value());
    } catch (...) {
      on_queue_feeder_error(std::current_exception(), item);
      return true;
    }
    return queue_.put(message, deadline);
  }
  T get_until(Deadline deadline) const {
    std::optional<T> item = take(deadline);
    if (!item) detail::QueueHandle::fail_empty();
    return std::move(*item);
  }
  std::optional<T> take(Deadline deadline) const {
    auto delivery = take_delivery(deadline);
    if (!delivery) return std::nullopt;
    return std::move(delivery->item);
  }
  std::optional<Delivery<T>> take_delivery(Deadline deadline) const {
    static_assert(!detail::views_message<T>(),
                  "troupe: what a queue gives must own what it holds: take std::string, not std::string_view");
    queue_.require_open();
    detail::ReceivedMessage message;
    if (!queue_.get(message, deadline)) return std::nullopt;
    return Delivery<T>{decode<T>(message.value()), message.deliveries()};
  }

  detail::QueueHandle queue_;
};

struct JoinableQueueOptions {
  /// An item that was got by a process which dies before it calls task_done is given to another one: at least once,
  /// instead of at most once. No more than 1024 items may be got and not done at a time.
  bool lease = false;
};

/// A queue whose users say when they are done with what they got.
template <class T = Dynamic>
class JoinableQueue : public Queue<T> {
 public:
  /// As Queue's. Errors: as Queue's.
  explicit JoinableQueue(std::ptrdiff_t maxsize = 0, JoinableQueueOptions options = {})
      : Queue<T>(maxsize, options.lease ? detail::QueueKind::leasing : detail::QueueKind::joinable) {}

  /// As get, and says how often the item was given to somebody; more than once only with leases.
  /// Blocks. Errors: as get.
  Delivery<T> get_delivery() const { return this->delivery_until(no_deadline); }
  /// The same for at most `timeout`. Errors: Empty as well.
  template <class Rep, class Period>
  Delivery<T> get_delivery(std::chrono::duration<Rep, Period> timeout) const {
    return this->delivery_until(deadline_after(timeout));
  }
  /// One item that was got is done; with leases, the oldest that this thread has got.
  /// Errors: ValueError when that was said of as many as were put; with leases, of as many as were got.
  void task_done() const { this->handle().task_done(); }
  /// Waits until all items that were put are done. Blocks.
  void join() const { this->handle().join(no_deadline); }
  /// The same for at most `timeout`; whether they are.
  template <class Rep, class Period>
  [[nodiscard]] bool join(std::chrono::duration<Rep, Period> timeout) const {
    return this->handle().join(deadline_after(timeout));
  }

 private:
  friend struct Codec<JoinableQueue>;
  explicit JoinableQueue(detail::QueueHandle queue) noexcept : Queue<T>(std::move(queue)) {}
};

/// The simplest of queues, without bound or timeouts.
template <class T = Dynamic>
class SimpleQueue {
 public:
  using value_type = T;

  /// Errors: AssertionError without a Runtime, OSError without memory.
  SimpleQueue() : queue_(0, detail::QueueKind::simple) {}

  /// Appends an item, and returns when it is in. Errors: OSError after close, and without memory; what the codec
  /// throws, and nothing is put then.
  void put(const T& item) const {
    queue_.require_open();
    detail::QueueMessage message;
    encode(item, message.value());
    static_cast<void>(queue_.put(message, no_deadline));
  }
  /// Takes the oldest item. Blocks: while there is none. Errors: OSError after close; CodecError when the item is no T.
  T get() const {
    queue_.require_open();
    detail::ReceivedMessage message;
    static_cast<void>(queue_.get(message, no_deadline));
    return decode<T>(message.value());
  }
  /// Whether no item waits; others may put and get meanwhile. Errors: OSError after close.
  bool empty() const {
    queue_.require_open();
    return queue_.is_empty();
  }
  /// See Queue.
  const detail::QueueHandle& wait_source() const noexcept { return queue_; }
  /// This process will neither put nor get any more, with this copy or another. Again: nothing.
  void close() const { queue_.close(); }
  /// Whether close was called in this process.
  bool closed() const noexcept { return queue_.is_closed(); }

 private:
  friend struct Codec<SimpleQueue>;
  explicit SimpleQueue(detail::QueueHandle queue) noexcept : queue_(std::move(queue)) {}

  detail::QueueHandle queue_;
};

/// A queue travels as the name of its memory.
/// Errors of decode: CodecError if it is a queue of another kind; OSError with ENOENT if all who had it are gone.
template <class T>
struct Codec<Queue<T>> {
  static void encode(const Queue<T>& queue, wire::Value::Builder out) { queue.queue_.encode(out); }
  static Queue<T> decode(wire::Value::Reader in) {
    return Queue<T>{detail::QueueHandle::decode(in, detail::QueueKind::plain)};
  }
};
template <class T>
struct Codec<JoinableQueue<T>> {
  static void encode(const JoinableQueue<T>& queue, wire::Value::Builder out) {
    queue.handle().encode(out);
  }
  static JoinableQueue<T> decode(wire::Value::Reader in) {
    return JoinableQueue<T>{detail::QueueHandle::decode(in, detail::QueueKind::joinable)};
  }
};
template <class T>
struct Codec<SimpleQueue<T>> {
  static void encode(const SimpleQueue<T>& queue, wire::Value::Builder out) { queue.queue_.encode(out); }
  static SimpleQueue<T> decode(wire::Value::Reader in) {
    return SimpleQueue<T>{detail::QueueHandle::decode(in, detail::QueueKind::simple)};
  }
};

}  // namespace troupe
