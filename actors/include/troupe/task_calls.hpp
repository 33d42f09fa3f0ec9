#pragma once

/// \file
/// Giving a pool work: apply, map and their kin. What Pool offers itself, and what Pool::with offers with options.

#include <troupe/async_result.hpp>
#include <troupe/callback.hpp>
#include <troupe/progress.hpp>
#include <troupe/result_iterator.hpp>
#include <troupe/submission.hpp>
#include <troupe/task_call.hpp>
#include <troupe/task_options.hpp>

#include <algorithm>
#include <concepts>
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

/// Calls that run in a pool's workers, all with the same options and callbacks. Made by a Pool; cheap to copy.
/// Thread: any. Only in the process that made the pool.
///
///     pool.with({.timeout = 2s, .retries = 3}).apply(fetch, url);
///     pool.callback(store).error_callback(report).apply_async(fetch, url);
///
/// Callables and arguments: see callable.hpp. What cannot travel does not compile.
template <class OnResult = detail::NoCallback, class OnError = detail::NoCallback>
class TaskCalls {
 public:
  /// Calls whose tasks have these options instead. Errors: ValueError for options that make no sense.
  TaskCalls with(TaskOptions options) const {
    return {core_, make_ref<detail::SharedOptions>(std::move(options)), callbacks_};
  }
  /// Calls whose results are given to `call` as well, once each: for map_async and starmap_async the vector of all.
  /// It runs on this process's callback thread (one for all pools), before the result is ready. If it throws, that is
  /// printed and harms nothing; while it blocks, other callbacks wait, nothing else. Only for the _async calls. A pool
  /// that is terminated does not begin callbacks any more, and its end waits for the one that runs. A map_async of
  /// nothing calls none.
  template <class F>
  TaskCalls<std::decay_t<F>, OnError> callback(F&& call) const {
    return {core_, options_, callbacks_.with_result(std::forward<F>(call))};
  }
  /// The same for what tasks fail with: `call` takes a std::exception_ptr or a const std::exception&.
  template <class F>
  TaskCalls<OnResult, std::decay_t<F>> error_callback(F&& call) const {
    return {core_, options_, callbacks_.with_error(std::forward<F>(call))};
  }

  /// Calls `callable(arguments...)` in a worker and waits for the result. Blocks.
  /// Errors: those of AsyncResult::get; ValueError when the pool is closed; those of encoding the arguments.
  template <class F, class... Args>
  auto apply(F&& callable, Args&&... arguments) const {
    Callbacks::require_none();
    using Call = CallOf<std::decay_t<F>, std::decay_t<Args>...>;
    const Ref<detail::TaskRecord> task = [&] {
      detail::PoolVisit visit{*core_};
      auto under_way = submit_call<Call>(callable, arguments...);
      visit.wait(*under_way);
      return under_way;
    }();
    return detail::take_value<typename Call::result>(*task);
  }

  /// The same without waiting: AsyncResult of what the callable returns. Never blocks.
  /// Errors: ValueError when the pool is closed; those of encoding the arguments; OSError and Full when there is no
  /// shared memory for large ones.
  template <class F, class... Args>
  auto apply_async(F&& callable, Args&&... arguments) const {
    using Call = CallOf<std::decay_t<F>, std::decay_t<Args>...>;
    return AsyncResult<typename Call::result>{submit_call<Call>(callable, arguments...)};
  }

  /// apply_async, or empty where that would wait for room or throw Full (PoolOptions::max_pending_tasks).
  template <class F, class... Args>
  auto try_apply_async(F&& callable, Args&&... arguments) const {
    using Call = CallOf<std::decay_t<F>, std::decay_t<Args>...>;
    using Result = AsyncResult<typename Call::result>;
    Ref<detail::TaskRecord> task = encode_task<Call>(callable, arguments...);
    return detail::try_submit(*core_, task) ? std::optional<Result>(std::move(task)) : std::nullopt;
  }

