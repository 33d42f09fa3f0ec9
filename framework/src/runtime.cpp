#include <troupe/bell.hpp>
#include <troupe/callable.hpp>
#include <troupe/error.hpp>
#include <troupe/finalizer.hpp>
#include <troupe/runtime.hpp>

#include "actor_system.hpp"
#include "child_state.hpp"
#include "descriptors.hpp"
#include "nursery.hpp"
#include "self.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <iostream>
#include <limits>
#include <pthread.h>
#include <sys/random.h>
#include <unistd.h>

namespace troupe {

namespace {

/// How long a daemonic process may take to end after SIGTERM when its parent ends, before it is killed.
constexpr std::chrono::seconds daemon_grace{1};
constexpr std::size_t authkey_bytes = 32;

std::atomic<Self*> current_self{nullptr};
// Set in every forked process until troupe has made it one of its own.
std::atomic<bool> forked_by_hand{false};
std::atomic<bool> main_process{false};
std::atomic<bool> ending{false};
std::atomic<unsigned> num_forks{0};  // on the way from the root to this process

// Whoever sleeps in the main process may wait for one that died with the nursery.
void look_after_nursery() noexcept {
  Self* me = find_self();
  if (me == nullptr) return;
  const std::unique_lock lock{me->launch_mutex, std::try_to_lock};
  if (lock) me->nursery.recover_if_dead();
}

struct StartHooks {
  std::mutex mutex;
  std::vector<void (*)()> hooks;
};
StartHooks& start_hooks() {
  static auto* all = new StartHooks;  // never destroyed: hooks are registered and run at any time
  return *all;
}

void note_fork() {
  ++num_forks;
  forked_by_hand = true;
  close_inherited_lifeline();
}

void watch_forks() {
  static const int result = ::pthread_atfork(nullptr, nullptr, note_fork);
  if (result != 0) throw OSError(result, "watching for forks");
}

std::vector<std::byte> random_key() {
  std::vector<std::byte> key(authkey_bytes);
  if (::getrandom(key.data(), key.size(), 0) != static_cast<ssize_t>(key.size()))
    throw OSError(errno, "drawing the key of this program");
  return key;
}

// std::exit anywhere in the program, while the Runtime lives.
void end_at_exit() {
  if (!forked_by_hand && main_process) finish_process();
}

std::vector<std::shared_ptr<Child::State>> take_children(Self& me) {
  const std::lock_guard lock{me.children_mutex};
  return std::exchange(me.children, {});
}

void terminate(Child::State& child, int signal_number) noexcept {
  try {
    child.send_signal(signal_number);
  } catch (const Error& error) {
    std::fprintf(stderr, "troupe: %s\n", error.what());
  }
}

// Daemonic processes are terminated and all are waited for, those that others start meanwhile included.
void finish_children(Self& me) {
  for (auto children = take_children(me); !children.empty(); children = take_children(me)) {
    for (const auto& child : children)
      if (child->daemon) terminate(*child, SIGTERM);
    for (const auto& child : children)
      if (!child->daemon) child->wait(no_deadline);
    const Deadline grace = std::chrono::steady_clock::now() + daemon_grace;
    for (const auto& child : children) {
      if (child->wait(child->daemon ? grace : no_deadline)) continue;
      terminate(*child, SIGKILL);
      child->wait(no_deadline);
    }
  }
}

void run_end_hooks(Self& me) {
  for (;;) {
    std::function<void()> hook;
    {
      const std::lock_guard lock{me.hooks_mutex};
      if (me.end_hooks.empty()) return;
      hook = std::move(me.end_hooks.back());
      me.end_hooks.pop_back();
    }
    hook();
  }
}

}  // namespace

Self* find_self() noexcept { return forked_by_hand ? nullptr : current_self.load(); }

Self& self() {
  if (forked_by_hand)
    throw AssertionError("this process (pid " + std::to_string(::getpid()) +
                         ") was forked by hand: only processes started through troupe can use it");
  Self* me = current_self;
  if (me == nullptr) throw AssertionError("no troupe::Runtime: make it the first statement of main");
  return *me;
}

void become(std::unique_ptr<Self> me) {
  main_process = false;
  sleep_in_pieces(nullptr);
  ending = false;
  current_self = me.release();
  forked_by_hand = false;
  std::vector<void (*)()> hooks;
  {
    // Nobody else is here to hold the lock, but it may have been held when this process was forked.
    StartHooks& all = start_hooks();
    new (&all.mutex) std::mutex;
    hooks = all.hooks;
  }
  for (void (*hook)() : hooks) hook();
}

void flush_standard_streams() noexcept {
  try {
    std::cout.flush();
    std::cerr.flush();
    std::clog.flush();
  } catch (...) {
    // The program asked its streams to throw; a stream that is broken is no reason not to go on.
  }
  std::fflush(nullptr);
}

void finish_process() noexcept {
  Self* me = find_self();
  if (me == nullptr || ending) return;
  detail::run_finalizers(0);  // while everything still works
  if (ending.exchange(true)) return;
  try {
    run_end_hooks(*me);
    finish_children(*me);
    detail::run_finalizers(std::numeric_limits<int>::min());
    const std::lock_guard lock{me->launch_mutex};
    me->nursery.close_names();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "troupe: at the end of process %d: %s\n", ::getpid(), error.what());
  }
}

