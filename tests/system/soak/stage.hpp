#pragma once

// Processes that use one thing together while some of them are killed, stopped and replaced.
//
//   survivors ──┐                        ┌── strikes: SIGKILL, SIGTERM, SIGSTOP then SIGCONT
//   victims ────┴─ turns, on the board ──┤   in each part, in each of its steps
//                                        ├── every death: the survivors get on without the dead, then a replacement
//                                        └── every calm: nobody is in a turn, the scene's books are checked

#include <troupe/process.hpp>

#include "footprint.hpp"
#include "tally.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

namespace troupe::test {

inline constexpr std::size_t max_places = 8;

/// What the process at a place, and those that were there before it, tell the others.
struct alignas(64) Place {
  std::atomic<std::uint64_t> turns;  ///< that were ended
  std::atomic<std::uint32_t> calm;   ///< the last calm that it has kept
  std::atomic<std::uint64_t> begun;  ///< for the scene
  std::atomic<std::uint64_t> ended;
  std::atomic<Step> step;  ///< that it is in; of a dead process the one in which it has died
};

/// Shared by all processes of the program.
struct Board {
  std::atomic<std::uint32_t> calm;  ///< odd: nobody is to begin a turn
  std::atomic<bool> is_over;
  std::atomic<bool> has_mistake;
  std::atomic<bool> has_text;
  char mistake[512];
  Place places[max_places];
};
extern Board& board;

/// Ends this process, which is not the main one, and with it the soak.
[[noreturn]] void complain(const std::string& what);

/// Waits until the calm that there is, if there is one, is over.
void keep_calm(Place& mine);

/// One turn after another until all is over.
template <class Turn>
void repeat(Place& mine, Turn turn) {
  while (!board.is_over) {
    turn();
    ++mine.turns;
  }
}

/// The same with calms between turns.
template <class Turn>
void play(Place& mine, Turn turn) {
  repeat(mine, [&] {
    keep_calm(mine);
    if (!board.is_over) turn();
  });
}

/// How much may be held in the end beyond what was after the warm-up, by the nursery if nothing else is said.
struct Growth {
  std::size_t descriptors = 0;
  long kept_kib = 1024;
  long resident_kib = 0;   ///< here, as shared memory comes to be used
  long first_use_kib = 0;  ///< here, from the first use on
};

/// What is soaked: who does what with it, and what has to be true of it. All but the targets of processes runs in the
/// main process.
class Scene {
 public:
  virtual ~Scene() = default;

  /// Survivors have the first places, victims those behind them.
  virtual std::size_t num_survivors() const = 0;
  virtual std::size_t num_victims() const = 0;
  virtual Process make(std::size_t place) = 0;
  /// Of a victim. Lives as long as the program.
  virtual const Part& part(std::size_t place) const = 0;
  /// What `make` gave for this place has started.
  virtual void started(std::size_t /*place*/) {}
  /// Victims that may die in the round after so many calms.
  virtual bool may_die(std::size_t /*place*/, std::uint64_t /*round*/) const { return true; }
  /// The process at a victim's place has died and was joined. Returns whether the survivors get on without it.
  virtual bool died(std::size_t /*place*/) { return true; }
  /// Whether the survivors get on while a victim is stopped.
  virtual bool goes_on_without_stopped() const { return false; }
  /// A calm should come soon.
  virtual bool wants_calm() const { return false; }
  /// Called until all are calm: brings on who waits for what nobody does any more.
  virtual void calm_down() {}
  /// Everybody is calm.
  virtual void check() {}
  virtual Growth growth() const { return {}; }
};

struct NamedScene {
  const char* name;
  std::unique_ptr<Scene> (*make)();
};

struct SoakLimits {
  std::uint64_t kills = 10'000;
  double seconds = std::numeric_limits<double>::infinity();
};

/// Kills so many victims, or for so long, and then until each step of each part was struck in each way. Fails if that
/// does not come about, and if anything else is wrong. `before` is what the program held before; returns
/// what it holds behind it.
Footprint soak_scene(const NamedScene& named, const SoakLimits& limits, unsigned seed, const Footprint& before);

/// Waits for `condition`; fails with what `text` returns if it does not come true in time, and when a process of the
/// scene has complained.
void await(const std::function<bool()>& condition, const std::function<std::string()>& text);

}  // namespace troupe::test
