#pragma once

/// \file
/// What a process that the nursery has just forked does until it is what was asked for.

#include <troupe/file_descriptor.hpp>
#include <troupe/wire/control.capnp.h>

#include "nursery.hpp"

#include <cstddef>
#include <string>
#include <sys/types.h>
#include <vector>

namespace troupe {

/// Everything that a new process needs from its request. The descriptors are borrowed from the nursery.
struct ChildPlan {
  /// Where the lifeline is among the descriptors of a request.
  static constexpr std::size_t lifeline_place = 1;

  const OriginalState* original = nullptr;
  pid_t nursery = 0;
  bool spawn = false;
  std::string executable{};  // only for spawn
  int door = -1;             // where it can introduce a connection of its own to the nursery
  int failure = -1;          // only for spawn: where it is told that this has failed
  kj::Array<capnp::word> launch{};  // empty: it is in `payload`
  int payload = -1;
  int lifeline = -1;
  int directory = -1;
  int output = -1;  // -1: closed in the requester
  int errors = -1;  // the same
  std::vector<int> extras{};

  /// Reads a request and the descriptors that came with it; `status` takes over the status socket, the others are
  /// borrowed. False when they do not match.
  [[nodiscard]] bool read(wire::Start::Reader request, std::vector<FileDescriptor>& received, FileDescriptor& status);
};

/// A process that was forked ahead: waits for a request at `line`, then becomes what that asks for; ends when nobody
/// will ask any more. What comes is what the nursery was sent.
[[noreturn]] void become_spare(const OriginalState& original, pid_t nursery, int line, int door) noexcept;

/// In the new process: puts descriptors and signals in order, then runs the program or its entry.
[[noreturn]] void become_child(ChildPlan plan) noexcept;

}  // namespace troupe