  /// Calls `callable(item)` for every item of `input`; the results in the order of the input. Blocks.
  /// Shape: `input` any input range, read to its end before the first call. `chunksize` items travel together; none:
  /// so that each worker gets about four chunks.
  /// Errors: the first that a call threw (the rest of its chunk is not run, all other chunks are); what reading the
  /// input threw, and nothing is run then; ValueError when the pool is closed or chunksize is 0.
  template <class F, std::ranges::input_range Range>
  auto map(F&& callable, Range&& input, std::optional<std::size_t> chunksize = {}) const {
    Callbacks::require_none();
    return map_async(std::forward<F>(callable), std::forward<Range>(input), chunksize).get();
  }

  /// The same with a progress bar (progress.hpp), which shows how many items are done. `chunksize` none: so that it
  /// moves at least two hundred times.
  template <class F, std::ranges::input_range Range>
  auto map(F&& callable, Range&& input, const Progress& progress, std::optional<std::size_t> chunksize = {}) const {
    return map_with<false>(progress, std::forward<F>(callable), std::forward<Range>(input), chunksize);
  }

  /// The same without waiting: MapResult of a vector. Blocks: while the input is read.
  template <class F, std::ranges::input_range Range>
  auto map_async(F&& callable, Range&& input, std::optional<std::size_t> chunksize = {}) const {
    return submit_map<false>(std::forward<F>(callable), std::forward<Range>(input), chunksize);
  }

  /// map for callables of several parameters: every item is a tuple or pair of arguments. Blocks. Errors: as map.
  template <class F, std::ranges::input_range Range>
  auto starmap(F&& callable, Range&& input, std::optional<std::size_t> chunksize = {}) const {
    Callbacks::require_none();
    return starmap_async(std::forward<F>(callable), std::forward<Range>(input), chunksize).get();
  }
  /// The same with a progress bar, as map.
  template <class F, std::ranges::input_range Range>
  auto starmap(F&& callable, Range&& input, const Progress& progress, std::optional<std::size_t> chunksize = {}) const {
    return map_with<true>(progress, std::forward<F>(callable), std::forward<Range>(input), chunksize);
  }
  /// The same without waiting, as map_async. Blocks: while the input is read.
  template <class F, std::ranges::input_range Range>
  auto starmap_async(F&& callable, Range&& input, std::optional<std::size_t> chunksize = {}) const {
    return submit_map<true>(std::forward<F>(callable), std::forward<Range>(input), chunksize);
  }

  /// The results of `callable(item)` one by one in the order of the input, before all are done. Reads `input` lazily;
  /// an lvalue must outlive the iterator. Blocks: while the first items are read, unless `input` is single-pass, which
  /// is read when results are asked for. Errors: ValueError as map.
  template <class F, std::ranges::input_range Range>
  auto imap(F&& callable, Range&& input, std::size_t chunksize = 1) const {
    Callbacks::require_none();
    return iterate(std::forward<F>(callable), std::forward<Range>(input), chunksize, Order::input);
  }
  /// The same in the order in which the calls end.
  template <class F, std::ranges::input_range Range>
  auto imap_unordered(F&& callable, Range&& input, std::size_t chunksize = 1) const {
    Callbacks::require_none();
    return iterate(std::forward<F>(callable), std::forward<Range>(input), chunksize, Order::arrival);
  }

 protected:
  using Callbacks = detail::Callbacks<OnResult, OnError>;

  TaskCalls(Ref<detail::PoolCore> core, Ref<detail::SharedOptions> options, Callbacks callbacks)
      : core_(std::move(core)), options_(std::move(options)), callbacks_(std::move(callbacks)) {}
  detail::PoolCore& core() const noexcept { return *core_.get(); }

 private:
  template <class, class>
  friend class TaskCalls;

  enum class Order : bool { input, arrival };
  /// Tasks that imap keeps under way: enough to hide the way to the workers and back.
  static constexpr std::size_t imap_window = 256;

  /// A call of one task.
  template <class Callable, class... Values>
  struct CallOf {
    static_assert((require_portable<Callable>(), true));
    static_assert(std::is_invocable_v<const Callable&, Values...>,
                  "troupe: the callable does not take these arguments (number or types)");
    using callable = Callable;
    using result = call_result_t<Callable, Values...>;
  };

