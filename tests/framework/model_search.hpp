#pragma once

/// \file
/// Goes everywhere that a model can get to. A world is a trivially copyable struct without padding that differs.

#include <cstddef>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace troupe::test {

/// What a protocol for some processes does in every world, and what must be true there. Calls `reach` for each world
/// that one step leads to.
template <class World>
class ModelSearch {
 public:
  virtual ~ModelSearch() = default;

  /// Goes everywhere from the worlds that were reached so far; the first thing found wrong, empty if nothing is.
  std::string run() {
    while (!open_.empty() && wrong_.empty()) {
      const World world = open_.back();
      open_.pop_back();
      check(world);
      const std::size_t before = num_moves_;
      for (std::size_t i = 0; i < num_processes_; ++i) move(world, i);
      recover(world);
      if (num_moves_ == before) check_end(world);
      kill(world);
    }
    return wrong_;
  }
  std::size_t num_states() const { return known_.size(); }

 protected:
  void reach(const World& world) {
    ++num_moves_;
    if (known_.insert(world).second) open_.push_back(world);
  }
  void fail(const std::string& what) { wrong_ = what; }

  std::size_t num_processes_ = 0;

 private:
  /// What must be true at any time.
  virtual void check(const World& world) = 0;
  /// The next step of one process, if it has one.
  virtual void move(const World& world, std::size_t index) = 0;
  /// The next step of what is done for the dead.
  virtual void recover(const World& world) = 0;
  /// Nobody can do anything here.
  virtual void check_end(const World& world) = 0;
  /// The death of each process that may die.
  virtual void kill(const World& world) = 0;

  struct Bytes {
    std::size_t operator()(const World& world) const {
      return std::hash<std::string_view>{}({reinterpret_cast<const char*>(&world), sizeof world});
    }
    bool operator()(const World& a, const World& b) const { return std::memcmp(&a, &b, sizeof a) == 0; }
  };

  std::unordered_set<World, Bytes, Bytes> known_;
  std::vector<World> open_;
  std::size_t num_moves_ = 0;
  std::string wrong_;
};

}  // namespace troupe::test
