#pragma once

/// \file
/// Portable callables: what may be called in another process, and how it is named on the wire.
///
/// A callable travels as the address of a *thunk*, a function that the compiler made for the callable's type and that
/// decodes arguments, calls, and encodes the result. Instantiating a call registers its thunk during static
/// initialization; on the wire the thunk is an offset in its module, and the receiver looks it up in its own registry
/// before it calls. Portable are function pointers, captureless lambdas and empty function objects, callable types
/// whose fields are encodable, and `bind(f, args...)` of these. A capturing lambda is not: its captures may be
/// references into the sender's memory.

#include <troupe/codec.hpp>
#include <troupe/error.hpp>

#include <concepts>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace troupe {

/// A place in the code of this program, valid in every process that has the same module loaded.
struct CodeRef {
  std::uint64_t offset = 0;  ///< bytes from the load address of the module
  std::uint32_t module = 0;  ///< 0: the program itself; else the hash of a shared library's file name

  friend bool operator==(const CodeRef&, const CodeRef&) = default;
};

/// What a thunk's signature is; a thunk is found only under the kind it was registered with.
enum class ThunkKind : std::uint8_t {
  task = 1,           ///< void(wire::Task::Reader, wire::Result::Builder)
  process_entry = 2,  ///< void(ChildContext&)
  action = 3,         ///< std::shared_ptr<detail::BarrierAction>(wire::Value::Reader)
};

/// Any function, by address. Cast back to the signature of its kind before it is called.
using AnyFunction = void (*)();

/// Adds a thunk to this process's registry. Called during static initialization, or while a library is loaded.
/// `name` makes a readable name for error texts and may be called at any later time.
/// Thread: any. Returns true, so that it can initialize a static member.
bool register_thunk(ThunkKind kind, AnyFunction thunk, std::string (*name)());

/// Where `function` lies. Thread: any. Errors: ValueError if it lies in no loaded module.
CodeRef code_ref(AnyFunction function);

/// The registered thunk at `ref`. Thread: any.
/// Errors: CodecError naming the module if it is not loaded here, or no thunk of `kind` is registered there.
AnyFunction find_thunk(ThunkKind kind, CodeRef ref);

/// The function at `ref`, checked to lie in the executable part of a loaded module.
/// Thread: any. Errors: CodecError naming module and offset.
AnyFunction find_function(CodeRef ref);

/// A readable name for the thunk at `ref`, as in "square"; "unknown task" if there is none. Thread: any.
std::string thunk_name(CodeRef ref);

/// Gives `function`'s task a name for log lines, errors and callers that know no addresses.
/// Thread: any, best before the first pool. Errors: ValueError if another function has that name.
void register_task_name(std::string name, AnyFunction function);
/// The name given to `function`, else its symbol if the program exports it, else empty. Thread: any.
std::string function_name(AnyFunction function);
/// The function that was registered under `name`, null if none. Thread: any.
AnyFunction find_task(std::string_view name);

/// Gives a function pointer a name, as in `register_task("square", square)`; see register_task_name.
template <class Result, class... Parameters>
void register_task(std::string name, Result (*function)(Parameters...)) {
  register_task_name(std::move(name), reinterpret_cast<AnyFunction>(function));
}

template <class F, class... Args>
struct Bound;

namespace detail {

/// Looks at what is loaded ahead of the first need, so that processes forked from here need not. Thread: any.
void load_modules();

template <class F>
inline constexpr bool is_function_pointer = std::is_pointer_v<F> && std::is_function_v<std::remove_pointer_t<F>>;

template <class F>
inline constexpr bool is_stateless = std::is_class_v<F> && std::is_empty_v<F> && std::default_initializable<F>;

template <class F>
struct Signature;  // parameter types of a callable with exactly one operator()

template <class R, class... P>
struct Signature<R (*)(P...)> {
  using Parameters = std::tuple<P...>;
};
template <class R, class... P>
struct Signature<R (*)(P...) noexcept> : Signature<R (*)(P...)> {};
template <class R, class C, class... P>
struct Signature<R (C::*)(P...)> : Signature<R (*)(P...)> {};
template <class R, class C, class... P>
struct Signature<R (C::*)(P...) const> : Signature<R (*)(P...)> {};
template <class R, class C, class... P>
struct Signature<R (C::*)(P...) noexcept> : Signature<R (*)(P...)> {};
template <class R, class C, class... P>
struct Signature<R (C::*)(P...) const noexcept> : Signature<R (*)(P...)> {};

template <class F>
concept HasOneCallOperator = std::is_class_v<F> && requires { &F::operator(); };

/// A type that owns what T refers to: what the caller gets for a result, what a generic callable gets for an argument.
template <class T>
struct Owned {
  using type = T;
};
template <>
struct Owned<std::string_view> {
  using type = std::string;
};
template <>
struct Owned<const char*> {
  using type = std::string;
};
template <class T, std::size_t Extent>
struct Owned<std::span<T, Extent>> {
  using type = std::vector<std::remove_cv_t<T>>;
};

/// The types that a call decodes its arguments to: the callable's own parameter types where it has just one set of
/// them, else the decayed types of the arguments.
template <class F, class... Args>
struct StoredParameters {
  using type = std::tuple<typename Owned<std::decay_t<Args>>::type...>;
};
template <class... P>
struct Stored {
  static_assert(((!std::is_lvalue_reference_v<P> || std::is_const_v<std::remove_reference_t<P>>)&&...),
                "troupe: the callable takes a non-const reference; the change would stay in the other process. Take "
                "the parameter by value or by const reference and return the new value.");
  using type = std::tuple<std::remove_cvref_t<P>...>;
};
template <class Tuple>
struct StoredOf;
template <class... P>
struct StoredOf<std::tuple<P...>> : Stored<P...> {};

template <class F, class... Args>
  requires is_function_pointer<F>
struct StoredParameters<F, Args...> : StoredOf<typename Signature<F>::Parameters> {};
template <HasOneCallOperator F, class... Args>
struct StoredParameters<F, Args...> : StoredOf<typename Signature<decltype(&F::operator())>::Parameters> {};

template <class F, class... Args>
using stored_parameters_t = typename StoredParameters<F, Args...>::type;

}  // namespace detail

