#pragma once

/// \file
/// Exceptions between processes. What a task throws arrives where its result is asked for:
///
/// | thrown | arrives as |
/// |---|---|
/// | an exception of the standard library | the same class, same text |
/// | one of troupe's (error.hpp), or a class derived from one | troupe's class, same text |
/// | a class registered with register_exception | the same class, same text |
/// | any other exception | RemoteError: "Type: text (in task ...)" |
/// | something that is no exception, as in throw 42 | RemoteError naming its type |
///
/// What arrives knows where it arose: remote_origin. Texts of more than max_error_text_bytes are cut, with a note.

#include <troupe/codec_core.hpp>
#include <troupe/error.hpp>

#include <concepts>
#include <cstddef>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace troupe {

/// What travels of an exception's text at most; an error must fit wherever a result does.
inline constexpr std::size_t max_error_text_bytes = 64 * 1024;

/// Writes `error` into `out`, which must be fresh. `task` names the task that it ended, empty outside tasks. Where the
/// error came from another process already, that origin stays; else it is this one, named `process` or, when that is
/// empty, by its own name.
/// Thread: any. Errors: what the message's memory throws, nothing for any kind of `error`.
void encode_exception(std::exception_ptr error, std::string_view task, wire::Error::Builder out,
                      std::string_view process = {});

/// The exception that encode_exception wrote. Thread: any.
/// Errors: none; what cannot be read gives a CodecError to throw, what is not known here a RemoteError.
std::exception_ptr decode_exception(wire::Error::Reader in);

/// What a death record looks like between processes; the task's name stands in the error that it belongs to.
/// Thread: any.
void encode_death(const DeathRecord& death, wire::Death::Builder out);
DeathRecord decode_death(wire::Death::Reader in);

/// Where `error` arose, null if in this process. Thread: any. Valid as long as `error`.
const RemoteOrigin* remote_origin(const std::exception& error) noexcept;

/// "ValueError: text": type name and what(); with the causes of nested exceptions. Thread: any. Errors: none.
std::string describe_exception(const std::exception_ptr& error);

namespace detail {

/// Makes exceptions of the standard library and of users carry their origin.
class RemoteMark {
 public:
  explicit RemoteMark(RemoteOrigin origin) : origin_(std::move(origin)) {}
  RemoteMark(const RemoteMark&) = default;
  RemoteMark& operator=(const RemoteMark&) = default;
  virtual ~RemoteMark() = default;
  const RemoteOrigin& origin() const noexcept { return origin_; }

 private:
  RemoteOrigin origin_;
};

/// An E that arose in another process: caught as E, with the text it had there.
template <class E>
class Remote final : public E, public RemoteMark {
 public:
  Remote(E&& from, std::string told, RemoteOrigin place)
      : E(std::move(from)), RemoteMark(std::move(place)), text_(std::move(told)) {}
  const char* what() const noexcept override { return text_.c_str(); }

 private:
  std::string text_;
};

template <class E>
std::exception_ptr make_remote(E error, const std::string& text, RemoteOrigin origin) {
  if constexpr (std::derived_from<E, Error>) {
    error.set_origin(std::move(origin));
    return std::make_exception_ptr(std::move(error));
  } else if constexpr (std::is_final_v<E>) {
    return std::make_exception_ptr(std::move(error));
  } else {
    return std::make_exception_ptr(Remote<E>(std::move(error), text, std::move(origin)));
  }
}

/// Rebuilds an exception from its text and, for those of std::system_error's family, its code.
using MakeException = std::exception_ptr (*)(const std::string& text, std::error_code code, RemoteOrigin origin);

void add_exception(const std::type_info& type, const char* name, MakeException make);

/// What the class is called on the wire.
std::string exception_name_of(const std::type_info& type);

}  // namespace detail

/// Lets exceptions of class E keep their class between processes; every process that may receive one must have called
/// this, best before the first process is started. E is rebuilt from its what() text; other members start anew.
/// `name` is what E is called on the wire, its C++ name if null. A second registration of a name replaces the first.
/// Thread: any.
template <class E>
void register_exception(const char* name = nullptr) {
  static_assert(std::derived_from<E, std::exception>, "troupe: a registered exception must derive from std::exception");
  static_assert(std::constructible_from<E, const std::string&>,
                "troupe: a registered exception must be constructible from std::string, its text");
  detail::add_exception(typeid(E), name, [](const std::string& text, std::error_code, RemoteOrigin origin) {
    return detail::make_remote(E(text), text, std::move(origin));
  });
}

/// An exception as a value, in arguments and results; null travels as none.
template <>
struct Codec<std::exception_ptr> {
  using Parts = detail::TypeList<>;
  static constexpr bool may_be_none = true;
  static void encode(const std::exception_ptr& value, wire::Value::Builder out) {
    if (value == nullptr) {
      out.setNone();
    } else {
      encode_exception(value, {}, out.initError());
    }
  }
  static std::exception_ptr decode(wire::Value::Reader in) {
    if (in.isNone()) return nullptr;
    if (!in.isError()) detail::fail_shape("std::exception_ptr", in);
    return decode_exception(in.getError());
  }
};

}  // namespace troupe
