#include "control_wire.hpp"

#include <troupe/error.hpp>

#include "self.hpp"

#include <cerrno>
#include <string>

namespace troupe {

namespace {

kj::ArrayPtr<const capnp::word> words_of(std::span<const std::byte> bytes) {
  return kj::arrayPtr(reinterpret_cast<const capnp::word*>(bytes.data()), bytes.size() / sizeof(capnp::word));
}

}  // namespace

RequestReader::RequestReader(const Datagram& datagram) : message_(words_of({datagram.bytes, datagram.size})) {}

wire::NurseryRequest::Reader RequestReader::request() {
  const auto request = message_.getRoot<wire::NurseryRequest>();
  const unsigned kind = request.which();
  if (kind > wire::NurseryRequest::ATTACH)
    throw CodecError("a request to the nursery is of kind " + std::to_string(kind) + ", which there is none of");
  return request;
}

int send_message(int socket, capnp::MessageBuilder& message, std::span<const int> descriptors, bool wait) {
  const auto words = capnp::messageToFlatArray(message);
  const auto bytes = words.asBytes();
  if (bytes.size() > max_datagram_bytes) return EMSGSIZE;
  return send_datagram(socket, std::as_bytes(std::span{bytes.begin(), bytes.size()}), descriptors, wait);
}

NurseryAnswer read_reply(std::span<const std::byte> bytes) {
  capnp::FlatArrayMessageReader message{words_of(bytes)};
  const auto reply = message.getRoot<wire::NurseryReply>();
  switch (reply.which()) {
    case wire::NurseryReply::PID:
      if (reply.getPid() < 0) break;  // to a signal it would mean many processes
      return {.pid = reply.getPid()};
    case wire::NurseryReply::FAILURE: throw OSError(reply.getFailure().getErrno(), reply.getFailure().getStep().cStr());
    case wire::NurseryReply::INODE: return {.inode = reply.getInode()};
  }
  throw CodecError("the nursery answered what it cannot have meant");
}

ChildEnd read_exit_report(std::span<const std::byte> bytes) {
  capnp::FlatArrayMessageReader message{words_of(bytes)};
  const auto report = message.getRoot<wire::ExitReport>();
  return {.exitcode = report.getExitcode(),
          .dumped_core = report.getDumpedCore(),
          .peak_resident_bytes = report.getPeakResident()};
}

Identity identity_of(wire::Launch::Reader launch) {
  const auto key = launch.getAuthkey();
  const auto* bytes = reinterpret_cast<const std::byte*>(key.begin());
  return {.name = launch.getName().cStr(),
          .path = launch.getIdentity().cStr(),
          .daemon = launch.getDaemon(),
          .authkey = {bytes, bytes + key.size()},
          .parent_name = launch.getParentName().cStr(),
          .parent_pid = launch.getParentPid(),
          .method = start_method_named(launch.getStartMethod().cStr()),
          .executable = launch.getExecutable().cStr()};
}

std::vector<const char*> environment_of(wire::Launch::Reader launch) {
  std::vector<const char*> entries;
  for (const auto entry : launch.getEnvironment()) entries.push_back(entry.cStr());
  return entries;
}

}  // namespace troupe
