#pragma once

/// \file
/// Giving a ThreadPool work: the calls of task_calls.hpp, on threads.

#include <troupe/async_result.hpp>
#include <troupe/callback.hpp>
#include <troupe/progress.hpp>
#include <troupe/result_iterator.hpp>
#include <troupe/submission.hpp>
#include <troupe/task_options.hpp>
#include <troupe/thread_call.hpp>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace troupe {

/// What apply_async of a ThreadPool returns. A result that has no copies can be taken once.
template <class T>
using ThreadResult = AsyncResult<T, detail::ThreadValue<T>>;
/// The result of its map_async: all values, in the order of the input.
template <class T>
using ThreadMapResult = AsyncResult<T, detail::ThreadChunks<T>>;
/// What its imap returns.
template <class T>
using ThreadResultIterator = ResultIterator<T, detail::ThreadTasks<T>>;

/// Calls that run on a ThreadPool's threads, all with the same options and callbacks; as TaskCalls, with these
/// differences. Callables may be and capture anything. Arguments and items are copied or moved in and handed on as
/// values; wrap in std::ref what is to be shared. What a task throws arrives as it was thrown, the same object; results
/// are references to nothing: views in them become owners. Made by a ThreadPool; cheap to copy. Thread: any. Only in
/// the process that made the pool.
template <class OnResult = detail::NoCallback, class OnError = detail::NoCallback>
class ThreadCalls {
 public:
  /// Calls whose tasks have these options instead. `priority`, `name`, `retries` after one of `retry_on`, and `backoff`
  /// are as in a Pool. A `deadline` fails with TimeoutError what has not begun by then, as soon as somebody waits for
  /// it or a worker comes to it, and what runs once it has ended; it can look at this_task::deadline().
  /// Errors: ValueError for options that make no sense, and for a `timeout`: a thread cannot be stopped.
  ThreadCalls with(TaskOptions options) const {
    return {core_, detail::thread_task_options(std::move(options)), callbacks_};
  }
  /// As TaskCalls::callback; it runs on a thread of this pool that runs nothing but callbacks, one at a time.
  template <class F>
  ThreadCalls<std::decay_t<F>, OnError> callback(F&& call) const {
    return {core_, options_, callbacks_.with_result(std::forward<F>(call))};
  }
  /// As TaskCalls::error_callback.
  template <class F>
  ThreadCalls<OnResult, std::decay_t<F>> error_callback(F&& call) const {
    return {core_, options_, callbacks_.with_error(std::forward<F>(call))};
  }

  /// Calls `callable(arguments...)` on a worker and waits for the result. Arguments that are only read are not copied.
  /// Blocks; called by a task of this pool, it runs the call itself if no worker is free. Errors: what the callable
  /// throws; Cancelled; TimeoutError after its deadline; ValueError when the pool is not running.
  template <class F, class... Args>
  auto apply(F&& callable, Args&&... arguments) const {
    Callbacks::require_none();
    using Call = CallOf<std::decay_t<F>, std::decay_t<Args>...>;
    using Task = typename Call::template Borrowing<F, Args...>;
    require_retriable((detail::can_hand_on_again<std::decay_t<Args>> && ...));
    const auto task =
        make_ref<Task>(core_, options_, nullptr, std::forward<F>(callable), std::forward<Args>(arguments)...);
    detail::submit(*core_, task);
    task->wait(no_deadline);
    return task->take();
  }

  /// The same without waiting: ThreadResult of what the callable returns. Never blocks.
  /// Errors: ValueError when the pool is not running; Full.
  template <class F, class... Args>
  auto apply_async(F&& callable, Args&&... arguments) const {
    auto task = make_task(std::forward<F>(callable), std::forward<Args>(arguments)...);
    detail::submit(*core_, task);
    return ThreadResult<ResultOf<decltype(task)>>{std::move(task)};
  }

  /// apply_async, or empty where that would wait for room or throw Full (ThreadPoolOptions::max_pending_tasks).
  template <class F, class... Args>
  auto try_apply_async(F&& callable, Args&&... arguments) const {
    auto task = make_task(std::forward<F>(callable), std::forward<Args>(arguments)...);
    using Result = ThreadResult<ResultOf<decltype(task)>>;
    return detail::submit(*core_, task, detail::AtBound::give_up) ? std::optional<Result>(std::move(task))
                                                                  : std::nullopt;
  }

