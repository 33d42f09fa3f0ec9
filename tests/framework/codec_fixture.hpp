#pragma once

// What the codec's tests share: values sent and received, and the texts of errors.

#include <troupe/codec.hpp>

#include <capnp/message.h>
#include <gtest/gtest.h>

#include <string>

namespace troupe::test {

/// One value in a message of its own.
class Sent {
 public:
  Sent() { message_.initRoot<wire::Value>(); }
  template <class T>
  explicit Sent(const T& value) : Sent() {
    encode(value, out());
  }

  wire::Value::Builder out() { return message_.getRoot<wire::Value>(); }
  wire::Value::Reader in() { return out().asReader(); }

  template <class T>
  T as() {
    return decode<T>(in());
  }

 private:
  capnp::MallocMessageBuilder message_;
};

/// What arrives when `value` is sent.
template <class T>
T round_trip(const T& value) {
  return Sent(value).as<T>();
}

/// The text of the CodecError that `action` throws; a failure and empty when it throws none.
template <class Action>
std::string codec_error(Action action) {
  try {
    action();
  } catch (const CodecError& error) {
    return error.what();
  }
  ADD_FAILURE() << "no CodecError was thrown";
  return {};
}

/// The text of the error when `value` is sent to a receiver that wants a `Wanted`.
template <class Wanted, class T>
std::string mismatch(const T& value) {
  Sent sent(value);
  return codec_error([&] { static_cast<void>(sent.template as<Wanted>()); });
}

}  // namespace troupe::test
