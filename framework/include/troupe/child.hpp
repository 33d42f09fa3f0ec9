#pragma once

/// \file
/// The operating system's side of a process: starting it, its exact end, signals.

#include <troupe/bell.hpp>
#include <troupe/file_descriptor.hpp>
#include <troupe/start_method.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace troupe {

class LaunchMessage;

/// What a new process is to be. The texts and flags are what `this_process` says over there.
struct LaunchSpec {
  std::string name{};
  std::string identity{};  ///< empty: no processes below it can be told apart by name
  /// Terminated when this process ends; joined otherwise. A daemonic process may not start others.
  bool daemon = false;
  StartMethod method = StartMethod::forkserver;
  std::vector<std::byte> authkey{};  ///< empty: that of this process
  /// Borrowed until `launch` returns; the child finds them, in this order, in ChildContext. At most 240.
  std::vector<int> descriptors{};
  /// Where the process begins and with which arguments (launch.hpp).
  std::shared_ptr<LaunchMessage> message{};
  /// Only for StartMethod::fork: what the process runs, instead of `message`.
  std::function<void()> closure{};
};

/// How a process ended.
struct ChildEnd {
  int exitcode = 0;  ///< >= 0: its exit status, < 0: minus the signal number
  bool dumped_core = false;
  std::uint64_t peak_resident_bytes = 0;  ///< most memory that it had in use; 0: unknown
};

/// One process that this process started. Destroying it neither ends nor waits for the process, which is still joined
/// or terminated at the end of the Runtime. Movable. Thread: any.
///
///     Child child = Child::launch({.name = "worker-1", .daemon = true, .message = message});
///     child.send_signal(SIGTERM);
///     child.wait(no_deadline);  // -15
class Child {
 public:
  /// Starts a process. Blocks: until it runs (0.2 ms; a few ms for spawn), not until it has done anything.
  /// Errors: OSError naming the step that failed and the process; AssertionError without a Runtime, from a daemonic
  /// process, or for a closure with another method than fork. After an error nothing was started.
  static Child launch(const LaunchSpec& spec);

  Child() = default;
  /// Whether this is a process and not an empty handle.
  explicit operator bool() const noexcept { return state_ != nullptr; }

  pid_t pid() const noexcept;
  /// Readable when the process has ended. Never to be closed or reaped by the caller. Valid as long as this object.
  int pidfd() const noexcept;
  /// Readable when the process has ended and poll_exitcode() tells how. Valid as long as this object.
  int sentinel() const noexcept;
  /// How the process ended: >= 0 its exit status, < 0 minus the signal number; empty while it runs. Never blocks.
  /// 255 if somebody else has taken the status of a forked process (waitpid(-1), or SIGCHLD ignored).
  std::optional<int> poll_exitcode() const;
  /// The same with what else is known about the end.
  std::optional<ChildEnd> poll_end() const;
  /// Waits for the end. Blocks: until then or `deadline`; empty when that came first.
  std::optional<int> wait(Deadline deadline) const;
  /// Sends a signal; nothing happens if the process has ended. Errors: OSError if it is not allowed.
  void send_signal(int number) const;

  struct State;

 private:
  explicit Child(std::shared_ptr<State> state) noexcept : state_(std::move(state)) {}
  std::shared_ptr<State> state_;
};

/// What the entry of a new process is given.
class ChildContext {
 public:
  class Payload;

  ChildContext(std::vector<FileDescriptor> descriptors, std::unique_ptr<Payload> payload);
  ~ChildContext();
  ChildContext(const ChildContext&) = delete;
  ChildContext& operator=(const ChildContext&) = delete;

  /// Those of LaunchSpec, in that order, owned by this process now.
  std::vector<FileDescriptor>& descriptors() noexcept { return descriptors_; }
  /// The arguments; launch.hpp reads them.
  const Payload& payload() const noexcept { return *payload_; }

 private:
  std::vector<FileDescriptor> descriptors_;
  std::unique_ptr<Payload> payload_;
};

}  // namespace troupe
