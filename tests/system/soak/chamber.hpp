#pragma once

// What a lock guards in the soaks.

#include <atomic>
#include <cstdint>

namespace troupe::test {

/// Two numbers that only a lock protects. They differ while somebody is inside, who is named, so that one who meets
/// another one there finds out, and so does one who was not told that the one before has died.
class Chamber {
 public:
  /// Complains unless everything is whole, or the lock was abandoned.
  void enter(bool was_abandoned);
  void leave();

  // --- For the main process ---

  void reset();
  /// Always true.
  bool count_death() {
    ++num_deaths_;
    return true;
  }
  /// While nobody is inside: every turn has counted once.
  void check();

 private:
  std::atomic<std::int32_t> inside_;  // the process; 0: nobody
  volatile std::uint64_t first_;
  volatile std::uint64_t second_;
  std::atomic<std::uint64_t> num_begun_;
  std::atomic<std::uint64_t> num_ended_;
  std::atomic<std::uint64_t> num_told_;  // how often somebody was told of a dead one
  std::atomic<std::uint64_t> num_deaths_;
};
extern Chamber& chamber;

}  // namespace troupe::test
