#pragma once

/// \file
/// Where a new process begins and with which arguments, as a message. Part of the codec's headers: its templates see
/// the builders.

#include <troupe/callable.hpp>
#include <troupe/child.hpp>

#include <troupe/wire/control.capnp.h>

#include <capnp/message.h>
#include <capnp/serialize.h>

#include <optional>

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

 private:
  capnp::MallocMessageBuilder message_;
};

/// The Launch that a process was started with.
class ChildContext::Payload {
 public:
  /// Takes over the file that holds the message. Errors: OSError, kj::Exception when it holds none.
  explicit Payload(FileDescriptor file);
  /// Reads a message of this process.
  explicit Payload(std::shared_ptr<LaunchMessage> message) : message_(std::move(message)) {}

  wire::Launch::Reader launch() const;

 private:
  Mapping memory_;
  mutable std::optional<capnp::FlatArrayMessageReader> reader_;
  std::shared_ptr<LaunchMessage> message_;
};

/// The arguments that LaunchMessage::init_arguments was filled with. Valid as long as `context`.
inline capnp::List<wire::Value>::Reader arguments_of(const ChildContext& context) {
  return context.payload().launch().getArguments();
}

}  // namespace troupe
