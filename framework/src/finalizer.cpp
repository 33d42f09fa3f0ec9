#include <troupe/failure.hpp>
#include <troupe/finalizer.hpp>
#include <troupe/runtime.hpp>

#include <atomic>
#include <cstdio>
#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

namespace troupe {

namespace {

/// What runs at the end of the process, in that order: highest priority first, then newest.
struct Registry {
  using Place = std::pair<int, long>;  // both negated
  std::mutex mutex;
  std::map<Place, std::function<void()>> runs;
  long count = 0;
};

// Replaced in forked processes, which have finalizers of their own; never destroyed: static objects may have some.
Registry*& registry() {
  static auto* all = [] {
    detail::at_child_start([] { registry() = new Registry; });
    return new Registry;
  }();
  return all;
}
// Before main: the copy of a process in which another thread just makes it would wait for that thread for ever.
const bool made = (registry(), true);

Registry::Place add(int priority, std::function<void()> run) {
  Registry& all = *registry();
  const std::lock_guard lock{all.mutex};
  const Registry::Place place{-priority, -++all.count};
  all.runs.emplace(place, std::move(run));
  return place;
}

}  // namespace

struct Finalizer::State {
  ~State() {
    if (!place || fork_depth != detail::fork_depth()) return;
    Registry& all = *registry();
    const std::lock_guard lock{all.mutex};
    all.runs.erase(*place);
  }

  std::function<void()> call;
  unsigned fork_depth = detail::fork_depth();
  std::atomic<bool> active{true};
  std::optional<Registry::Place> place;

  bool claim() noexcept { return active.exchange(false) && fork_depth == detail::fork_depth(); }
  void run_reporting() noexcept {
    if (!claim()) return;
    try {
      std::exchange(call, nullptr)();
    } catch (...) {
      std::fprintf(stderr, "troupe: a finalizer threw %s\n", describe_exception(std::current_exception()).c_str());
    }
  }
};

Finalizer::Finalizer(std::function<void()> call, std::optional<int> exit_priority) : state_(std::make_shared<State>()) {
  detail::require_runtime();
  state_->call = std::move(call);
  if (!exit_priority) return;
  state_->place = add(*exit_priority, [weak = std::weak_ptr<State>(state_)] {
    if (const auto state = weak.lock()) state->run_reporting();
  });
}

Finalizer& Finalizer::operator=(Finalizer&& other) noexcept {
  if (state_) state_->run_reporting();
  state_ = std::move(other.state_);
  return *this;
}

Finalizer::~Finalizer() {
  if (state_) state_->run_reporting();
}

void Finalizer::at_exit(std::function<void()> call, int exit_priority) {
  detail::require_runtime();
  auto state = std::make_shared<State>();
  state->call = std::move(call);
  add(exit_priority, [state] { state->run_reporting(); });
}

void Finalizer::operator()() {
  if (!state_ || !state_->claim()) return;
  const auto call = std::exchange(state_->call, nullptr);
  call();
}

void Finalizer::cancel() noexcept {
  if (state_) state_->active.store(false);
}

bool Finalizer::still_active() const noexcept { return state_ && state_->active.load(); }

void detail::run_finalizers(int lowest_priority) noexcept {
  Registry& all = *registry();
  for (;;) {
    std::function<void()> run;
    {
      const std::lock_guard lock{all.mutex};
      if (all.runs.empty() || -static_cast<long>(all.runs.begin()->first.first) < lowest_priority) return;
      run = std::move(all.runs.begin()->second);
      all.runs.erase(all.runs.begin());
    }
    run();
  }
}

}  // namespace troupe
