#pragma once

// What was struck: in which part, in which step of it, and how. A soak that never struck somewhere has proved nothing
// there, so it goes on until it has, or fails.

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace troupe::test {

/// What a process is in the midst of. `none`: nothing that is of interest.
enum class Step : std::uint8_t {
  none,
  acquire,
  hold,
  release,
  wait,
  set,
  notify,
  put,
  get,
  task_done,
  send,
  receive,
  connect,
  allocate,
  free,
  create,
  unlink,  // the last one: tally.cpp has their names
};

/// What a victim is for, and the steps in which it is to be struck.
struct Part {
  const char* name;
  std::vector<Step> steps;
};

enum class Strike : std::uint8_t { kill, terminate, stop };
inline constexpr std::size_t num_strikes = 3;

/// Where the next strike is to go.
struct Target {
  const Part* part;
  Step step;
  Strike strike;
};

/// Counts strikes.
class Tally {
 public:
  /// The parts have to live as long.
  explicit Tally(const std::vector<const Part*>& parts);

  /// The one that was given least often, of those that are possible; with `is_missing`, of those that were never hit if
  /// there are such.
  Target next(bool is_missing, const std::function<bool(const Part&)>& is_possible);
  void count(const Part& part, Step step, Strike strike);
  /// Whether every step of every part was struck in every way.
  bool is_complete() const;
  /// A line for each step of each part.
  std::string text() const;

 private:
  struct Line {
    const Part* part;
    Step step;
    std::array<std::uint64_t, num_strikes> given{};
    std::array<std::uint64_t, num_strikes> hit{};
  };
  std::optional<Target> least_given(bool is_missing, const std::function<bool(const Part&)>& is_possible);

  std::vector<Line> lines_;  // of each part its steps, then none
};

}  // namespace troupe::test
