#pragma once

/// \file
/// Handles of processes: those that this process started, this process itself, its parent.

#include <troupe/start_method.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <sys/types.h>
#include <vector>

namespace troupe {

/// Names one process. Copies name the same one. Neither destroying nor copying it does anything to the process.
/// Thread: any.
class ProcessRef {
 public:
  /// "MainProcess", "Process-1", "Process-1:2" for the second child of that one, or as set.
  std::string name() const;
  void set_name(std::string name);

  /// Whether the process is terminated when its parent ends (else it is joined), and may not start processes itself.
  bool daemon() const;
  /// Errors: AssertionError once the process has started.
  void set_daemon(bool daemon);

  /// The secret that it starts with; that of its creator unless set.
  std::vector<std::byte> authkey() const;
  /// Errors: ValueError if empty.
  void set_authkey(std::vector<std::byte> key);

  /// Its process id; empty before it has started.
  std::optional<pid_t> pid() const;
  std::optional<pid_t> ident() const { return pid(); }

  /// Whether it has started and not ended. Never blocks.
  bool is_alive() const;
  /// How it ended: >= 0 its exit status, < 0 minus the signal number; empty before that. Never blocks.
  std::optional<int> exitcode() const;
  /// A descriptor that becomes readable when the process ends, for poll and epoll. It belongs to this handle.
  /// Errors: ValueError before start, and for processes that this one did not start.
  int sentinel() const;

  /// Waits until the process has ended. Blocks. May be repeated.
  /// Errors: AssertionError before start, or in a process that did not start it.
  void join() const;
  /// The same with a bound, negative like zero; returns whether it has ended.
  template <class Rep, class Period>
  bool join(std::chrono::duration<Rep, Period> timeout) const {
    return join_for(std::chrono::duration<double>(timeout).count());
  }

  /// Asks the process to end: SIGTERM. Nothing happens if it has ended. Never blocks.
  /// Errors: AssertionError before start, or in a process that did not start it.
  void terminate() const;
  /// Ends the process: SIGKILL. As terminate.
  void kill() const;

  /// Gives up what the handle holds; every use afterwards is a ValueError. May be repeated.
  /// Errors: ValueError while the process runs.
  void close();

  /// "<Process name='Process-1' pid=123 parent=100 stopped exitcode=-SIGTERM>".
  std::string to_string() const;
  friend std::ostream& operator<<(std::ostream& out, const ProcessRef& process) { return out << process.to_string(); }

  /// Whether both name the same process.
  friend bool operator==(const ProcessRef& a, const ProcessRef& b) { return a.is_same(b); }

  struct State;

 protected:
  explicit ProcessRef(std::shared_ptr<State> state) noexcept : state_(std::move(state)) {}
  /// Errors: AssertionError after a move, ValueError after close.
  State& state() const;
  void set_state(std::shared_ptr<State> state) noexcept { state_ = std::move(state); }
  const std::shared_ptr<State>& shared_state() const noexcept { return state_; }

 private:
  friend ProcessRef current_process();
  friend std::optional<ProcessRef> parent_process();
  friend std::vector<ProcessRef> active_children();

  bool join_for(double seconds) const;
  void send_signal(int number, const char* verb) const;
  bool is_same(const ProcessRef& other) const noexcept;

  std::shared_ptr<State> state_;
};

/// The process that calls it. Thread: any. Errors: AssertionError without a Runtime.
ProcessRef current_process();
/// The process that started this one; empty in the main process. Thread: any.
std::optional<ProcessRef> parent_process();
/// Those that this process started by Process::start and that have not ended, in the order of their start.
/// Thread: any. Never blocks.
std::vector<ProcessRef> active_children();
/// How many processors this process may use by its affinity and its control groups' quota, which counts in full
/// processors, rounded up; at least 1. Thread: any.
int cpu_count() noexcept;

}  // namespace troupe
