#pragma once

/// \file
/// How a process is told that its parent has died: the kernel kills it, with no thread and no polling.
///
/// Every process that starts others owns one pipe, whose write end nobody else has. Its children hold the read end,
/// each through an open file of its own with O_ASYNC and SIGKILL as the signal: when the last writer is gone, for
/// whatever reason, the kernel sends that to each. Nothing is ever written.

#include <troupe/file_descriptor.hpp>

namespace troupe {

class Lifeline {
 public:
  /// The end that children hold; makes the pipe on first use. Errors: OSError.
  int read_end();

 private:
  FileDescriptor read_end_;
  FileDescriptor write_end_;
};

/// An open file of its own, for one child: owner and signal belong to the open file. Errors: OSError.
FileDescriptor reopen_lifeline(int read_end);
/// Has the kernel kill this process when the owner of the lifeline dies; at once if it is dead already. The result must
/// be kept open. Errors: OSError.
FileDescriptor hold_lifeline(FileDescriptor reopened);
/// Whether the owner of `read_end` has died.
bool is_lifeline_cut(int read_end) noexcept;

/// In a process that was just forked: closes the copy of the write end. Safe to call in a handler of pthread_atfork.
void close_inherited_lifeline() noexcept;

}  // namespace troupe
