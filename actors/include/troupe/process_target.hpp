#pragma once

/// \file
/// What a Process runs: a callable with its arguments, kept until start, and how both reach the new process.

#include <troupe/codec.hpp>
#include <troupe/error.hpp>
#include <troupe/launch.hpp>

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace troupe::detail {

/// A callable and its arguments, whatever their types.
class Target {
 public:
  virtual ~Target() = default;
  /// Calls it in this process.
  virtual void call() = 0;
  /// Writes it down for another process. Errors: TypeError naming what cannot travel; those of the codecs.
  virtual std::shared_ptr<LaunchMessage> encode() const = 0;
  /// Whether it can be called again.
  virtual bool is_reusable() const = 0;
};

/// What a parameter of type T is decoded to in the new process: itself, which may view the message, if that exists.
template <class T>
struct Arriving {
  using type = typename Owned<T>::type;
};
template <Decodable T>
struct Arriving<T> {
  using type = T;
};

/// What a Process keeps of parameters of these types: views become owners.
template <class Tuple>
struct KeptArguments;
template <class... Stored>
struct KeptArguments<std::tuple<Stored...>> {
  using type = std::tuple<typename Owned<Stored>::type...>;
  using Arrived = std::tuple<typename Arriving<Stored>::type...>;
};

/// Hands a kept argument to the callable: a copy, so that it can be called again; itself if it has no copies.
template <class T>
T hand_over(T& kept) {
  if constexpr (std::is_copy_constructible_v<T>) {
    return kept;
  } else {
    return std::move(kept);
  }
}

/// The entry of a process that calls an F with decoded arguments of types `Arguments...`.
template <class F, class Tuple>
struct CallEntry;
template <class F, class... Arguments>
struct CallEntry<F, std::tuple<Arguments...>> {
  static constexpr unsigned state_size = is_stateless<F> ? 0 : 1;

  static void run(ChildContext& context) {
    const ArgumentScope scope{context};
    const auto list = arguments_of(context);
    if (list.size() != sizeof...(Arguments) + state_size)
      throw CodecError("a process has " + std::to_string(list.size()) + " arguments, its target takes " +
                       std::to_string(sizeof...(Arguments) + state_size));
    call(list, std::index_sequence_for<Arguments...>{});
  }
  static std::string name() { return demangle(typeid(F).name()); }
  static CodeRef ref() {
    static const CodeRef here = (static_cast<void>(registered), code_ref(reinterpret_cast<AnyFunction>(&run)));
    return here;
  }

 private:
  template <std::size_t... I>
  static void call(capnp::List<wire::Value>::Reader list, std::index_sequence<I...>) {
    F callable = [&] {
      if constexpr (is_stateless<F>) {
        return F{};
      } else {
        return decode_callable<F>(list[0]);
      }
    }();
    std::invoke(callable, decode<Arguments>(list[static_cast<unsigned>(I) + state_size])...);
  }

  static inline const bool registered =
      register_thunk(ThunkKind::process_entry, reinterpret_cast<AnyFunction>(&run), &CallEntry::name);
};

template <class F, class... Args>
class CallTarget final : public Target {
 public:
  using Stored = stored_parameters_t<F, Args...>;
  using Kept = typename KeptArguments<Stored>::type;
  using Arrived = typename KeptArguments<Stored>::Arrived;

  template <class G, class... A>
  explicit CallTarget(G&& callable, A&&... arguments)
      : callable_(std::forward<G>(callable)), arguments_(std::forward<A>(arguments)...) {}

  void call() override {
    std::apply([&](auto&... kept) { std::invoke(callable_, hand_over(kept)...); }, arguments_);
  }

  std::shared_ptr<LaunchMessage> encode() const override {
    if constexpr (!PortableCallable<F>) {
      throw TypeError("the target of type " + demangle(typeid(F).name()) +
                      " cannot travel to another process, because its captures may be references into this one: pass "
                      "what it captures as arguments, or use the start method fork");
    } else if constexpr (!can_encode(static_cast<Kept*>(nullptr)) || !can_decode(static_cast<Arrived*>(nullptr))) {
      throw TypeError("an argument of the target, of types " + demangle(typeid(Kept).name()) +
                      ", cannot travel to another process: give its type TROUPE_FIELDS or a Codec, or use the start "
                      "method fork");
    } else {
      using Entry = CallEntry<F, Arrived>;
      auto message = std::make_shared<LaunchMessage>(Entry::ref());
      const LaunchMessage::Scope scope{*message};
      auto list = message->init_arguments(static_cast<unsigned>(std::tuple_size_v<Kept>) + Entry::state_size);
      unsigned next = 0;
      if constexpr (Entry::state_size == 1) encode_callable(callable_, list[next++]);
      std::apply([&](const auto&... kept) { (troupe::encode(kept, list[next++]), ...); }, arguments_);
      return message;
    }
  }

  bool is_reusable() const override { return can_copy(static_cast<Kept*>(nullptr)); }

 private:
  template <class... T>
  static constexpr bool can_encode(std::tuple<T...>*) {
    return (Encodable<T> && ...);
  }
  template <class... T>
  static constexpr bool can_decode(std::tuple<T...>*) {
    return (Decodable<T> && ...);
  }
  template <class... T>
  static constexpr bool can_copy(std::tuple<T...>*) {
    return (std::is_copy_constructible_v<T> && ...);
  }

  F callable_;
  Kept arguments_;
};

template <class F, class... Args>
std::unique_ptr<Target> make_target(F&& callable, Args&&... arguments) {
  using Callable = std::decay_t<F>;
  static_assert(std::is_invocable_v<Callable&, std::decay_t<Args>...>,
                "troupe: the target does not take these arguments (number or types)");
  if constexpr (std::is_invocable_v<Callable&, std::decay_t<Args>...>)
    return std::make_unique<CallTarget<Callable, Args...>>(std::forward<F>(callable), std::forward<Args>(arguments)...);
}

}  // namespace troupe::detail
