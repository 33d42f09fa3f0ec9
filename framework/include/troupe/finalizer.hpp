#pragma once

/// \file
/// What is to be done when an object goes, or at the latest when its process ends. multiprocessing.util.Finalize.

#include <functional>
#include <memory>
#include <optional>

namespace troupe {

/// Calls a function once: when called, when it is destroyed (as a member: with its object), or at the normal end of the
/// process if it has an exit priority. Then those of higher priority come first, among equals the newest; those below 0
/// come after the process's children have ended. In another process than the one that made it, as in a forked copy, it
/// does nothing. Movable. Thread: any.
///
///     struct Scratch {
///       std::filesystem::path dir = make_directory();
///       troupe::Finalizer clean{[dir = dir] { remove_all(dir); }, 0};  // also if nobody destroys it
///     };
class Finalizer {
 public:
  /// Without priority it never runs at the end of the process. Errors: AssertionError without a Runtime.
  explicit Finalizer(std::function<void()> call, std::optional<int> exit_priority = {});
  Finalizer(Finalizer&& other) noexcept = default;
  Finalizer& operator=(Finalizer&& other) noexcept;
  /// What the function throws here, or at the end of the process, is printed to stderr.
  ~Finalizer();

  /// Has `call` run at the end of this process: a finalizer without an object. Errors: AssertionError without a
  /// Runtime.
  static void at_exit(std::function<void()> call, int exit_priority);

  /// Calls the function unless that was done or given up. Errors: what it throws; it counts as called.
  void operator()();
  /// Gives the call up.
  void cancel() noexcept;
  /// Whether the function is still to be called.
  bool still_active() const noexcept;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

namespace detail {

/// Part of the end of a process: calls the finalizers of this priority or above, then forgets them.
void run_finalizers(int lowest_priority) noexcept;

}  // namespace detail

}  // namespace troupe
