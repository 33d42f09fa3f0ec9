#pragma once

/// \file
/// A pool of worker processes, with the interface of multiprocessing.Pool.
///
///     troupe::Pool pool{4};
///     std::vector<int> squares = pool.map(square, std::views::iota(0, 100));

#include <troupe/async_result.hpp>
#include <troupe/result_iterator.hpp>
#include <troupe/start_method.hpp>
#include <troupe/submission.hpp>
#include <troupe/task_call.hpp>

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <sys/types.h>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace troupe {

struct PoolOptions {
  /// How many processes; none: as many as this process has processors (cpu_count()).
  std::optional<int> workers;
  /// How they are started; none: as get_start_method() says.
  std::optional<StartMethod> start_method;
  /// Shows in error texts, process names and /proc/<pid>/fd; empty: "Pool-N".
  std::string name;
};

/// Worker processes that run tasks for this process. Tasks are taken in the order of submission; a worker that dies
/// costs the task that it was running (WorkerDied) and is replaced, everything else goes on.
/// Workers are daemonic: they end with this process and may not start processes. The destructor terminates.
/// Thread: any. Only in the process that made it.
///
/// Callables and arguments: see callable.hpp. What cannot travel does not compile.
class Pool {
 public:
  /// Starts the workers. Blocks: until they are started, not until they are ready.
  /// Errors: ValueError for less than one worker; OSError when one cannot be started; AssertionError without a Runtime
  /// and in a daemonic process.
  explicit Pool(PoolOptions options = {});
  explicit Pool(int workers) : Pool(PoolOptions{.workers = workers, .start_method = {}, .name = {}}) {}
  /// Terminates and joins; logs a warning if the pool was neither closed nor terminated before.
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  /// Calls `callable(arguments...)` in a worker and waits for the result. Blocks.
  /// Errors: those of AsyncResult::get; ValueError when the pool is closed; those of encoding the arguments.
  template <class F, class... Args>
  auto apply(F&& callable, Args&&... arguments) {
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
  auto apply_async(F&& callable, Args&&... arguments) {
    using Call = CallOf<std::decay_t<F>, std::decay_t<Args>...>;
    return AsyncResult<typename Call::result>{submit_call<Call>(callable, arguments...)};
  }

  /// Calls `callable(item)` for every item of `input`; the results in the order of the input. Blocks.
  /// Shape: `input` any input range, read to its end before the first call. `chunksize` items travel together; none:
  /// so that each worker gets about four chunks.
  /// Errors: the first that a call threw (the rest of its chunk is not run, all other chunks are); what reading the
  /// input threw, and nothing is run then; ValueError when the pool is closed or chunksize is 0.
  template <class F, std::ranges::input_range Range>
  auto map(F&& callable, Range&& input, std::optional<std::size_t> chunksize = {}) {
    return map_async(std::forward<F>(callable), std::forward<Range>(input), chunksize).get();
  }

  /// The same without waiting: MapResult of a vector. Blocks: while the input is read.
  template <class F, std::ranges::input_range Range>
  auto map_async(F&& callable, Range&& input, std::optional<std::size_t> chunksize = {}) {
    return submit_map<false>(std::forward<F>(callable), std::forward<Range>(input), chunksize);
  }

  /// map for callables of several parameters: every item is a tuple or pair of arguments.
  template <class F, std::ranges::input_range Range>
  auto starmap(F&& callable, Range&& input, std::optional<std::size_t> chunksize = {}) {
    return starmap_async(std::forward<F>(callable), std::forward<Range>(input), chunksize).get();
  }
  template <class F, std::ranges::input_range Range>
  auto starmap_async(F&& callable, Range&& input, std::optional<std::size_t> chunksize = {}) {
    return submit_map<true>(std::forward<F>(callable), std::forward<Range>(input), chunksize);
  }

  /// The results of `callable(item)` one by one in the order of the input, before all are done. Reads `input` lazily;
  /// an lvalue must outlive the iterator. Blocks: while the first items are read, unless `input` is single-pass, which
  /// is read when results are asked for. Errors: ValueError as map.
  template <class F, std::ranges::input_range Range>
  auto imap(F&& callable, Range&& input, std::size_t chunksize = 1) {
    return iterate(std::forward<F>(callable), std::forward<Range>(input), chunksize, Order::input);
  }
  /// The same in the order in which the calls end.
  template <class F, std::ranges::input_range Range>
  auto imap_unordered(F&& callable, Range&& input, std::size_t chunksize = 1) {
    return iterate(std::forward<F>(callable), std::forward<Range>(input), chunksize, Order::arrival);
  }

  /// Takes no more tasks; workers end when all are done. Never blocks; may be repeated.
  void close();
  /// Ends the workers now. What is not done fails with Cancelled. Never blocks; may be repeated.
  void terminate();
  /// Waits until the workers have ended. Blocks. Errors: ValueError while the pool is running.
  void join();
  /// The same with a bound; returns whether they have ended. Errors: ValueError while the pool is running.
  template <class Rep, class Period>
  bool join(std::chrono::duration<Rep, Period> timeout) {
    return join_until(deadline_after(timeout));
  }

  /// How many workers the pool keeps.
  std::size_t num_workers() const noexcept { return detail::num_workers(*core_); }
  /// Process ids of the workers that live now; shorter while one is being replaced. Thread: any.
  std::vector<pid_t> worker_pids() const;
  /// "Pool-1", or the name given.
  const std::string& name() const noexcept;

 private:
  enum class Order : bool { input, arrival };
  /// Tasks that imap keeps under way: enough to hide the way to the workers and back.
  static constexpr std::size_t imap_window = 256;

  bool join_until(Deadline deadline);
  static std::size_t checked_chunksize(std::size_t chunksize);

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
  Ref<detail::TaskRecord> submit_call(const typename Call::callable& callable, const Args&... arguments) {
    detail::TaskBuilder builder{*core_};
    encode_call(builder.message(), builder.id(), callable, arguments...);
    Ref<detail::TaskRecord> task = builder.finish();
    detail::submit(*core_, task);
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
  auto submit_map(F&& callable, Range&& input, std::optional<std::size_t> chunksize) {
    using Callable = std::decay_t<F>;
    using Value = std::ranges::range_value_t<Range>;
    require_portable<Callable>();
    if constexpr (std::ranges::forward_range<Range> && std::ranges::sized_range<Range>) {
      using Types = Item<Star, Callable, Value>;
      using Result = typename Types::result;
      const auto size = static_cast<std::size_t>(std::ranges::size(input));
      const std::size_t chunk = checked_chunksize(chunksize.value_or(default_chunksize(size)));
      const std::size_t num_chunks = (size + chunk - 1) / chunk;
      auto group = make_ref<detail::TaskGroup>(core_, num_chunks);
      std::vector<Ref<detail::TaskRecord>> tasks;
      tasks.reserve(num_chunks);
      auto first = std::ranges::begin(input);
      for (std::size_t begin = 0; begin < size; begin += chunk) {
        const std::size_t count = std::min(chunk, size - begin);
        detail::TaskBuilder builder{*core_};
        encode_items_as<typename Types::type, Star>(builder, static_cast<const Callable&>(callable), first, count);
        std::ranges::advance(first, static_cast<std::ranges::range_difference_t<Range>>(count));
        tasks.push_back(builder.finish(group));
      }
      detail::submit_group(*core_, *group, std::move(tasks));
      using All = typename std::conditional_t<std::is_void_v<Result>, std::type_identity<void>, ManyOf<Result>>::type;
      return MapResult<All>{std::move(group)};
    } else {
      std::vector<Value> items;
      for (auto&& item : input) items.push_back(std::forward<decltype(item)>(item));
      return submit_map<Star>(std::forward<F>(callable), items, chunksize);
    }
  }

  std::size_t default_chunksize(std::size_t size) const noexcept {
    const std::size_t chunks = 4 * num_workers();
    return std::max<std::size_t>(1, (size + chunks - 1) / chunks);
  }

  template <class F, class Range>
  auto iterate(F&& callable, Range&& input, std::size_t chunksize, Order order) {
    using Callable = std::decay_t<F>;
    using Types = Item<false, Callable, std::ranges::range_value_t<Range>>;
    using ItemType = typename Types::type;
    using Result = typename Types::result;
    require_portable<Callable>();
    static_assert(!std::is_void_v<Result>, "troupe: imap needs a callable with a result; use map for one without");
    checked_chunksize(chunksize);
    detail::require_running(*core_);
    // Shared, because std::function copies; a view may be movable only.
    struct Input {
      std::views::all_t<Range> items;
      Callable callable;
      std::optional<std::ranges::iterator_t<std::views::all_t<Range>>> next;
    };
    auto state = std::make_shared<Input>(Input{std::views::all(std::forward<Range>(input)), callable, {}});
    auto feed = [core = core_, state, chunksize](const Ref<detail::TaskListener>& listener) {
      if (!state->next) state->next.emplace(std::ranges::begin(state->items));
      auto& next = *state->next;
      const auto end = std::ranges::end(state->items);
      if (next == end) return Ref<detail::TaskRecord>{};
      detail::TaskBuilder builder{*core};
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
      detail::submit(*core, task);
      return task;
    };
    using Results = ResultIterator<Result>;
    return Results{core_,
                   std::move(feed),
                   {.order = order == Order::input ? Results::Order::input : Results::Order::arrival,
                    .window = std::max(imap_window, 4 * num_workers()),
                    .chunked = chunksize > 1,
                    .single_pass = !std::ranges::forward_range<Range>}};
  }

  Ref<detail::PoolCore> core_;
};

}  // namespace troupe