void end_process(int exitcode) noexcept {
  finish_process();
  std::signal(SIGPIPE, SIG_IGN);  // output that nobody reads any more does not change how this process ended
  flush_standard_streams();
  ::_exit(exitcode);
}

Runtime::Runtime(int argc, char** argv) {
  watch_forks();
  const std::string_view role = argc > 1 ? argv[1] : "";
  const std::string program_name = argc > 0 ? argv[0] : "";
  if (role == nursery_argument) become_executed_nursery(program_name.c_str(), argc > 2 ? argv[2] : nullptr);
  if (role == child_argument) become_executed_child(program_name.c_str());
  if (current_self != nullptr) throw AssertionError("there is a troupe::Runtime in this process already");
  auto me = std::make_unique<Self>(Identity{});
  me->identity.authkey = random_key();
  // Made once here, inherited by the nursery and everybody it forks: saves each process 0.2 ms.
  actor_system();
  detail::load_modules();
  me->nursery.open(me->lifeline, program_name);
  main_process = true;
  sleep_in_pieces(look_after_nursery);
  ending = false;
  current_self = me.release();
  static const int registered = std::atexit(end_at_exit);
  static_cast<void>(registered);
}

Runtime::~Runtime() {
  Self* me = find_self();
  if (me == nullptr) return;  // forked by hand: the Runtime belongs to the parent
  finish_process();
  sleep_in_pieces(nullptr);
  me->nursery.close(me->lifeline);
  main_process = false;
  current_self = nullptr;
  delete me;
}

void preload_nursery(void (*function)()) {
  Self& me = self();
  const std::lock_guard lock{me.launch_mutex};
  me.nursery.preload(code_ref(reinterpret_cast<AnyFunction>(function)));
}

namespace this_process {

namespace {

template <class Field>
Field read(Field Identity::*field) {
  Self& me = self();
  const std::lock_guard lock{me.identity_mutex};
  return me.identity.*field;
}

template <class Field>
void write(Field Identity::*field, Field value) {
  Self& me = self();
  const std::lock_guard lock{me.identity_mutex};
  me.identity.*field = std::move(value);
}

}  // namespace

std::string name() { return read(&Identity::name); }
void set_name(std::string name) { write(&Identity::name, std::move(name)); }
std::string identity() { return read(&Identity::path); }
bool is_daemonic() { return read(&Identity::daemon); }
std::vector<std::byte> authkey() { return read(&Identity::authkey); }
std::string parent_name() { return read(&Identity::parent_name); }
pid_t parent_pid() { return read(&Identity::parent_pid); }
StartMethod start_method() { return read(&Identity::method); }
std::string executable() { return read(&Identity::executable); }
void set_executable(std::string path) { write(&Identity::executable, std::move(path)); }

void set_authkey(std::vector<std::byte> key) {
  if (key.empty()) throw ValueError("the authkey of a process cannot be empty");
  write(&Identity::authkey, std::move(key));
}

unsigned next_child_number() {
  Self& me = self();
  const std::lock_guard lock{me.identity_mutex};
  return ++me.num_children;
}

}  // namespace this_process

namespace detail {

void require_runtime() { self(); }

void at_child_start(void (*hook)()) {
  StartHooks& all = start_hooks();
  const std::lock_guard lock{all.mutex};
  if (std::ranges::find(all.hooks, hook) == all.hooks.end()) all.hooks.push_back(hook);
}

std::size_t num_child_start_hooks() {
  StartHooks& all = start_hooks();
  const std::lock_guard lock{all.mutex};
  return all.hooks.size();
}

void at_runtime_end(std::function<void()> hook) {
  Self& me = self();
  const std::lock_guard lock{me.hooks_mutex};
  me.end_hooks.push_back(std::move(hook));
}

unsigned fork_depth() noexcept { return num_forks.load(std::memory_order_relaxed); }

bool is_running() noexcept { return find_self() != nullptr && !ending; }

}  // namespace detail

}  // namespace troupe