  /// As TaskCalls::map. Blocks. Errors: the first that a call threw (the rest of its chunk is not run, all other chunks
  /// are); what reading the input threw, and nothing is run then; ValueError when the pool is not running or chunksize
  /// is 0.
  template <class F, std::ranges::input_range Range>
  auto map(F&& callable, Range&& input, std::optional<std::size_t> chunksize = {}) const {
    Callbacks::require_none();
    return wait_for_map(submit_map<false>(std::forward<F>(callable), std::forward<Range>(input), chunksize));
  }
  /// The same with a progress bar, as TaskCalls::map.
  template <class F, std::ranges::input_range Range>
  auto map(F&& callable, Range&& input, const Progress& progress, std::optional<std::size_t> chunksize = {}) const {
    return map_with<false>(progress, std::forward<F>(callable), std::forward<Range>(input), chunksize);
  }
  /// The same without waiting: ThreadMapResult of a vector. Blocks: while the input is read.
  template <class F, std::ranges::input_range Range>
  auto map_async(F&& callable, Range&& input, std::optional<std::size_t> chunksize = {}) const {
    return to_result(submit_map<false>(std::forward<F>(callable), std::forward<Range>(input), chunksize));
  }

  /// map for callables of several parameters: every item is a tuple or pair of arguments. Blocks. Errors: as map.
  template <class F, std::ranges::input_range Range>
  auto starmap(F&& callable, Range&& input, std::optional<std::size_t> chunksize = {}) const {
    Callbacks::require_none();
    return wait_for_map(submit_map<true>(std::forward<F>(callable), std::forward<Range>(input), chunksize));
  }
  /// The same with a progress bar, as map.
  template <class F, std::ranges::input_range Range>
  auto starmap(F&& callable, Range&& input, const Progress& progress, std::optional<std::size_t> chunksize = {}) const {
    return map_with<true>(progress, std::forward<F>(callable), std::forward<Range>(input), chunksize);
  }
  /// The same without waiting, as map_async. Blocks: while the input is read.
  template <class F, std::ranges::input_range Range>
  auto starmap_async(F&& callable, Range&& input, std::optional<std::size_t> chunksize = {}) const {
    return to_result(submit_map<true>(std::forward<F>(callable), std::forward<Range>(input), chunksize));
  }

  /// As TaskCalls::imap: the results one by one in the order of the input, which is read lazily.
  /// Errors: ValueError as map.
  template <class F, std::ranges::input_range Range>
  auto imap(F&& callable, Range&& input, std::size_t chunksize = 1) const {
    Callbacks::require_none();
    return iterate(std::forward<F>(callable), std::forward<Range>(input), chunksize, false);
  }
  /// The same in the order in which the calls end.
  template <class F, std::ranges::input_range Range>
  auto imap_unordered(F&& callable, Range&& input, std::size_t chunksize = 1) const {
    Callbacks::require_none();
    return iterate(std::forward<F>(callable), std::forward<Range>(input), chunksize, true);
  }

 protected:
  using Callbacks = detail::Callbacks<OnResult, OnError>;

  ThreadCalls(Ref<detail::ThreadPoolCore> core, Ref<detail::SharedOptions> options, Callbacks callbacks)
      : core_(std::move(core)), options_(std::move(options)), callbacks_(std::move(callbacks)) {}
  detail::ThreadPoolCore& core() const noexcept { return *core_.get(); }
  Ref<detail::ThreadPoolCore> release_core() noexcept { return std::move(core_); }

 private:
  template <class, class>
  friend class ThreadCalls;

  /// Tasks that imap keeps under way.
  static constexpr std::size_t imap_window = 256;

  /// A call of one task. Owning: with values of its own; Borrowing: with references to the caller's, who waits.
  template <class Callable, class... Values>
  struct CallOf {
    static_assert(std::is_invocable_v<Callable&, Values...>,
                  "troupe: the callable does not take these arguments (number or types)");
    using result = detail::thread_result_t<std::invoke_result_t<Callable&, Values...>>;
    using Owning = detail::CallTask<result, Callable, Values...>;

