#include <troupe/context.hpp>
#include <troupe/error.hpp>
#include <troupe/runtime.hpp>

#include <mutex>
#include <string>

namespace troupe {

namespace {

struct Choice {
  std::mutex mutex;
  std::optional<StartMethod> method;  // guarded
};

// Replaced in forked processes, which begin with the method that they were started with; never destroyed.
Choice*& choice() {
  static auto* current = [] {
    detail::at_child_start([] { choice() = new Choice; });
    return new Choice;
  }();
  return current;
}
// Before main: the copy of a process in which another thread just makes it would wait for that thread for ever.
const bool made = (choice(), true);

}  // namespace

StartMethod get_start_method() {
  Choice& current = *choice();
  const std::lock_guard lock{current.mutex};
  if (!current.method) current.method = detail::is_running() ? this_process::start_method() : StartMethod::forkserver;
  return *current.method;
}

std::optional<StartMethod> find_start_method() noexcept {
  Choice& current = *choice();
  const std::lock_guard lock{current.mutex};
  return current.method;
}

void set_start_method(std::optional<StartMethod> method, bool force) {
  Choice& current = *choice();
  const std::lock_guard lock{current.mutex};
  if (current.method && !force)
    throw RuntimeError("the start method is " + std::string(to_string(*current.method)) +
                       " already: choose it once, first thing in main, or force the change");
  if (!method && !force) throw ValueError("no start method given; only force takes the choice back");
  current.method = method;
}

void set_start_method(std::string_view name, bool force) {
  set_start_method(std::optional{start_method_named(name)}, force);
}

std::vector<StartMethod> get_all_start_methods() {
  return {StartMethod::forkserver, StartMethod::fork, StartMethod::spawn};
}

StartMethod Context::get_start_method() const { return method_ ? *method_ : troupe::get_start_method(); }

std::optional<StartMethod> Context::find_start_method() const noexcept {
  return method_ ? method_ : troupe::find_start_method();
}

void Context::set_start_method(std::optional<StartMethod> method, bool force) const {
  if (method_)
    throw ValueError("a context of its own start method cannot be given another: this one is " +
                     std::string(to_string(*method_)));
  troupe::set_start_method(method, force);
}

void Context::set_start_method(std::string_view name, bool force) const {
  set_start_method(std::optional{start_method_named(name)}, force);
}

void set_executable(const std::filesystem::path& program) { this_process::set_executable(program.string()); }

void set_forkserver_preload(void (*function)()) { preload_nursery(function); }

}  // namespace troupe
