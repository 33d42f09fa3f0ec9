#include <troupe/dummy.hpp>

#include <troupe/error.hpp>
#include <troupe/failure.hpp>
#include <troupe/log.hpp>
#include <troupe/runtime.hpp>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <mutex>
#include <pthread.h>
#include <sstream>
#include <system_error>
#include <thread>
#include <typeinfo>
#include <unistd.h>

namespace troupe::dummy {

struct ProcessRef::State : std::enable_shared_from_this<ProcessRef::State> {
  std::shared_ptr<State> parent;  // null: of threads that are no Process
  std::string identity;           // "1:2" for the second child of the first

  std::mutex mutex;
  std::condition_variable changed;  // tid, exitcode
  // Guarded by mutex:
  std::string name;
  bool daemon = false;
  bool started = false;
  pid_t tid = 0;
  std::optional<int> exitcode;
  std::thread thread;                            // until it is joined
  std::vector<std::shared_ptr<State>> children;  // those that run, in the order of their start
  unsigned num_children = 0;
};

namespace {

using State = ProcessRef::State;
using StatePtr = std::shared_ptr<State>;

// Of this process. Replaced in forked processes, where the threads are not; never destroyed.
struct Threads {
  StatePtr main = [] {
    auto state = std::make_shared<State>();
    state->name = "MainProcess";
    state->started = true;
    return state;
  }();
  std::mutex mutex;
  std::vector<StatePtr> unjoined;  // guarded: their threads have to be joined
  bool are_waited_for = false;     // guarded: at the end of this process
};

thread_local State* current = nullptr;  // null: no Process

Threads*& threads() {
  static auto* all = [] {
    troupe::detail::at_child_start([] {
      threads() = new Threads;
      current = nullptr;
    });
    return new Threads;
  }();
  return all;
}
// Before main: the copy of a process in which another thread just makes it would wait for that thread for ever.
const bool made = (threads(), true);

StatePtr current_state() {
  return current != nullptr ? current->shared_from_this() : threads()->main;
}

void join_thread(const StatePtr& state) {
  std::thread thread;
  {
    const std::lock_guard lock{state->mutex};
    thread = std::move(state->thread);
  }
  if (!thread.joinable()) return;
  thread.join();
  Threads& all = *threads();
  const std::lock_guard lock{all.mutex};
  std::erase(all.unjoined, state);
}

bool is_over(State& state) {
  const std::lock_guard lock{state.mutex};
  return state.exitcode.has_value();
}

/// Joins those that have ended and that nobody joins.
void sweep() {
  std::vector<StatePtr> over;
  {
    Threads& all = *threads();
    const std::lock_guard lock{all.mutex};
    std::ranges::copy_if(all.unjoined, std::back_inserter(over), [](const StatePtr& one) { return is_over(*one); });
  }
  for (const StatePtr& state : over) join_thread(state);
}

void end_all() {
  for (;;) {
    StatePtr state;
    {
      Threads& all = *threads();
      const std::lock_guard lock{all.mutex};
      const auto next = std::ranges::find_if(all.unjoined, [](const StatePtr& one) {
        const std::lock_guard state_lock{one->mutex};
        return !one->daemon && one->tid != ::gettid();  // a thread that calls std::exit does not wait for itself
      });
      if (next == all.unjoined.end()) return;
      state = *next;
      all.unjoined.erase(next);
    }
    join_thread(state);
  }
}

// A process of troupe ends without what is registered for the exit of a program.
void wait_at_end() {
  static const int registered = std::atexit(end_all);
  static_cast<void>(registered);
  Threads& all = *threads();
  const std::lock_guard lock{all.mutex};
  if (!all.are_waited_for && troupe::detail::is_running()) {
    troupe::detail::at_runtime_end(end_all);
    all.are_waited_for = true;
  }
}

void report_uncaught(State& state) noexcept {
  try {
    std::string name;
    {
      const std::lock_guard lock{state.mutex};
      name = state.name;
    }
    std::cerr << "Process " + name + ":\n" + describe_exception(std::current_exception()) + "\n" << std::flush;
  } catch (...) {
    // The program asked std::cerr to throw, and it is broken: nobody can be told.
  }
}

void run_thread(const StatePtr& state, const std::function<void()>& code) {
  current = state.get();
  {
    const std::lock_guard lock{state->mutex};
    ::pthread_setname_np(::pthread_self(), state->name.substr(0, 15).c_str());
    state->tid = ::gettid();
    state->changed.notify_all();
  }
  int exitcode = EXIT_SUCCESS;
  try {
    code();
  } catch (...) {
    report_uncaught(*state);
    exitcode = EXIT_FAILURE;
  }
  current = nullptr;
  {
    const std::lock_guard lock{state->parent->mutex};
    std::erase(state->parent->children, state);
  }
  const std::lock_guard lock{state->mutex};
  state->exitcode = exitcode;
  state->changed.notify_all();
}

void launch(const StatePtr& state, std::function<void()> code) {
  Threads& all = *threads();
  const std::scoped_lock lock{all.mutex, state->parent->mutex, state->mutex};
  state->parent->children.push_back(state);
  all.unjoined.push_back(state);
  try {
    state->thread = std::thread(run_thread, state, std::move(code));
  } catch (const std::system_error& error) {
    std::erase(all.unjoined, state);
    std::erase(state->parent->children, state);
    state->started = false;
    throw OSError(error.code().value(), "start the thread of " + state->name);
  }
}

StatePtr new_state(ProcessOptions options) {
  auto state = std::make_shared<State>();
  state->parent = current_state();
  const std::lock_guard lock{state->parent->mutex};
  const std::string number = std::to_string(++state->parent->num_children);
  state->identity = state->parent->identity.empty() ? number : state->parent->identity + ":" + number;
  state->name = options.name.empty() ? "Process-" + state->identity : std::move(options.name);
  state->daemon = options.daemon.value_or(state->parent->daemon);
  return state;
}

}  // namespace

// --- ProcessRef ---

const std::shared_ptr<ProcessRef::State>& ProcessRef::state() const {
  if (!state_) throw AssertionError("this process object was moved from");
  return state_;
}

std::string ProcessRef::name() const {
  const std::lock_guard lock{state()->mutex};
  return state_->name;
}

void ProcessRef::set_name(std::string name) {
  const std::lock_guard lock{state()->mutex};
  state_->name = std::move(name);
}

bool ProcessRef::daemon() const {
  const std::lock_guard lock{state()->mutex};
  return state_->daemon;
}

void ProcessRef::set_daemon(bool daemon) {
  const std::lock_guard lock{state()->mutex};
  if (state_->started) throw AssertionError("process \"" + state_->name + "\" has started: its daemon flag stays");
  state_->daemon = daemon;
}

std::optional<pid_t> ProcessRef::ident() const {
  if (state() == threads()->main) return ::getpid();
  const std::lock_guard lock{state_->mutex};
  return state_->tid == 0 ? std::nullopt : std::optional(state_->tid);
}

bool ProcessRef::is_alive() const {
  const std::lock_guard lock{state()->mutex};
  return state_->started && !state_->exitcode;
}

std::optional<int> ProcessRef::exitcode() const {
  const std::lock_guard lock{state()->mutex};
  return state_->exitcode;
}

bool ProcessRef::join_until(Deadline deadline) const {
  const StatePtr me = state();  // even if this object goes meanwhile
  {
    std::unique_lock lock{me->mutex};
    if (!me->started || !me->parent)
      throw AssertionError("can only join a started process; start \"" + me->name + "\" first");
    if (current == me.get()) throw AssertionError("process \"" + me->name + "\" cannot join itself");
    const auto has_ended = [&] { return me->exitcode.has_value(); };
    if (deadline == no_deadline)
      me->changed.wait(lock, has_ended);
    else if (!me->changed.wait_until(lock, deadline, has_ended))
      return false;
  }
  join_thread(me);
  return true;
}

std::string ProcessRef::to_string() const {
  const std::lock_guard lock{state()->mutex};
  std::ostringstream text;
  text << "<Process name='" << state_->name << '\'';
  if (!state_->started)
    text << " initial";
  else if (!state_->exitcode)
    text << " started";
  else
    text << " stopped exitcode=" << *state_->exitcode;
  if (state_->daemon) text << " daemon";
  text << '>';
  return std::move(text).str();
}

// --- Process ---

Process::Process(ProcessOptions options) : ProcessRef(new_state(std::move(options))) {}

Process::~Process() {
  if (!runs_itself_ || was_moved_from() || !is_alive()) return;
  get_logger().critical("{} was destroyed while its run() runs: join it before", name());
  std::terminate();
}

void Process::run() {
  if (target_) target_->call();
}

void Process::start() {
  const StatePtr me = state();
  {
    const std::lock_guard lock{me->mutex};
    if (me->started) throw AssertionError("process \"" + me->name + "\" was started before");
    me->started = true;
  }
  sweep();
  wait_at_end();
  runs_itself_ = typeid(*this) != typeid(Process);
  std::function<void()> code;
  if (runs_itself_)
    code = [this] { run(); };
  else
    code = [target = target_] {
      if (target) target->call();
    };
  launch(me, std::move(code));
  std::unique_lock lock{me->mutex};
  me->changed.wait(lock, [&] { return me->tid != 0; });
}

// --- The calling thread ---

ProcessRef current_process() { return ProcessRef{current_state()}; }

std::optional<ProcessRef> parent_process() {
  const StatePtr me = current_state();
  return me->parent ? std::optional(ProcessRef{me->parent}) : std::nullopt;
}

std::vector<ProcessRef> active_children() {
  const StatePtr me = current_state();
  std::vector<ProcessRef> all;
  const std::lock_guard lock{me->mutex};
  for (const StatePtr& child : me->children) all.push_back(ProcessRef{child});
  return all;
}

}  // namespace troupe::dummy