    /// Functions and arrays, which decay to something else, are not lent.
    template <class Arg>
    using Lent = std::conditional_t<std::is_lvalue_reference_v<Arg> &&
                                        std::is_same_v<std::decay_t<Arg>, std::remove_cvref_t<Arg>>,
                                    const std::remove_cvref_t<Arg>&, std::decay_t<Arg>>;
    template <class F, class... Args>
    static constexpr bool can_borrow = std::is_invocable_v<Lent<F>&, Lent<Args>...>;
    template <class F, class... Args>
    using Borrowing = std::conditional_t<can_borrow<F, Args...>,
                                         detail::CallTask<result, Lent<F>, Lent<Args>...>, Owning>;
  };
  template <class Task>
  struct TaskResult;
  template <class T, class... Types>
  struct TaskResult<Ref<detail::CallTask<T, Types...>>> {
    using type = T;
  };
  template <class Task>
  using ResultOf = typename TaskResult<Task>::type;

  void require_retriable(bool can_call_again) const {
    if (options_ && options_->options.retries > 0 && !can_call_again)
      throw ValueError("tasks with arguments that cannot be copied cannot be retried");
  }

  template <class F, class... Args>
  auto make_task(F&& callable, Args&&... arguments) const {
    using Call = CallOf<std::decay_t<F>, std::decay_t<Args>...>;
    using Result = typename Call::result;
    require_retriable((detail::can_hand_on_again<std::decay_t<Args>> && ...));
    auto task = make_ref<typename Call::Owning>(core_, options_, nullptr, std::forward<F>(callable),
                                                std::forward<Args>(arguments)...);
    callbacks_.template set<Result, detail::ThreadValue<Result>>(*task);
    return task;
  }

  template <bool Star, class Callable, class Value>
  struct Item {
    static_assert(std::is_invocable_v<const Callable&, Value>,
                  "troupe: map passes one item to the callable; items that are tuples of arguments go to starmap");
    using result = detail::thread_result_t<std::invoke_result_t<const Callable&, Value>>;
  };
  template <class Callable, class... Values>
  struct StarItem {
    static_assert(std::is_invocable_v<const Callable&, Values...>,
                  "troupe: the items of starmap do not fit the callable's parameters (number or types)");
    using result = detail::thread_result_t<std::invoke_result_t<const Callable&, Values...>>;
  };
  template <class Callable, class... Values>
  struct Item<true, Callable, std::tuple<Values...>> : StarItem<Callable, Values...> {};
  template <class Callable, class First, class Second>
  struct Item<true, Callable, std::pair<First, Second>> : StarItem<Callable, First, Second> {};

  /// A map under way, and what it will give.
  template <class Result>
  struct Map {
    using All = typename std::conditional_t<std::is_void_v<Result>, std::type_identity<void>,
                                            std::type_identity<std::vector<detail::kept_result_t<Result>>>>::type;
    Ref<detail::ThreadGroup> group;
  };
  template <class Result>
  static auto to_result(Map<Result> map) {
    return ThreadMapResult<typename Map<Result>::All>{std::move(map.group)};
  }
  template <class Result>
  static auto wait_for_map(Map<Result> map) {
    map.group->wait(no_deadline);
    return detail::ThreadChunks<typename Map<Result>::All>::take(*map.group);
  }

  template <bool Star, class F, class Range>
  auto submit_map(F&& callable, Range&& input, std::optional<std::size_t> chunksize) const {
    using Callable = std::decay_t<F>;
    using Value = std::ranges::range_value_t<Range>;
    using Result = typename Item<Star, Callable, Value>::result;
    using Task = detail::ChunkTask<Result, Star, Callable, Value>;
    require_retriable(detail::can_hand_on_again<Value>);
    if constexpr (std::ranges::sized_range<Range>) {
      const auto size = static_cast<std::size_t>(std::ranges::size(input));
      const std::size_t chunk = detail::checked_chunksize(chunksize.value_or(default_chunksize(size)));
      const std::size_t num_chunks = detail::num_chunks(size, chunk);
      Map<Result> map{make_ref<detail::ThreadGroup>(core_, num_chunks)};
      std::vector<Ref<detail::ThreadTask>> tasks;
      tasks.reserve(num_chunks);
      const auto shared = std::make_shared<const Callable>(std::forward<F>(callable));
      auto next = std::ranges::begin(input);
      for (std::size_t begin = 0; begin < size; begin += chunk)
        tasks.push_back(make_ref<Task>(core_, options_, map.group, shared,
                                       read_items<typename Task::Items>(next, std::min(chunk, size - begin))));
      using All = typename Map<Result>::All;
      callbacks_.template set<All, detail::ThreadChunks<All>>(*map.group);
      detail::submit_group(*core_, *map.group, std::move(tasks));
      return map;
    } else {
      std::vector<Value> items;
      for (auto&& item : input) items.push_back(std::forward<decltype(item)>(item));
      return submit_map<Star>(std::forward<F>(callable), items | std::views::transform(MoveOut{}), chunksize);
    }
  }
  struct MoveOut {
    template <class T>
    T&& operator()(T& item) const noexcept {
      return std::move(item);
    }
  };

