#pragma once

/// \file
/// Tasks on the wire: how a call or a chunk of calls is written by the submitter, run by a worker and read back. The
/// thunks that instantiating a call registers are here.

#include <troupe/callable.hpp>
#include <troupe/codec.hpp>
#include <troupe/failure.hpp>
#include <troupe/wire/task.capnp.h>
#include <troupe/wire_message.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace troupe {

/// Signature of a ThunkKind::task thunk: runs the task and writes value or lets the exception out.
using TaskThunk = void (*)(wire::Task::Reader task, wire::Result::Builder result);

namespace detail {

/// The arguments a call is given, converted to what the callable takes where the types differ, as in a direct call.
template <class Stored, class Arg>
decltype(auto) as_parameter(const Arg& argument) {
  if constexpr (std::is_same_v<Stored, Arg>) {
    return argument;
  } else {
    static_assert(std::is_convertible_v<const Arg&, Stored> || std::is_constructible_v<Stored, const Arg&>,
                  "troupe: an argument does not convert to the callable's parameter");
    return Stored(argument);
  }
}

template <class Result>
void encode_result(Result&& value, wire::Result::Builder out) {
  encode(static_cast<const std::remove_cvref_t<Result>&>(value), out.initValue());
}

/// One call of F with decoded arguments of types `Stored...`.
template <class F, class Tuple>
struct CallThunk;
template <class F, class... Stored>
struct CallThunk<F, std::tuple<Stored...>> {
  static constexpr std::size_t state_size = is_stateless<F> ? 0 : 1;

  static void run(wire::Task::Reader task, wire::Result::Builder result) {
    const auto list = task.getCall();
    if (list.size() != sizeof...(Stored) + state_size)
      throw CodecError("a task has " + std::to_string(list.size()) + " arguments, its callable takes " +
                       std::to_string(sizeof...(Stored) + state_size));
    call(list, result, std::index_sequence_for<Stored...>{});
  }

  static std::string name() { return demangle(typeid(F).name()); }
  static CodeRef ref() {
    static const CodeRef here = (static_cast<void>(registered), code_ref(reinterpret_cast<AnyFunction>(&run)));
    return here;
  }

 private:
  template <std::size_t... I>
  static void call(capnp::List<wire::Value>::Reader list, wire::Result::Builder result, std::index_sequence<I...>) {
    const F callable = [&] {
      if constexpr (is_stateless<F>) {
        return F{};
      } else {
        return decode_callable<F>(list[0]);
      }
    }();
    if constexpr (std::is_void_v<std::invoke_result_t<const F&, Stored...>>) {
      std::invoke(callable, decode<Stored>(list[static_cast<unsigned>(I + state_size)])...);
      result.initValue().setNone();
    } else {
      encode_result(std::invoke(callable, decode<Stored>(list[static_cast<unsigned>(I + state_size)])...), result);
    }
  }

  static inline const bool registered =
      register_thunk(ThunkKind::task, reinterpret_cast<AnyFunction>(&run), &CallThunk::name);
};

/// An input iterator over f(item), for encode_items.
template <class F, class Items, bool Star>
class CallIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using difference_type = std::ptrdiff_t;
  using item_type = std::remove_cvref_t<decltype(std::declval<const Items&>()[0])>;

  CallIterator(const F& callable, const Items& items) : callable_(&callable), items_(&items) {}

  auto operator*() const {
    if constexpr (Star) {
      return std::apply(*callable_, (*items_)[index_]);
    } else {
      return std::invoke(*callable_, (*items_)[index_]);
    }
  }
  CallIterator& operator++() {
    ++index_;
    return *this;
  }
  void operator++(int) { ++index_; }

  using value_type = std::remove_cvref_t<decltype([](const F& f, const Items& items) {
    if constexpr (Star) {
      return std::apply(f, items[0]);
    } else {
      return std::invoke(f, items[0]);
    }
  }(std::declval<const F&>(), std::declval<const Items&>()))>;

 private:
  const F* callable_;
  const Items* items_;
  std::size_t index_ = 0;
};

