#pragma once

/// \file
/// What all handles of one process share.

#include <troupe/child.hpp>
#include <troupe/process_ref.hpp>

#include <mutex>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace troupe {

struct ProcessRef::State {
  enum class Kind : std::uint8_t {
    child,    // made by this process, or by the one that this is a forked copy of
    current,  // this process; what it is called stands in this_process
    parent,
  };

  Kind kind = Kind::child;
  pid_t creator = 0;     // the process that made it
  std::string identity;  // see this_process::identity

  std::mutex mutex;
  // Guarded by mutex:
  std::string name;
  bool daemon = false;
  std::vector<std::byte> authkey;
  std::string type = "Process";
  bool starting = false;       // start was called; it may have failed
  std::optional<Child> child;  // set once it has started
  pid_t pid = 0;               // 0 before that
  bool closed = false;

  /// The started child. Errors: AssertionError naming `verb` if there is none, or if it is not this process's.
  Child& started(const char* verb);
};

/// The state of this process itself.
std::shared_ptr<ProcessRef::State> current_state();
/// A new state for a process that this one is about to make.
std::shared_ptr<ProcessRef::State> new_state(std::string name, std::optional<bool> daemon);
/// Puts a started process among active_children.
void add_active(std::shared_ptr<ProcessRef::State> state);

}  // namespace troupe
