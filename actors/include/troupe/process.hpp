#pragma once

/// \file
/// An operating-system process that runs a function, with the interface of multiprocessing.Process.
///
///     troupe::Process process{greet, "world"};
///     process.start();
///     process.join();
///
/// What a process runs and is given must be able to travel (callable.hpp, codec.hpp), except under the start method
/// fork, which takes anything.

#include <troupe/process_ref.hpp>
#include <troupe/process_target.hpp>

#include <optional>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace troupe {

struct ProcessOptions {
  /// Empty: "Process-N", N counting the processes that this one has made.
  std::string name{};
  /// Empty: like the process that makes it.
  std::optional<bool> daemon{};
  /// Empty: as set_start_method says.
  std::optional<StartMethod> start_method{};
};

/// A process to be started once. Destroying the object neither ends nor waits for a process that runs: it is joined
/// (or, if daemonic, terminated) at the end of the Runtime, as in multiprocessing. Movable, not copyable; a ProcessRef
/// made from it stays valid. Thread: any; only the process that made it may start or join it.
///
/// Instead of giving it a target, derive from it and override `run`: from ProcessType for all start methods, from this
/// class itself for fork only.
class Process : public ProcessRef {
 public:
  /// A process without a target: it ends at once with exit code 0, unless `run` is overridden.
  /// Errors of all constructors: AssertionError without a Runtime.
  explicit Process(ProcessOptions options = {});
  /// A process that calls `callable(arguments...)`. Both are copied or moved in; views and references to const in the
  /// callable's parameters become values.
  template <class F, class... Args>
    requires(!std::is_base_of_v<ProcessRef, std::decay_t<F>> && !std::is_same_v<ProcessOptions, std::decay_t<F>>)
  explicit Process(F&& callable, Args&&... arguments)
      : Process(ProcessOptions{}, std::forward<F>(callable), std::forward<Args>(arguments)...) {}
  template <class F, class... Args>
  explicit Process(ProcessOptions options, F&& callable, Args&&... arguments) : Process(std::move(options)) {
    target_ = detail::make_target(std::forward<F>(callable), std::forward<Args>(arguments)...);
  }
  Process(Process&&) noexcept = default;
  Process& operator=(Process&&) noexcept = default;
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  virtual ~Process();

  /// What the process does: calls the target. Called directly it runs in the caller. Override it in subclasses.
  virtual void run();

  /// Starts the process; `run` is called over there. Blocks: until the process exists, not until it has done anything.
  /// Arguments that cannot be copied (descriptors) belong to the new process from then on.
  /// Errors: AssertionError if it was started before, in a process that did not make it, or in a daemonic one;
  /// TypeError for a target, argument or subclass that cannot travel; OSError naming the step that failed.
  void start();

 protected:
  /// What `start` sends for a subclass. Errors: TypeError for a subclass that does not derive from ProcessType.
  virtual std::shared_ptr<LaunchMessage> encode_self() const;

 private:
  std::unique_ptr<detail::Target> target_;
  std::optional<StartMethod> start_method_;
};

namespace detail {

/// While one lives on this thread, a new Process object is this process itself, come over from its creator.
class ArrivingProcess {
 public:
  ArrivingProcess() noexcept { active_ = true; }
  ~ArrivingProcess() { active_ = false; }
  ArrivingProcess(const ArrivingProcess&) = delete;
  ArrivingProcess& operator=(const ArrivingProcess&) = delete;

  static bool active() noexcept { return active_; }

 private:
  static inline thread_local bool active_ = false;
};

/// The entry of a process that is an object of a subclass.
template <class Subclass>
struct SubclassEntry {
  static void run(ChildContext& context) {
    const ArgumentScope scope{context};
    Subclass process = arrive(context);
    process.run();
  }
  static std::string name() { return demangle(typeid(Subclass).name()); }
  static CodeRef ref() {
    static const CodeRef here = (static_cast<void>(registered), code_ref(reinterpret_cast<AnyFunction>(&run)));
    return here;
  }

 private:
  static Subclass arrive(ChildContext& context) {
    const ArrivingProcess arriving;
    return decode<Subclass>(arguments_of(context)[0]);
  }

  static inline const bool registered =
      register_thunk(ThunkKind::process_entry, reinterpret_cast<AnyFunction>(&run), &SubclassEntry::name);
};

}  // namespace detail

/// The base of process classes with members and a `run` of their own, for every start method. The class lists the
/// members that are to reach the process, and needs a default constructor (which may be private).
///
///     class Greeter : public troupe::ProcessType<Greeter> {
///      public:
///       Greeter() = default;
///       explicit Greeter(std::string whom) : whom_(std::move(whom)) {}
///       void run() override { std::cout << "hello " << whom_ << '\n'; }
///
///      private:
///       std::string whom_;
///       TROUPE_FIELDS(whom_)
///     };
template <class Subclass>
class ProcessType : public Process {
 public:
  explicit ProcessType(ProcessOptions options = {}) : Process(std::move(options)) {}

 protected:
  std::shared_ptr<LaunchMessage> encode_self() const override {
    if (typeid(*this) != typeid(Subclass)) return Process::encode_self();
    auto message = std::make_shared<LaunchMessage>(detail::SubclassEntry<Subclass>::ref());
    const LaunchMessage::Scope scope{*message};
    encode(static_cast<const Subclass&>(*this), message->init_arguments(1)[0]);
    return message;
  }
};

}  // namespace troupe
