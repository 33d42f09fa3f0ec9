#include "actor_system.hpp"

#include <troupe/actor.hpp>
#include <troupe/error.hpp>

#include <caf/actor_system_config.hpp>
#include <caf/detail/simple_actor_clock.hpp>
#include <caf/scheduler/abstract_coordinator.hpp>

namespace troupe {

namespace {

// A scheduler without threads: our actors run on the threads that post to them, so CAF has nothing to schedule.
class Coordinator final : public caf::scheduler::abstract_coordinator {
 public:
  using abstract_coordinator::abstract_coordinator;

  static caf::actor_system::module* make(caf::actor_system& system, caf::detail::type_list<>) {
    return new Coordinator(system);
  }

  void start() override {}
  void stop() override {}
  // Reached only by work that CAF itself would start on a thread of its own; we start none.
  void enqueue(caf::resumable* work) override { cleanup_and_release(work); }
  caf::actor_clock& clock() noexcept override { return clock_; }

 private:
  caf::detail::simple_actor_clock clock_;
};

struct Config : caf::actor_system_config {
  Config() { load<Coordinator>(); }
};

}  // namespace

caf::actor_system& actor_system() {
  static auto* config = new Config;
  static auto* system = new caf::actor_system(*config);
  return *system;
}

}  // namespace troupe