/// Calls of F for every item of a chunk. `Item` is what an item decodes to; a tuple of arguments when `Star`.
template <class F, class Item, bool Star>
struct ChunkThunk {
  static void run(wire::Task::Reader task, wire::Result::Builder result) {
    const auto chunk = task.getChunk();
    const F callable = decode_callable<F>(chunk.getState());
    const ItemsReader<Item> items{chunk.getItems()};
    if constexpr (is_void()) {
      for (std::size_t i = 0; i < items.size(); ++i) {
        if constexpr (Star) {
          std::apply(callable, items[i]);
        } else {
          std::invoke(callable, items[i]);
        }
      }
      result.initValue().setNone();
    } else {
      encode_items(CallIterator<F, ItemsReader<Item>, Star>{callable, items}, items.size(), result.initValue());
    }
  }

  static std::string name() { return demangle(typeid(F).name()); }
  static CodeRef ref() {
    static const CodeRef here = (static_cast<void>(registered), code_ref(reinterpret_cast<AnyFunction>(&run)));
    return here;
  }

 private:
  static constexpr bool is_void() {
    if constexpr (Star) {
      return std::is_void_v<decltype(std::apply(std::declval<const F&>(), std::declval<Item>()))>;
    } else {
      return std::is_void_v<std::invoke_result_t<const F&, Item>>;
    }
  }

  static inline const bool registered =
      register_thunk(ThunkKind::task, reinterpret_cast<AnyFunction>(&run), &ChunkThunk::name);
};

}  // namespace detail

/// Writes the call `callable(arguments...)` as a Task. The types must be callable; pool.hpp says so in words.
/// Thread: any. Errors: those of the codecs, OSError and Full from the arena.
template <class F, class... Args>
void encode_call(MessageWriter& message, std::uint64_t id, const F& callable, const Args&... arguments) {
  using Parameters = detail::stored_parameters_t<F, Args...>;
  using Thunk = detail::CallThunk<F, Parameters>;
  auto task = message.initRoot<wire::Task>();
  const CodeRef ref = Thunk::ref();
  task.setId(id);
  task.setThunk(ref.offset);
  task.setModule(ref.module);
  auto list = task.initCall(static_cast<unsigned>(sizeof...(Args) + Thunk::state_size));
  unsigned next = 0;
  if constexpr (Thunk::state_size == 1) encode_callable(callable, list[next++]);
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    (encode(static_cast<const std::tuple_element_t<I, Parameters>&>(
                detail::as_parameter<std::tuple_element_t<I, Parameters>>(arguments)),
            list[next++]),
     ...);
  }(std::index_sequence_for<Args...>{});
}

/// Writes `count` calls of `callable`, one per item from `first` on, as a Task. `Item` is the type that the worker
/// decodes an item to. Thread: any. Errors: as encode_call, and what the iterator throws.
template <class Item, bool Star, class F, class Iterator>
void encode_chunk(MessageWriter& message, std::uint64_t id, const F& callable, Iterator first, std::size_t count) {
  using Thunk = detail::ChunkThunk<F, Item, Star>;
  auto task = message.initRoot<wire::Task>();
  const CodeRef ref = Thunk::ref();
  task.setId(id);
  task.setThunk(ref.offset);
  task.setModule(ref.module);
  auto chunk = task.initChunk();
  encode_callable(callable, chunk.initState());
  encode_items(std::move(first), count, chunk.initItems());
}

namespace detail {

/// The value in a result as it travelled. Errors: what the task threw; CodecError when nothing of it can be read.
inline wire::Value::Reader read_value(MessageReader& message) {
  return guard_reading([&] {
    const auto result = message.root<wire::Result>();
    if (result.isFailure()) std::rethrow_exception(decode_exception(result.getFailure()));
    return result.getValue();
  });
}

}  // namespace detail

/// The value of a finished task. Thread: any.
/// Errors: what the task threw; CodecError when the value is no T.
template <class T>
T decode_result(MessageReader& message) {
  [[maybe_unused]] const auto value = detail::read_value(message);
  if constexpr (!std::is_void_v<T>) return decode<T>(value);
}

/// Appends the values of a finished chunk. Errors: as decode_result.
template <class T>
void decode_chunk_result(MessageReader& message, std::vector<T>& out) {
  decode_items(detail::read_value(message), out);
}

}  // namespace troupe
