#pragma once

/// \file
/// How a pool is made.

#include <troupe/start_method.hpp>
#include <troupe/task_call.hpp>

#include <climits>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

namespace troupe {

/// What every worker of a pool calls before its first task, as in `{.initializer = {open_database, path}}`.
class Initializer {
 public:
  /// None.
  Initializer() = default;
  /// Callable and arguments as in Pool::apply; what it returns is dropped.
  template <class F, class... Args>
    requires(!std::is_same_v<std::decay_t<F>, Initializer>)
  Initializer(F callable, Args... arguments)  // NOLINT(google-explicit-constructor): a field of PoolOptions
      : encode_([callable = std::move(callable), ... arguments = std::move(arguments)](MessageWriter& message) {
          encode_call(message, 0, callable, arguments...);
        }) {
    require_portable<F>();
    static_assert(std::is_invocable_v<const F&, Args...>,
                  "troupe: the initializer does not take these arguments (number or types)");
  }

  explicit operator bool() const noexcept { return static_cast<bool>(encode_); }
  /// Writes the call as a Task. Errors: those of encoding the arguments.
  void encode(MessageWriter& message) const { encode_(message); }

 private:
  std::function<void(MessageWriter&)> encode_;
};

/// A number of things, or none said. Fractions and texts do not compile.
class Count : public std::optional<int> {
 public:
  constexpr Count() = default;
  constexpr Count(std::nullopt_t) {}                         // NOLINT(google-explicit-constructor): a field of options
  constexpr Count(std::optional<int> count) : optional(count) {}  // NOLINT(google-explicit-constructor): the same
  template <std::integral Whole>
  constexpr Count(Whole count)  // NOLINT(google-explicit-constructor): the same
      : optional(std::in_range<int>(count) ? static_cast<int>(count) : std::cmp_less(count, 0) ? INT_MIN : INT_MAX) {}
};

/// What a submit does when the pool has as much to do as its options allow.
enum class WhenFull : std::uint8_t {
  wait,  ///< until tasks have ended
  fail,  ///< with Full, and nothing is submitted
};

struct PoolOptions {
  /// How many processes; none: as many as this process has processors (cpu_count()).
  Count workers = {};
  /// How they are started; none: as get_start_method() says.
  std::optional<StartMethod> start_method = {};
  /// Shows in error texts, process names and /proc/<pid>/fd; empty: "Pool-N".
  std::string name = {};
  /// Runs in every worker, also in replacements, before its first task. A worker whose initializer throws ends; when
  /// several in a row did, the pool fails its tasks with that error instead of trying for ever.
  Initializer initializer = {};
  /// After so many tasks (chunks, for map) a worker ends and is replaced; none: never.
  Count maxtasksperchild = {};
  /// Whether workers are daemonic. If not, tasks may start processes and pools of their own.
  bool daemon = true;
  /// A task with retries that has killed so many workers is given up: Quarantined.
  unsigned quarantine_after = 3;
  /// Bounds of the tasks that have been submitted and not ended, in number (chunks, for map) and in bytes of their
  /// encoded arguments; none: only memory bounds them. A single task beyond max_pending_bytes runs when no other is
  /// pending.
  std::optional<std::size_t> max_pending_tasks = {};
  std::optional<std::size_t> max_pending_bytes = {};
  /// At such a bound. try_apply_async never waits, map and its kin always do.
  WhenFull when_full = WhenFull::wait;
  /// Resident bytes of a worker, as the kernel counts them, looked at every 50 ms and when tasks end. Above the soft
  /// limit a worker is replaced when it has ended its task; above the hard limit it is killed, and its task fails with
  /// WorkerDied, or its initializer counts as failed.
  std::optional<std::uint64_t> memory_soft_limit = {};
  std::optional<std::uint64_t> memory_hard_limit = {};
};

}  // namespace troupe
