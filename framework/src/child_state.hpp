#pragma once

/// \file
/// What all handles of one started process share.

#include <troupe/child.hpp>

#include <mutex>
#include <optional>
#include <string>
#include <sys/types.h>

namespace troupe {

struct Child::State {
  // Constant after construction:
  std::string name;
  bool daemon = false;
  pid_t pid = 0;
  FileDescriptor pidfd;
  FileDescriptor status;  // this end of the status socket; empty for a process that was forked by this one

  std::mutex mutex;
  std::optional<ChildEnd> end;  // guarded
  bool nursery_died = false;    // guarded: the status socket ended without a report

  std::optional<ChildEnd> poll();
  /// What becomes readable when `poll` has something new to say.
  int waitable();
  std::optional<ChildEnd> wait(Deadline deadline);
  void send_signal(int number);

 private:
  std::optional<ChildEnd> poll_status();  // with mutex
  std::optional<ChildEnd> poll_own_child();
};

/// Takes a process whose end has been seen off the list of those that the end of this one waits for, so that its
/// descriptors are closed with the last handle. Not with `mutex` held.
void forget_child(const Child::State& child) noexcept;

}  // namespace troupe
