#include <troupe/bell.hpp>
#include <troupe/error.hpp>
#include <troupe/process_ref.hpp>
#include <troupe/runtime.hpp>

#include "process_state.hpp"

#include <algorithm>
#include <csignal>
#include <sstream>
#include <unistd.h>
#include <utility>

namespace troupe {

namespace {

Deadline deadline_in(double seconds) {
  constexpr double for_ever = 1e9;  // thirty years; beyond that the clock's arithmetic would overflow
  if (seconds >= for_ever) return no_deadline;
  const auto now = std::chrono::steady_clock::now();
  if (!(seconds > 0)) return now;
  return now + std::chrono::ceil<Deadline::duration>(std::chrono::duration<double>(seconds));
}

// Processes started by this one and not known to have ended. Replaced in forked processes, never destroyed.
struct ActiveList {
  std::mutex mutex;
  std::vector<std::shared_ptr<ProcessRef::State>> states;  // guarded, in the order of their start
  std::size_t sweep_at = 16;                               // guarded
};
ActiveList*& active_list() {
  static auto* list = [] {
    detail::at_child_start([] { active_list() = new ActiveList; });
    return new ActiveList;
  }();
  return list;
}
// Before main: the copy of a process in which another thread just makes it would wait for that thread for ever.
const bool made = (active_list(), true);

bool has_ended(const std::shared_ptr<ProcessRef::State>& state) {
  const std::lock_guard lock{state->mutex};
  return !state->child || state->child->poll_exitcode().has_value();
}

void sweep(ActiveList& active) {
  std::erase_if(active.states, has_ended);
  active.sweep_at = std::max<std::size_t>(16, active.states.size() * 2);
}

}  // namespace

Child& ProcessRef::State::started(const char* verb) {
  if (kind != Kind::child || creator != ::getpid())
    throw AssertionError(std::string("can only ") + verb + " a process that this process has started; \"" + name +
                         "\" is not its child");
  if (!child)
    throw AssertionError(std::string("can only ") + verb + " a started process; start \"" + name + "\" first");
  return *child;
}

std::shared_ptr<ProcessRef::State> current_state() {
  detail::require_runtime();
  auto state = std::make_shared<ProcessRef::State>();
  state->kind = ProcessRef::State::Kind::current;
  state->creator = this_process::parent_pid();
  state->pid = ::getpid();
  return state;
}

std::shared_ptr<ProcessRef::State> new_state(std::string name, std::optional<bool> daemon) {
  auto state = std::make_shared<ProcessRef::State>();
  state->creator = ::getpid();
  const std::string number = std::to_string(this_process::next_child_number());
  const std::string mine = this_process::identity();
  state->identity = mine.empty() ? number : mine + ":" + number;
  state->name = name.empty() ? "Process-" + state->identity : std::move(name);
  state->daemon = daemon.value_or(this_process::is_daemonic());
  state->authkey = this_process::authkey();
  return state;
}

void add_active(std::shared_ptr<ProcessRef::State> state) {
  ActiveList& active = *active_list();
  const std::lock_guard lock{active.mutex};
  if (active.states.size() >= active.sweep_at) sweep(active);
  active.states.push_back(std::move(state));
}

ProcessRef::State& ProcessRef::state() const {
  if (!state_) throw AssertionError("this process object was moved from");
  const std::lock_guard lock{state_->mutex};
  if (state_->closed) throw ValueError("process object \"" + state_->name + "\" is closed");
  return *state_;
}

std::string ProcessRef::name() const {
  State& me = state();
  if (me.kind == State::Kind::current) return this_process::name();
  const std::lock_guard lock{me.mutex};
  return me.name;
}

void ProcessRef::set_name(std::string name) {
  State& me = state();
  if (me.kind == State::Kind::current) return this_process::set_name(std::move(name));
  const std::lock_guard lock{me.mutex};
  me.name = std::move(name);
}

bool ProcessRef::daemon() const {
  State& me = state();
  if (me.kind == State::Kind::current) return this_process::is_daemonic();
  const std::lock_guard lock{me.mutex};
  return me.daemon;
}

void ProcessRef::set_daemon(bool daemon) {
  State& me = state();
  const std::lock_guard lock{me.mutex};
  if (me.kind != State::Kind::child || me.starting)
    throw AssertionError("process \"" + (me.name.empty() ? this_process::name() : me.name) +
                         "\" has already started: set daemon before start()");
  me.daemon = daemon;
}

std::vector<std::byte> ProcessRef::authkey() const {
  State& me = state();
  if (me.kind == State::Kind::current) return this_process::authkey();
  const std::lock_guard lock{me.mutex};
  return me.authkey;
}

void ProcessRef::set_authkey(std::vector<std::byte> key) {
  State& me = state();
  if (me.kind == State::Kind::current) return this_process::set_authkey(std::move(key));
  if (key.empty()) throw ValueError("the authkey of a process cannot be empty");
  const std::lock_guard lock{me.mutex};
  me.authkey = std::move(key);
}

std::optional<pid_t> ProcessRef::pid() const {
  State& me = state();
  const std::lock_guard lock{me.mutex};
  if (me.pid == 0) return std::nullopt;
  return me.pid;
}

bool ProcessRef::is_alive() const {
  State& me = state();
  if (me.kind != State::Kind::child) return true;  // a process ends before its parent does
  const std::lock_guard lock{me.mutex};
  if (me.creator != ::getpid()) me.started("ask about");
  return me.child && !me.child->poll_exitcode();
}

std::optional<int> ProcessRef::exitcode() const {
  State& me = state();
  const std::lock_guard lock{me.mutex};
  if (!me.child || me.creator != ::getpid()) return std::nullopt;
  return me.child->poll_exitcode();
}

int ProcessRef::sentinel() const {
  State& me = state();
  const std::lock_guard lock{me.mutex};
  if (!me.child) throw ValueError("process \"" + me.name + "\" has no sentinel: it was not started from here");
  return me.child->sentinel();
}

bool ProcessRef::join_for(double seconds) const {
  State& me = state();
  Child child;
  {
    const std::lock_guard lock{me.mutex};
    child = me.started("join");
  }
  return child.wait(deadline_in(seconds)).has_value();
}

void ProcessRef::join() const { join_for(1e300); }

void ProcessRef::send_signal(int number, const char* verb) const {
  State& me = state();
  const std::lock_guard lock{me.mutex};
  me.started(verb).send_signal(number);
}

void ProcessRef::terminate() const { send_signal(SIGTERM, "terminate"); }

void ProcessRef::kill() const { send_signal(SIGKILL, "kill"); }

void ProcessRef::close() {
  if (!state_) return;
  const std::lock_guard lock{state_->mutex};
  if (state_->closed) return;
  if (state_->kind != State::Kind::child) throw ValueError("cannot close the handle of a process that others own");
  if (state_->child && state_->creator == ::getpid() && !state_->child->poll_exitcode())
    throw ValueError("cannot close process \"" + state_->name +
                     "\" while it is running: call join() or terminate() first");
  state_->child.reset();
  state_->closed = true;
}

bool ProcessRef::is_same(const ProcessRef& other) const noexcept {
  if (state_ == other.state_) return true;
  return state_ && other.state_ && state_->pid != 0 && state_->pid == other.state_->pid &&
         state_->kind == other.state_->kind && state_->kind != State::Kind::child;
}

std::string ProcessRef::to_string() const {
  if (!state_) return "<Process moved>";
  State& me = *state_;
  const std::string own_name = me.kind == State::Kind::current ? this_process::name() : "";
  const std::lock_guard lock{me.mutex};
  std::ostringstream out;
  out << '<' << me.type << " name='" << (own_name.empty() ? me.name : own_name) << '\'';
  if (me.pid != 0 && !me.closed) out << " pid=" << me.pid;
  if (me.creator != 0) out << " parent=" << me.creator;
  std::optional<int> code;
  if (me.kind != State::Kind::child) {
    out << " started";
  } else if (me.closed) {
    out << " closed";
  } else if (me.creator != ::getpid()) {
    out << " unknown";
  } else if (!me.child) {
    out << " initial";
  } else {
    code = me.child->poll_exitcode();
    out << (code ? " stopped" : " started");
  }
  if (code) out << " exitcode=" << (*code < 0 ? "-" : "") << (*code < 0 ? signal_name(-*code) : std::to_string(*code));
  if (me.kind == State::Kind::current ? this_process::is_daemonic() : me.daemon) out << " daemon";
  out << '>';
  return std::move(out).str();
}

ProcessRef current_process() { return ProcessRef{current_state()}; }

std::optional<ProcessRef> parent_process() {
  const pid_t pid = this_process::parent_pid();
  if (pid == 0) return std::nullopt;
  auto state = std::make_shared<ProcessRef::State>();
  state->kind = ProcessRef::State::Kind::parent;
  state->name = this_process::parent_name();
  state->authkey = this_process::authkey();
  state->pid = pid;
  state->type = "ParentProcess";
  return ProcessRef{std::move(state)};
}

std::vector<ProcessRef> active_children() {
  detail::require_runtime();
  ActiveList& active = *active_list();
  const std::lock_guard lock{active.mutex};
  sweep(active);
  std::vector<ProcessRef> children;
  for (const auto& state : active.states) children.push_back(ProcessRef{state});
  return children;
}

}  // namespace troupe
