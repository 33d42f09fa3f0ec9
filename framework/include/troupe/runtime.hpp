#pragma once

/// \file
/// The one process-wide object of troupe, and what a process knows about itself.
///
///     int main(int argc, char** argv) {
///       troupe::Runtime runtime{argc, argv};
///       ...
///     }

#include <troupe/start_method.hpp>

#include <cstddef>
#include <functional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace troupe {

/// Makes this program able to start processes. The first statement of `main`, because the constructor forks the
/// *nursery*, the process that forks and reaps all others, while there is one thread and little memory; and because in
/// a process started by `spawn` the constructor becomes that process and never returns. In a program that has other
/// threads already the constructor executes the program anew to get a clean nursery.
///
/// The destructor is the end of the program as multiprocessing defines it: daemonic processes are terminated, all
/// others are joined, then the nursery ends. `std::exit` does the same. When the program ends in any other way
/// (a signal, `_exit`, an uncaught exception) all its processes are killed.
///
/// New processes take over the working directory, the environment, standard output and errors, and the log level of
/// the process that starts them; signal mask and dispositions, limits, umask and user those of the program at this
/// moment. A process that has changed its user since can only fork.
/// Thread: the main thread.
class Runtime {
 public:
  /// Errors: AssertionError if there is one already; OSError naming the step that failed.
  Runtime(int argc, char** argv);
  /// Blocks: until all processes that are not daemonic have ended.
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;
};

/// What this process is. Thread: any. Errors of each: AssertionError without a Runtime, or in a process that the
/// program forked by itself instead of through troupe.
namespace this_process {

/// "MainProcess" for the process of the Runtime, else as it was started. Shows in log lines.
std::string name();
void set_name(std::string name);
/// Place in the tree of processes: empty for the main process, "2" for its second child, "2:1" for that one's first.
std::string identity();
/// Number for the next child, from 1 on.
unsigned next_child_number();
/// Whether this process is terminated when its parent ends, and may not start processes.
bool is_daemonic();
/// Secret bytes shared by all processes of the program unless set otherwise; 32 random bytes at first. Never empty.
std::vector<std::byte> authkey();
/// Errors: ValueError if `key` is empty.
void set_authkey(std::vector<std::byte> key);
/// The process that started this one; empty and 0 in the main process.
std::string parent_name();
pid_t parent_pid();
/// How this process was started; `forkserver` in the main process. Its default for processes of its own.
StartMethod start_method();
/// The program that `spawn` executes; empty for this one.
std::string executable();
void set_executable(std::string path);

}  // namespace this_process

/// Runs `function` in the nursery, and in every nursery that has to replace it, so that processes forked there start
/// with what it prepared. It must not start threads. What it throws is printed to stderr and otherwise ignored.
/// Thread: any. Blocks: until it has run. Errors: AssertionError without a Runtime; OSError without a nursery.
void preload_nursery(void (*function)());

namespace detail {

/// Throws AssertionError unless this process may use troupe.
void require_runtime();
/// Has `hook` run in every child that is forked from a process which has registered it, before user code: to forget
/// threads and locks that did not come along. Registering a hook again does nothing. Thread: any.
void at_child_start(void (*hook)());
std::size_t num_child_start_hooks();
/// Has `hook` run once when this process comes to its normal end, before its children are joined; newest first.
/// Not inherited by children. Thread: any.
void at_runtime_end(std::function<void()> hook);
/// How many forks lie between the program's first process and this one: tells a process from copies of it. Thread: any.
unsigned fork_depth() noexcept;
/// Whether a Runtime (or a child of one) lives in this process and has not begun to end.
bool is_running() noexcept;

}  // namespace detail

}  // namespace troupe
