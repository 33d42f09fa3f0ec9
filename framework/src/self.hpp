#pragma once

/// \file
/// Everything that one process keeps about itself. Forked children get a new one; the old one is given up as it is,
/// because its locks may be held by threads that did not come along.

#include <troupe/child.hpp>
#include <troupe/runtime.hpp>

#include "lifeline.hpp"
#include "nursery_link.hpp"

#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <sys/types.h>
#include <vector>

namespace troupe {

/// What `this_process` tells.
struct Identity {
  std::string name = "MainProcess";
  std::string path;  // this_process::identity()
  bool daemon = false;
  std::vector<std::byte> authkey;
  std::string parent_name;
  pid_t parent_pid = 0;
  StartMethod method = StartMethod::forkserver;
  std::string executable;
};

struct Self {
  explicit Self(Identity me) : identity(std::move(me)) {}

  std::mutex identity_mutex;
  Identity identity;          // guarded
  unsigned num_children = 0;  // guarded

  // One launch at a time: no process is forked while another thread holds descriptors that must not be inherited.
  std::mutex launch_mutex;
  Lifeline lifeline;    // guarded
  NurseryLink nursery;  // guarded

  std::mutex children_mutex;
  std::vector<std::shared_ptr<Child::State>> children;  // guarded: those whose end has not been seen
  std::size_t sweep_at = 16;                            // guarded: number of children that makes a sweep worth it

  std::mutex hooks_mutex;
  std::vector<std::function<void()>> end_hooks;  // guarded, oldest first
};

/// This process's. Errors: AssertionError without a Runtime or in a process forked by hand.
Self& self();
/// The same, null instead of an error.
Self* find_self() noexcept;
/// Runs `code` with this process's connection to the nursery. Errors: as self(); those of `code`.
template <class Code>
auto with_nursery(Code code) {
  Self& me = self();
  const std::lock_guard lock{me.launch_mutex};
  return code(me.nursery);
}
/// The same for what does not matter when there is no Runtime, or no nursery that keeps count.
template <class Code>
void tell_nursery(Code code) noexcept {
  try {
    with_nursery(code);
  } catch (const std::exception&) {
  }
}
/// Makes `me` what self() returns and runs the hooks of at_child_start; for a process that was just forked or executed.
void become(std::unique_ptr<Self> me);

/// Prepares a fork of this process by troupe: what C and C++ streams hold is written out, so that it is not written
/// twice.
void flush_standard_streams() noexcept;

/// The normal end of this process, once: end hooks, then daemonic children are terminated, the others joined.
void finish_process() noexcept;
/// finish_process, output flushed, and out; nothing that was inherited from the parent is run or destroyed.
[[noreturn]] void end_process(int exitcode) noexcept;

}  // namespace troupe