  template <class Call, class... Args>
  Ref<detail::TaskRecord> submit_call(const typename Call::callable& callable, const Args&... arguments) const {
    Ref<detail::TaskRecord> task = encode_task<Call>(callable, arguments...);
    detail::submit(*core_, task);
    return task;
  }

  template <class Call, class... Args>
  Ref<detail::TaskRecord> encode_task(const typename Call::callable& callable, const Args&... arguments) const {
    using Result = typename Call::result;
    detail::TaskBuilder builder{*core_, options_.get()};
    encode_call(builder.message(), builder.id(), callable, arguments...);
    Ref<detail::TaskRecord> task = builder.finish();
    callbacks_.template set<Result, detail::SingleTask<Result>>(*task);
    return task;
  }

  template <bool Star, class Callable, class Value>
  struct Item {
    static_assert(std::is_invocable_v<const Callable&, Value>,
                  "troupe: map passes one item to the callable; items that are tuples of arguments go to starmap");
    using type = std::tuple_element_t<0, detail::stored_parameters_t<Callable, Value>>;
    using result = call_result_t<Callable, Value>;
  };
  template <class Callable, class... Values>
  struct StarItem {
    static_assert(std::is_invocable_v<const Callable&, Values...>,
                  "troupe: the items of starmap do not fit the callable's parameters (number or types)");
    using type = detail::stored_parameters_t<Callable, Values...>;
    using result = call_result_t<Callable, Values...>;
  };
  template <class Callable, class... Values>
  struct Item<true, Callable, std::tuple<Values...>> : StarItem<Callable, Values...> {};
  template <class Callable, class First, class Second>
  struct Item<true, Callable, std::pair<First, Second>> : StarItem<Callable, First, Second> {};

  template <class T>
  struct ManyOf {
    using type = std::vector<T>;
  };

  /// Writes one chunk. Arithmetic items are converted to the callable's parameter here, so that they travel packed.
  template <class ItemType, bool Star, class Callable, class Iterator>
  static void encode_items_as(detail::TaskBuilder& builder, const Callable& callable, Iterator first,
                              std::size_t count) {
    using Value = std::iter_value_t<Iterator>;
    if constexpr (std::is_arithmetic_v<ItemType> && !std::is_same_v<ItemType, Value>) {
      auto converted = std::views::counted(std::move(first), static_cast<std::iter_difference_t<Iterator>>(count)) |
                       std::views::transform([](const auto& item) { return static_cast<ItemType>(item); });
      encode_chunk<ItemType, Star>(builder.message(), builder.id(), callable, converted.begin(), count);
    } else {
      encode_chunk<ItemType, Star>(builder.message(), builder.id(), callable, std::move(first), count);
    }
  }

  template <bool Star, class F, class Range>
  auto submit_map(F&& callable, Range&& input, std::optional<std::size_t> chunksize) const {
    using Callable = std::decay_t<F>;
    using Value = std::ranges::range_value_t<Range>;
    require_portable<Callable>();
    if constexpr (std::ranges::forward_range<Range> && std::ranges::sized_range<Range>) {
      using Types = Item<Star, Callable, Value>;
      using Result = typename Types::result;
      const auto size = static_cast<std::size_t>(std::ranges::size(input));
      const std::size_t chunk = detail::checked_chunksize(chunksize.value_or(default_chunksize(size)));
      const std::size_t num_chunks = detail::num_chunks(size, chunk);
      auto group = make_ref<detail::TaskGroup>(core_, num_chunks);
      std::vector<Ref<detail::TaskRecord>> tasks;
      tasks.reserve(num_chunks);
      auto first = std::ranges::begin(input);
      for (std::size_t begin = 0; begin < size; begin += chunk) {
        const std::size_t count = std::min(chunk, size - begin);
        detail::TaskBuilder builder{*core_, options_.get()};
        encode_items_as<typename Types::type, Star>(builder, static_cast<const Callable&>(callable), first, count);
        std::ranges::advance(first, static_cast<std::ranges::range_difference_t<Range>>(count));
        tasks.push_back(builder.finish(group));
      }
      using All = typename std::conditional_t<std::is_void_v<Result>, std::type_identity<void>, ManyOf<Result>>::type;
      callbacks_.template set<All, detail::ChunkedTasks<All>>(*group);
      detail::submit_group(*core_, *group, std::move(tasks));
      return MapResult<All>{std::move(group)};
    } else {
      std::vector<Value> items;
      for (auto&& item : input) items.push_back(std::forward<decltype(item)>(item));
      return submit_map<Star>(std::forward<F>(callable), items, chunksize);
    }
  }