  template <class Items, class Iterator>
  static Items read_items(Iterator& next, std::size_t count) {
    Items items;
    items.reserve(count);
    for (; items.size() < count; ++next) items.push_back({*next});
    return items;
  }

  std::size_t default_chunksize(std::size_t size, std::size_t least_chunks = 1) const noexcept {
    return detail::default_chunksize(size, std::max(4 * detail::num_workers(*core_), least_chunks));
  }

  template <bool Star, class F, class Range>
  auto map_with(const Progress& progress, F&& callable, Range&& input, std::optional<std::size_t> chunksize) const {
    Callbacks::require_none();
    if constexpr (std::ranges::sized_range<Range>) {
      const auto size = static_cast<std::size_t>(std::ranges::size(input));
      const std::size_t chunk = detail::checked_chunksize(chunksize.value_or(default_chunksize(size, 200)));
      progress.begin(size);
      auto map = submit_map<Star>(std::forward<F>(callable), std::forward<Range>(input), chunk);
      progress.show(to_result(map), size, chunk);
      return wait_for_map(std::move(map));
    } else {
      std::vector<std::ranges::range_value_t<Range>> items;
      for (auto&& item : input) items.push_back(std::forward<decltype(item)>(item));
      return map_with<Star>(progress, std::forward<F>(callable), items | std::views::transform(MoveOut{}), chunksize);
    }
  }

  template <class F, class Range>
  auto iterate(F&& callable, Range&& input, std::size_t chunksize, bool by_arrival) const {
    using Callable = std::decay_t<F>;
    using Value = std::ranges::range_value_t<Range>;
    using Result = typename Item<false, Callable, Value>::result;
    static_assert(!std::is_void_v<Result>, "troupe: imap needs a callable with a result; use map for one without");
    require_retriable(detail::can_hand_on_again<Value>);
    detail::checked_chunksize(chunksize);
    detail::require_running(*core_);
    // Shared, because std::function copies; a view may be movable only.
    struct Input {
      std::views::all_t<Range> items;
      std::shared_ptr<const Callable> callable;
      std::optional<std::ranges::iterator_t<std::views::all_t<Range>>> next;
    };
    auto state = std::make_shared<Input>(Input{std::views::all(std::forward<Range>(input)),
                                               std::make_shared<const Callable>(std::forward<F>(callable)),
                                               {}});
    auto feed = [core = core_, options = options_, state, chunksize](const Ref<detail::ThreadListener>& listener) {
      if (!state->next) state->next.emplace(std::ranges::begin(state->items));
      auto& next = *state->next;
      const auto end = std::ranges::end(state->items);
      Ref<detail::ThreadTask> task;
      if (next == end) return task;
      if (chunksize == 1) {
        using Task = detail::CallTask<Result, detail::SharedCallable<Callable>, Value>;
        task = make_ref<Task>(core, options, listener, detail::SharedCallable<Callable>{state->callable}, *next);
        ++next;
      } else {
        using Task = detail::ChunkTask<Result, false, Callable, Value>;
        typename Task::Items items;
        for (; items.size() < chunksize && next != end; ++next) items.push_back({*next});
        task = make_ref<Task>(core, options, listener, state->callable, std::move(items));
      }
      detail::submit(*core, task, detail::AtBound::wait);
      return task;
    };
    using Results = ThreadResultIterator<Result>;
    return Results{core_,
                   std::move(feed),
                   {.order = by_arrival ? Results::Order::arrival : Results::Order::input,
                    .window = std::max(imap_window, 4 * detail::num_workers(*core_)),
                    .chunked = chunksize > 1,
                    .single_pass = !std::ranges::forward_range<Range>}};
  }

  Ref<detail::ThreadPoolCore> core_;
  Ref<detail::SharedOptions> options_;
  [[no_unique_address]] Callbacks callbacks_;
};

}  // namespace troupe
