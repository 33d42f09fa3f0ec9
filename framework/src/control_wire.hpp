#pragma once

/// \file
/// Where the messages of control.capnp become values. Nobody who sends them is trusted: what is no message, or says
/// what cannot be, is an error. Bytes start at a multiple of 8; those behind the last whole word are ignored.

#include <troupe/child.hpp>
#include <troupe/wire/control.capnp.h>

#include "descriptors.hpp"

#include <capnp/serialize.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <sys/types.h>
#include <vector>

namespace troupe {

struct Identity;

/// What a process asks of the nursery. Borrows the datagram. Thread: caller.
class RequestReader {
 public:
  /// Errors: kj::Exception when it is no message.
  explicit RequestReader(const Datagram& datagram);
  /// Errors: kj::Exception; CodecError for a kind of request that there is none of.
  wire::NurseryRequest::Reader request();

 private:
  capnp::FlatArrayMessageReader message_;
};

/// Sends a message of control.capnp as one datagram; as send_datagram, and EMSGSIZE if it is too long for one.
[[nodiscard]] int send_message(int socket, capnp::MessageBuilder& message, std::span<const int> descriptors, bool wait);

/// What the nursery answers.
struct NurseryAnswer {
  pid_t pid = 0;  // 0: nothing was started
  std::uint64_t inode = 0;
};
/// Errors: OSError naming what has failed in the nursery; kj::Exception; CodecError for what it cannot have answered.
NurseryAnswer read_reply(std::span<const std::byte> bytes);

/// Errors: kj::Exception.
ChildEnd read_exit_report(std::span<const std::byte> bytes);

/// What a new process is to say of itself. Errors: kj::Exception; ValueError for a start method that there is not.
Identity identity_of(wire::Launch::Reader launch);
/// Every "NAME=value" that a new process is to have in place of the nursery's; none: it keeps those. Valid as long as
/// the message. Errors: kj::Exception.
std::vector<const char*> environment_of(wire::Launch::Reader launch);

}  // namespace troupe