/// Whether `F` (decayed) can be called in another process.
template <class F>
concept PortableCallable = detail::is_function_pointer<F> || detail::is_stateless<F> ||
                           (std::is_class_v<F> && Encodable<F> && Decodable<F>);

/// Ends compilation with the reason when `F` cannot be called in another process.
template <class F>
constexpr void require_portable() {
  static_assert(!std::is_member_pointer_v<F>,
                "troupe: a member function cannot travel by itself; wrap it: [](Object o) { return o.member(); }");
  static_assert(std::is_member_pointer_v<F> || PortableCallable<F>,
                "troupe: this callable cannot travel to another process (its type is in the instantiation above). A "
                "capturing lambda or std::function may hold references into this process: pass what it captures as "
                "arguments, use troupe::bind(f, values...), or write a struct with fields and an operator().");
}

/// The result type of calling F with Args, as the caller in the other process receives it.
template <class F, class... Args>
using call_result_t =
    typename detail::Owned<std::remove_cvref_t<std::invoke_result_t<const F&, Args...>>>::type;

/// A function's address on the wire: its offset, and the module before it unless that is the program.
void encode_code_ref(CodeRef ref, wire::Value::Builder out);
/// Errors: CodecError when `in` is no such thing.
CodeRef decode_code_ref(wire::Value::Reader in);

/// Writes what a callable needs beyond its type: nothing for a stateless one, the address of a function, the fields of
/// a function object. Thread: any. Errors: those of the fields' codecs.
template <class F>
void encode_callable(const F& callable, wire::Value::Builder out) {
  if constexpr (detail::is_function_pointer<F>) {
    encode_code_ref(code_ref(reinterpret_cast<AnyFunction>(callable)), out);
  } else if constexpr (detail::is_stateless<F>) {
    out.setNone();
  } else {
    encode(callable, out);
  }
}

/// Rebuilds a callable of type F from what encode_callable wrote. Thread: any. Errors: CodecError.
template <class F>
F decode_callable(wire::Value::Reader in) {
  if constexpr (detail::is_function_pointer<F>) {
    return reinterpret_cast<F>(find_function(decode_code_ref(in)));
  } else if constexpr (detail::is_stateless<F>) {
    return F{};
  } else {
    return decode<F>(in);
  }
}

/// A readable name of a callable: a registered or exported name, else its type. Thread: any.
template <class F>
std::string callable_name(const F& callable) {
  if constexpr (detail::is_function_pointer<F>) {
    if (std::string name = function_name(reinterpret_cast<AnyFunction>(callable)); !name.empty()) return name;
  }
  return demangle(typeid(F).name());
}

/// A callable with its first arguments fixed, as in `bind(power, 2)(10)`; portable when all parts are.
template <class F, class... Args>
struct Bound {
  F function;
  std::tuple<Args...> arguments;

  template <class... Rest>
  decltype(auto) operator()(Rest&&... rest) const {
    return std::apply(
        [&](const Args&... fixed) -> decltype(auto) {
          return std::invoke(function, fixed..., std::forward<Rest>(rest)...);
        },
        arguments);
  }
};

/// Fixes the first arguments of a portable callable. Thread: any. Errors: none; what cannot travel does not compile.
template <class F, class... Args>
Bound<std::decay_t<F>, std::decay_t<Args>...> bind(F&& function, Args&&... arguments) {
  require_portable<std::decay_t<F>>();
  return {std::forward<F>(function), {std::forward<Args>(arguments)...}};
}

template <class F, class... Args>
struct Codec<Bound<F, Args...>> {
  static void encode(const Bound<F, Args...>& bound, wire::Value::Builder out) {
    auto parts = out.initList(2);
    encode_callable(bound.function, parts[0]);
    troupe::encode(bound.arguments, parts[1]);
  }
  static Bound<F, Args...> decode(wire::Value::Reader in) {
    if (!in.isList() || in.getList().size() != 2) throw CodecError("a bound callable has two parts");
    return {decode_callable<F>(in.getList()[0]), troupe::decode<std::tuple<Args...>>(in.getList()[1])};
  }
};

namespace detail {

template <std::size_t Skip, class Tuple>
struct TupleTail;
template <class... P>
struct TupleTail<0, std::tuple<P...>> {
  using type = std::tuple<P...>;
};
template <std::size_t Skip, class First, class... P>
  requires(Skip > 0)
struct TupleTail<Skip, std::tuple<First, P...>> : TupleTail<Skip - 1, std::tuple<P...>> {};

template <class F, class... Fixed, class... Args>
struct StoredParameters<Bound<F, Fixed...>, Args...> {
  using type = typename TupleTail<sizeof...(Fixed), stored_parameters_t<F, Fixed..., Args...>>::type;
};

}  // namespace detail

}  // namespace troupe
