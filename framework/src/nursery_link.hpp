#pragma once

/// \file
/// A process's connection to the nursery: requests, replies, and for the main process a new nursery when the old one
/// has died.

#include <troupe/callable.hpp>
#include <troupe/file_descriptor.hpp>

#include <capnp/message.h>

#include <cstdint>
#include <span>
#include <string>
#include <sys/types.h>
#include <vector>

namespace troupe {

class Lifeline;
struct Datagram;

/// Thread: caller.
class NurseryLink {
 public:
  struct Started {
    pid_t pid = 0;
    FileDescriptor pidfd;
  };

  /// For the main process: starts the nursery. Errors: OSError.
  void open(Lifeline& lifeline, const std::string& program_name);
  /// For processes that the nursery started: their own connection, and environment_hash() over there.
  void use(FileDescriptor connection, std::uint64_t nursery_environment) {
    connection_ = std::move(connection);
    nursery_environment_ = nursery_environment;
  }
  /// For processes that were forked elsewhere: the connection of the process they are a copy of. It is used once, to
  /// introduce an own one.
  void use_parents(int connection, std::uint64_t nursery_environment) {
    use({}, nursery_environment);
    parents_ = FileDescriptor{connection};
  }
  /// The number behind use or use_parents, -1 when there is none.
  int number() const noexcept { return parents_ ? parents_.get() : connection_.get(); }
  /// environment_hash() of the nursery.
  std::uint64_t nursery_environment() const noexcept { return nursery_environment_; }

  /// Sends a start request. Errors: OSError naming the step that failed.
  Started start(capnp::MessageBuilder& request, std::span<const int> descriptors);
  /// Errors: OSError.
  void preload(CodeRef function);
  /// Closes the connection and waits for the nursery to end; kills it if it does not. Main process only, at its end.
  void close(Lifeline& lifeline) noexcept;

 private:
  [[nodiscard]] int exchange(capnp::MessageBuilder& request, std::span<const int> descriptors, Datagram& reply) const;
  static Started read_reply(Datagram& datagram);
  void introduce();
  bool reopen_if_dead();
  void end_nursery() noexcept;
  void send_preload(CodeRef function);

  FileDescriptor connection_;
  FileDescriptor parents_;
  std::uint64_t nursery_environment_ = 0;
  std::vector<CodeRef> preloads_;
  // Main process only:
  Lifeline* lifeline_ = nullptr;
  std::string program_name_;
  pid_t nursery_ = 0;
  FileDescriptor nursery_pidfd_;
};

}  // namespace troupe
