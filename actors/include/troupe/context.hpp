#pragma once

/// \file
/// Start methods as in multiprocessing: one for the whole program, and contexts that have one of their own.
///
///     troupe::set_start_method("spawn");
///     auto context = troupe::get_context("fork");
///     troupe::Process process = context.process(work, 3);

#include <troupe/process.hpp>
#include <troupe/start_method.hpp>

#include <filesystem>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace troupe {

/// Makes processes with one start method. Copies are equal. Thread: any.
class Context {
 public:
  /// The default context: whatever set_start_method says when a process is started.
  Context() = default;
  explicit Context(StartMethod method) noexcept : method_(method) {}

  /// The context's own method; the default context's is the program's, and asking for that settles it.
  StartMethod get_start_method() const;
  /// The same without settling anything: empty if the program has not chosen.
  std::optional<StartMethod> find_start_method() const noexcept;
  /// As troupe::set_start_method. Errors: ValueError if the context has a method of its own.
  void set_start_method(std::optional<StartMethod> method, bool force = false) const;
  void set_start_method(std::string_view name, bool force = false) const;
  /// This context.
  Context get_context() const noexcept { return *this; }
  /// The context of that method. Errors: ValueError for an unknown name.
  Context get_context(std::string_view name) const { return Context{start_method_named(name)}; }

  /// A Process of this context's method.
  template <class F, class... Args>
    requires(!std::is_same_v<ProcessOptions, std::decay_t<F>>)
  Process process(F&& callable, Args&&... arguments) const {
    return process(ProcessOptions{}, std::forward<F>(callable), std::forward<Args>(arguments)...);
  }
  /// The same with options, of which the start method is overridden unless this is the default context.
  template <class... Args>
  Process process(ProcessOptions options, Args&&... target) const {
    if (method_) options.start_method = method_;
    return Process(std::move(options), std::forward<Args>(target)...);
  }
  /// One without a target.
  Process process() const { return process(ProcessOptions{}); }

  friend bool operator==(const Context&, const Context&) = default;

 private:
  std::optional<StartMethod> method_;
};

/// The default context.
inline Context get_context() noexcept { return {}; }
/// The context of one method. Errors: ValueError for an unknown name.
inline Context get_context(std::string_view name) { return Context{start_method_named(name)}; }
inline Context get_context(StartMethod method) noexcept { return Context{method}; }

/// Chooses how this program starts processes from now on; once, or with `force`. Empty with `force`: not chosen.
/// Thread: any. Errors: RuntimeError when it was chosen or asked for before; ValueError for an unknown name.
void set_start_method(std::optional<StartMethod> method, bool force = false);
void set_start_method(std::string_view name, bool force = false);
/// The chosen method. If none was, this chooses forkserver; in a process that was started, the method it was started
/// with. Thread: any.
StartMethod get_start_method();
/// The same without choosing. Thread: any.
std::optional<StartMethod> find_start_method() noexcept;
/// All of them; the first is the default. Thread: any.
std::vector<StartMethod> get_all_start_methods();

/// Has `spawn` execute another program than this one, which must be built from the same sources; empty: this one.
/// Processes started later do the same. Thread: any. Errors: AssertionError without a Runtime.
void set_executable(const std::filesystem::path& program);
/// Runs `function` once in the nursery, where forkserver processes begin, so that they start with what it prepared.
/// It must not start threads. See preload_nursery. Thread: any. Blocks: until it has run.
void set_forkserver_preload(void (*function)());

}  // namespace troupe
