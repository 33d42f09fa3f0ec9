// What a message to an actor costs: from outside, with an object, from a handler, and from two threads at once.

#include <troupe/actor.hpp>
#include <troupe/runtime.hpp>

#include "figure.hpp"

#include <benchmark/benchmark.h>

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace {

using bench::expect;
using troupe::Actor;
using troupe::ActorRef;
using troupe::Mail;
using troupe::Ref;
using troupe::Shared;

/// Adds up the numbers of its mail. The sum is a plain integer, so that it is right only if one thread at a time runs
/// the actor.
class Adder final : public Actor {
 public:
  explicit Adder(std::int64_t& sum) : sum_(sum) {}
  void receive(Mail& mail) override { sum_ += mail.number; }

 private:
  std::int64_t& sum_;
};

/// An Adder, and where it adds.
struct Sum {
  std::int64_t value = 0;
  ActorRef actor{std::make_unique<Adder>(value)};
};

/// The limit: the same work as a virtual call.
void call(benchmark::State& state) {
  std::int64_t sum = 0;
  const std::unique_ptr<Actor> actor = std::make_unique<Adder>(sum);
  for ([[maybe_unused]] const auto round : state) {
    Mail mail{.topic = 1, .number = 3, .object = {}};
    Actor* receiver = actor.get();
    benchmark::DoNotOptimize(receiver);
    receiver->receive(mail);
  }
  expect(sum == 3 * state.iterations(), "mail was lost");
}
BENCHMARK(call);

void post_to_idle(benchmark::State& state) {
  const Sum sum;
  for ([[maybe_unused]] const auto round : state) sum.actor.post({.topic = 1, .number = 3, .object = {}});
  expect(sum.value == 3 * state.iterations(), "mail was lost");
}
BENCHMARK(post_to_idle);

struct Number final : Shared {
  explicit Number(std::int64_t its_value) : value(its_value) {}
  const std::int64_t value;
};

/// Takes the objects of its mail and adds up what they hold.
class ObjectAdder final : public Actor {
 public:
  explicit ObjectAdder(std::int64_t& sum) : sum_(sum) {}
  void receive(Mail& mail) override {
    const Ref<Shared> object = std::move(mail.object);
    sum_ += static_cast<const Number&>(*object).value;
  }

 private:
  std::int64_t& sum_;
};

/// A new object each time, allocated and freed, as results and starts of processes are.
void post_object(benchmark::State& state) {
  std::int64_t sum = 0;
  const ActorRef actor{std::make_unique<ObjectAdder>(sum)};
  for ([[maybe_unused]] const auto round : state)
    actor.post({.topic = 1, .number = 0, .object = troupe::make_ref<Number>(3)});
  expect(sum == 3 * state.iterations(), "mail was lost");
}
BENCHMARK(post_object);

/// Passes its mail on until the number in it has come down to 0.
class Relay final : public Actor {
 public:
  Relay(const ActorRef& next, std::int64_t& count) : next_(next), count_(count) {}
  void receive(Mail& mail) override {
    ++count_;
    if (mail.number > 0) next_.post({.topic = mail.topic, .number = mail.number - 1, .object = {}});
  }

 private:
  const ActorRef& next_;
  std::int64_t& count_;
};

/// From handlers, each of which ends before the next one begins: an actor's own mail, or another one's.
void post_from_handler(benchmark::State& state) {
  constexpr std::int64_t length = 1000;
  std::int64_t count = 0;
  std::array<ActorRef, 2> actors;
  const auto num_actors = static_cast<std::size_t>(state.range(0));
  for (std::size_t i = 0; i < num_actors; ++i)
    actors[i] = ActorRef{std::make_unique<Relay>(actors[(i + 1) % num_actors], count)};
  for ([[maybe_unused]] const auto round : state) actors.front().post({.topic = 1, .number = length - 1, .object = {}});
  expect(count == length * state.iterations(), "mail was lost");
  state.SetItemsProcessed(count);
}
BENCHMARK(post_from_handler)->ArgName("actors")->Arg(1)->Arg(2);

/// Two threads that find the actor busy with the other's mail most of the time.
void post_from_two_threads(benchmark::State& state) {
  static std::optional<Sum> sum;
  if (state.thread_index() == 0) sum.emplace();
  // Both begin together, and go on from here only when both are done.
  for ([[maybe_unused]] const auto round : state) sum->actor.post({.topic = 1, .number = 3, .object = {}});
  state.SetItemsProcessed(state.iterations());
  if (state.thread_index() != 0) return;
  expect(sum->value == 3 * state.iterations() * state.threads(), "mail was lost");
  sum.reset();
}
BENCHMARK(post_from_two_threads)->Threads(2)->UseRealTime();

/// Starting one and letting go of it.
void start_and_end(benchmark::State& state) {
  std::int64_t sum = 0;
  for ([[maybe_unused]] const auto round : state) {
    const ActorRef actor{std::make_unique<Adder>(sum)};
    actor.post({.topic = 1, .number = 3, .object = {}});
  }
  expect(sum == 3 * state.iterations(), "mail was lost");
}
BENCHMARK(start_and_end);

}  // namespace

int main(int argc, char** argv) {
  const troupe::Runtime runtime{argc, argv};
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
