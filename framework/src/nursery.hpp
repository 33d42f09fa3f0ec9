#pragma once

/// \file
/// The nursery: a process with one thread that forks, watches and reaps the processes of a program.
///
///     main process ──requests──► nursery ──fork──► process, process, ...
///          │  ▲                     │ reaps              │
///          │  └──── exit report ────┘ (status socket)     │
///          └──────────── lifeline ───────────────────────┘ kills them when the main process dies

#include <troupe/child.hpp>
#include <troupe/file_descriptor.hpp>

#include <csignal>
#include <memory>
#include <string>
#include <sys/resource.h>
#include <sys/types.h>

namespace troupe {

/// The program's arguments that make Runtime's constructor become something else.
inline constexpr const char* child_argument = "--troupe-child";
inline constexpr const char* nursery_argument = "--troupe-nursery";

/// Numbers of the descriptors that a started process finds open besides the standard ones.
inline constexpr int child_door_number = 3;
inline constexpr int child_lifeline_number = 4;
inline constexpr int child_payload_number = 5;  // unless the Launch came with the request
inline constexpr int first_extra_number = 6;

struct NurseryProcess {
  pid_t pid = 0;
  FileDescriptor pidfd;
  FileDescriptor connection;
};
/// Starts a nursery: the first one by fork while this process has one thread, else by executing the program anew. One
/// that replaces another must not inherit what this process has made meanwhile: its processes would have locks, queues
/// and memory that it does not know of. `lifeline` is the read end of this process's; `names` a NameJournal's file, the
/// same one for all. Errors: OSError naming the step.
NurseryProcess start_nursery(int lifeline, int names, const std::string& program_name, bool is_first);
/// What the program does when it is executed as a nursery. `signal_mask` is its second argument.
[[noreturn]] void become_executed_nursery(const char* program_name, const char* signal_mask) noexcept;

/// What the processes of the nursery get back of what the nursery changed for itself.
struct OriginalState {
  sigset_t signal_mask{};
  struct sigaction child_action{};
  rlim_t file_limit = 0;
  std::string program_name;  // argv[0]
  std::string thread_name;
};
/// What the nursery is given; the names are in the file of a NameJournal.
struct NurseryDescriptors {
  FileDescriptor connection;
  FileDescriptor lifeline;
  FileDescriptor names;
};
/// Serves until the main process dies, then ends what is left.
[[noreturn]] void run_nursery(NurseryDescriptors descriptors, OriginalState original) noexcept;

/// What a process started by the nursery does, after a fork of the nursery or in an executed program: becomes what its
/// Launch says, runs its entry, ends. Expects the descriptors above, but for the payload.
[[noreturn]] void run_started_child(std::unique_ptr<ChildContext::Payload> payload) noexcept;
/// The same for a program that was executed; complains if it was not the nursery who did that.
[[noreturn]] void become_executed_child(const char* program_name) noexcept;

}  // namespace troupe
