#pragma once

/// \file
/// Where a new process begins and with which arguments, as a message. Part of the codec's headers: its templates see
/// the builders.

#include <troupe/callable.hpp>
#include <troupe/child.hpp>
#include <troupe/codec_descriptor.hpp>
#include <troupe/wire/control.capnp.h>

#include <capnp/message.h>
#include <capnp/serialize.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace troupe {

/// Signature of a ThunkKind::process_entry thunk: what the process does. It ends with exit code 0 when this returns,
/// with 1 and a report on stderr when it throws.
using ProcessEntry = void (*)(ChildContext& context);

/// The payload of one launch. Thread: caller.
class LaunchMessage {
 public:
  /// `entry` names a registered thunk of kind process_entry.
  explicit LaunchMessage(CodeRef entry);

  /// Where the arguments are written; once.
  capnp::List<wire::Value>::Builder init_arguments(unsigned count) { return launch().initArguments(count); }
  wire::Launch::Builder launch() { return message_.getRoot<wire::Launch>(); }
  capnp::MessageBuilder& message() noexcept { return message_; }

  /// Has a descriptor handed over; returns its place among them. Borrowed until the launch.
  std::size_t add_descriptor(int number);
  const std::vector<int>& descriptors() const noexcept { return descriptors_; }

  /// While one lives on this thread, codecs may add descriptors to `message`.
  class Scope {
   public:
    explicit Scope(LaunchMessage& message) noexcept : outer_(std::exchange(current_, &message)) {}
    ~Scope() { current_ = outer_; }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    /// Null outside.
    static LaunchMessage* current() noexcept { return current_; }

   private:
    static inline thread_local LaunchMessage* current_ = nullptr;
    LaunchMessage* outer_;
  };

 private:
  capnp::MallocMessageBuilder message_;
  std::vector<int> descriptors_;
};

/// The Launch that a process was started with.
class ChildContext::Payload {
 public:
  /// Takes over the file that holds the message. Errors: OSError, kj::Exception when it holds none.
  explicit Payload(FileDescriptor file);
  /// Takes over a flat message. Errors: kj::Exception when it is none.
  explicit Payload(kj::Array<capnp::word> words);
  /// Reads a message of this process.
  explicit Payload(std::shared_ptr<LaunchMessage> message) : message_(std::move(message)) {}

  wire::Launch::Reader launch() const;

 private:
  Mapping memory_;
  kj::Array<capnp::word> words_;
  mutable std::optional<capnp::FlatArrayMessageReader> reader_;
  std::shared_ptr<LaunchMessage> message_;
};

/// While one lives on this thread, codecs find the descriptors of `context`.
class ArgumentScope {
 public:
  explicit ArgumentScope(ChildContext& context) noexcept : outer_(std::exchange(current_, &context)) {}
  ~ArgumentScope() { current_ = outer_; }
  ArgumentScope(const ArgumentScope&) = delete;
  ArgumentScope& operator=(const ArgumentScope&) = delete;
  /// Null outside.
  static ChildContext* current() noexcept { return current_; }

 private:
  static inline thread_local ChildContext* current_ = nullptr;
  ChildContext* outer_;
};

/// The arguments that LaunchMessage::init_arguments was filled with. Valid as long as `context`.
inline capnp::List<wire::Value>::Reader arguments_of(const ChildContext& context) {
  return context.payload().launch().getArguments();
}

}  // namespace troupe
