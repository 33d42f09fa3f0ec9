#pragma once

/// \file
/// The callbacks of a pool's calls, and which shapes they may have. Part of Pool's and ThreadPool's templates.

#include <troupe/error.hpp>

#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

namespace troupe::detail {

struct NoCallback {};

template <class F>
inline constexpr bool is_error_callback =
    std::is_invocable_v<F&, const std::exception_ptr&> || std::is_invocable_v<F&, const std::exception&>;
template <class F, class T>
inline constexpr bool is_callback = std::is_invocable_v<F&, T>;
template <class F>
inline constexpr bool is_callback<F, void> = std::is_invocable_v<F&>;
template <class T>
inline constexpr bool is_callback<NoCallback, T> = true;
template <>
inline constexpr bool is_callback<NoCallback, void> = true;

/// What stands for something that is no std::exception, as in `throw 7`.
RemoteError named_error(const std::exception_ptr& error);

template <class F>
void call_with_error(F& callback, const std::exception_ptr& error) {
  if constexpr (std::is_invocable_v<F&, const std::exception_ptr&>) {
    callback(error);
  } else if constexpr (is_error_callback<F>) {
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& thrown) {
      callback(thrown);
    } catch (...) {
      callback(named_error(error));
    }
  }
}

/// Calls what fits the end of `waited`, one of AsyncResult's sources. Errors: what the callback throws.
template <class T, class Source, class OnResult, class OnError>
void call_back(const typename Source::Waited& waited, OnResult& on_result, OnError& on_error) {
  std::exception_ptr error;
  if constexpr (std::is_void_v<T> || std::is_same_v<OnResult, NoCallback>) {
    try {
      if (Source::failed(waited)) Source::value(waited);
    } catch (...) {
      error = std::current_exception();
    }
    if (error) return call_with_error(on_error, error);
    if constexpr (!std::is_same_v<OnResult, NoCallback>) on_result();
  } else {
    std::optional<T> value;
    try {
      value.emplace(Source::value(waited));
    } catch (...) {
      error = std::current_exception();
    }
    if (error) return call_with_error(on_error, error);
    on_result(*std::move(value));
  }
}

/// What a TaskCalls or ThreadCalls calls back, if anything.
template <class OnResult, class OnError>
struct Callbacks {
  [[no_unique_address]] OnResult on_result;
  [[no_unique_address]] OnError on_error;

  static constexpr bool any = !std::is_same_v<OnResult, NoCallback> || !std::is_same_v<OnError, NoCallback>;
  static constexpr void require_none() {
    static_assert(!any,
                  "troupe: callbacks go with apply_async, map_async and starmap_async; other calls give the result");
  }

  template <class F>
  Callbacks<std::decay_t<F>, OnError> with_result(F&& call) const {
    return {std::forward<F>(call), on_error};
  }
  template <class F>
  Callbacks<OnResult, std::decay_t<F>> with_error(F&& call) const {
    static_assert(is_error_callback<std::decay_t<F>>,
                  "troupe: an error_callback takes a std::exception_ptr or a const std::exception&");
    return {on_result, std::forward<F>(call)};
  }

  /// Has them run at the end of `waited`, whose value is a T.
  template <class T, class Source>
  void set(typename Source::Waited& waited) const {
    static_assert(is_callback<OnResult, T>, "troupe: the callback does not take the result");
    if constexpr (any)
      waited.set_callback([&waited, callbacks = *this]() mutable {
        call_back<T, Source>(waited, callbacks.on_result, callbacks.on_error);
      });
  }
};

/// Runs `callback`; what it throws is logged, with the name of its pool. Thread: that of callbacks.
void run_callback(const std::function<void()>& callback, const std::string& pool) noexcept;

}  // namespace troupe::detail