  std::size_t default_chunksize(std::size_t size, std::size_t least_chunks = 1) const noexcept {
    return detail::default_chunksize(size, std::max(4 * detail::num_workers(*core_), least_chunks));
  }

  template <bool Star, class F, class Range>
  auto map_with(const Progress& progress, F&& callable, Range&& input, std::optional<std::size_t> chunksize) const {
    Callbacks::require_none();
    if constexpr (std::ranges::forward_range<Range> && std::ranges::sized_range<Range>) {
      const auto size = static_cast<std::size_t>(std::ranges::size(input));
      const std::size_t chunk = detail::checked_chunksize(chunksize.value_or(default_chunksize(size, 200)));
      progress.begin(size);
      const auto result = submit_map<Star>(std::forward<F>(callable), std::forward<Range>(input), chunk);
      progress.show(result, size, chunk);
      return result.get();
    } else {
      std::vector<std::ranges::range_value_t<Range>> items;
      for (auto&& item : input) items.push_back(std::forward<decltype(item)>(item));
      return map_with<Star>(progress, std::forward<F>(callable), items, chunksize);
    }
  }

  template <class F, class Range>
  auto iterate(F&& callable, Range&& input, std::size_t chunksize, Order order) const {
    using Callable = std::decay_t<F>;
    using Types = Item<false, Callable, std::ranges::range_value_t<Range>>;
    using ItemType = typename Types::type;
    using Result = typename Types::result;
    require_portable<Callable>();
    static_assert(!std::is_void_v<Result>, "troupe: imap needs a callable with a result; use map for one without");
    detail::checked_chunksize(chunksize);
    detail::require_running(*core_);
    // Shared, because std::function copies; a view may be movable only.
    struct Input {
      std::views::all_t<Range> items;
      Callable callable;
      std::optional<std::ranges::iterator_t<std::views::all_t<Range>>> next;
    };
    auto state = std::make_shared<Input>(Input{std::views::all(std::forward<Range>(input)), callable, {}});
    auto feed = [core = core_, options = options_, state, chunksize](const Ref<detail::TaskListener>& listener) {
      if (!state->next) state->next.emplace(std::ranges::begin(state->items));
      auto& next = *state->next;
      const auto end = std::ranges::end(state->items);
      if (next == end) return Ref<detail::TaskRecord>{};
      detail::TaskBuilder builder{*core, options.get()};
      if (chunksize == 1) {
        encode_call(builder.message(), builder.id(), state->callable,
                    static_cast<const ItemType&>(
                        detail::as_parameter<ItemType>(static_cast<const std::ranges::range_value_t<Range>&>(*next))));
        ++next;
      } else {
        std::vector<std::ranges::range_value_t<Range>> items;
        for (; items.size() < chunksize && next != end; ++next) items.push_back(*next);
        encode_items_as<ItemType, false>(builder, state->callable, items.begin(), items.size());
      }
      Ref<detail::TaskRecord> task = builder.finish(listener);
      detail::submit_when_room(*core, task);
      return task;
    };
    using Results = ResultIterator<Result>;
    return Results{core_,
                   std::move(feed),
                   {.order = order == Order::input ? Results::Order::input : Results::Order::arrival,
                    .window = std::max(imap_window, 4 * detail::num_workers(*core_)),
                    .chunked = chunksize > 1,
                    .single_pass = !std::ranges::forward_range<Range>}};
  }

  Ref<detail::PoolCore> core_;
  Ref<detail::SharedOptions> options_;
  [[no_unique_address]] Callbacks callbacks_;
};

}  // namespace troupe
