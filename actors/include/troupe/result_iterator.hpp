#pragma once

/// \file
/// Results of a pool one by one, as they come: what imap and imap_unordered return.

#include <troupe/async_result.hpp>
#include <troupe/submission.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <iterator>
#include <optional>
#include <utility>
#include <vector>

namespace troupe {

namespace detail {

/// What a ResultIterator over the tasks of a Pool deals with.
template <class T>
struct PoolTasks {
  using Core = PoolCore;
  using Task = TaskRecord;
  using Waited = Completion;
  using Listener = TaskListener;
  using Arrivals = detail::Arrivals;

  static T value(const TaskRecord& task) { return take_value<T>(task); }
  static void append_chunk(const TaskRecord& task, std::vector<T>& values) {
    if (task.error()) std::rethrow_exception(task.error());
    auto message = task.open();
    decode_chunk_result(message, values);
  }
};

}  // namespace detail

/// An input range of results. Reads its input lazily, on the thread that asks for results, and never further ahead than
/// its window of tasks; an endless input is fine. While a result is ready nothing is read, so a slow input delays
/// results by one item at most. Movable. Thread: caller.
///
///     for (int y : pool.imap(square, std::views::iota(0))) if (y > 1000) break;
///
/// A task that throws makes the one `next` throw; with a chunksize of 1 the iteration can go on after it, with larger
/// chunks it ends there. An input that throws makes `next` throw after all results of what was read before.
template <class T, class Tasks = detail::PoolTasks<T>>
class ResultIterator {
  using Core = typename Tasks::Core;
  using Task = typename Tasks::Task;
  using Arrivals = typename Tasks::Arrivals;

 public:
  /// Reads the input and submits one task for it; null at the end of the input.
  using Feed = std::function<Ref<Task>(const Ref<typename Tasks::Listener>&)>;
  enum class Order : std::uint8_t { input, arrival };

  struct Options {
    Order order;
    std::size_t window;  // most tasks under way
    bool chunked;        // a task has many results
    bool single_pass;    // the input may be a stream, where reading waits for somebody
  };

  ResultIterator(const Ref<Core>& core, Feed feed, Options options)
      : feed_(std::move(feed)), options_(options) {
    if (options.order == Order::arrival) arrivals_ = make_ref<Arrivals>(core);
    if (!options.single_pass) fill();
  }

  /// The next result, empty at the end. Blocks: until there is one.
  /// Errors: what the task threw; WorkerDied; Cancelled; what reading the input threw.
  std::optional<T> next() { return next_until(no_deadline); }
  /// The same with a bound, beside the time that reading the input takes.
  /// Errors: TimeoutError as well; the result stays to be asked for again.
  template <class Rep, class Period>
  std::optional<T> next(std::chrono::duration<Rep, Period> timeout) {
    return next_until(deadline_after(timeout));
  }

  /// Waits until `next` would not have to, or until the timeout; returns whether it would not. Blocks: the time that
  /// reading the input takes as well. Errors: none of the tasks'.
  template <class Rep, class Period>
  bool wait(std::chrono::duration<Rep, Period> timeout) {
    if (chunk_next_ < chunk_.size()) return true;
    fill();
    return num_out_ == 0 || next_to_come().wait(deadline_after(timeout));
  }

  class iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = T;
    using difference_type = std::ptrdiff_t;

    iterator() = default;
    explicit iterator(ResultIterator* results) : results_(results) { ++*this; }
    const T& operator*() const { return *value_; }
    const T* operator->() const { return &*value_; }
    iterator& operator++() {
      value_ = results_->next();
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const iterator& it, std::default_sentinel_t) { return !it.value_; }

   private:
    ResultIterator* results_ = nullptr;
    std::optional<T> value_;
  };

  /// Starts a range-for; one pass.
  iterator begin() { return iterator{this}; }
  std::default_sentinel_t end() const { return {}; }

 private:
  using Clock = std::chrono::steady_clock;
  /// An item that took longer to read came from somewhere slow: then its result is waited for a little before the next
  /// item is read, an eighth of the time that this one took.
  static constexpr std::chrono::milliseconds slow_read{1};
  static constexpr std::chrono::milliseconds longest_pause{20};

  bool has_result() const { return arrivals_ ? arrivals_->ready() : !in_order_.empty() && in_order_.front()->ready(); }
  typename Tasks::Waited& next_to_come() {
    return arrivals_ ? static_cast<typename Tasks::Waited&>(*arrivals_) : *in_order_.front();
  }

  void fill() {
    while (feed_ && num_out_ < options_.window && !has_result()) {
      const auto before = options_.single_pass ? Clock::now() : Clock::time_point{};
      read_one();
      if (!options_.single_pass || num_out_ == 0) continue;
      const auto now = Clock::now();
      if (now - before > slow_read)
        next_to_come().wait(now + std::min<Clock::duration>((now - before) / 8, longest_pause));
    }
  }

  void read_one() {
    try {
      Ref<Task> task = feed_(arrivals_);
      if (!task) {
        feed_ = nullptr;
        return;
      }
      ++num_out_;
      if (!arrivals_) in_order_.push_back(std::move(task));
    } catch (...) {
      input_error_ = std::current_exception();
      feed_ = nullptr;
    }
  }

  std::optional<T> next_until(Deadline deadline) {
    if (chunk_next_ < chunk_.size()) return std::move(chunk_[chunk_next_++]);
    for (;;) {
      fill();
      if (num_out_ == 0) {
        if (input_error_) std::rethrow_exception(std::exchange(input_error_, nullptr));
        return std::nullopt;
      }
      const Ref<Task> task = take(deadline);
      --num_out_;
      if (!options_.chunked) return Tasks::value(*task);
      open_chunk(*task);
      if (!chunk_.empty()) return std::move(chunk_[chunk_next_++]);
    }
  }

  Ref<Task> take(Deadline deadline) {
    if (!arrivals_) {
      if (!in_order_.front()->wait(deadline)) throw TimeoutError("no result in time; the iteration can go on");
      Ref<Task> task = std::move(in_order_.front());
      in_order_.pop_front();
      return task;
    }
    for (;;) {
      if (Ref<Task> task = arrivals_->try_take()) return task;
      if (!arrivals_->wait(deadline)) throw TimeoutError("no result in time; the iteration can go on");
    }
  }

  void open_chunk(const Task& task) {
    chunk_.clear();
    chunk_next_ = 0;
    try {
      Tasks::append_chunk(task, chunk_);
    } catch (...) {
      feed_ = nullptr;  // a chunk is lost: the sequence cannot go on
      num_out_ = 0;
      in_order_.clear();
      throw;
    }
  }

  Feed feed_;
  Options options_;
  Ref<Arrivals> arrivals_;          // by arrival
  std::deque<Ref<Task>> in_order_;  // by input
  std::size_t num_out_ = 0;
  std::exception_ptr input_error_;
  std::vector<T> chunk_;
  std::size_t chunk_next_ = 0;
};

}  // namespace troupe
