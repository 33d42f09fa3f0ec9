#include <troupe/context.hpp>
#include <troupe/error.hpp>
#include <troupe/process.hpp>
#include <troupe/runtime.hpp>

#include "process_state.hpp"

#include <unistd.h>

namespace troupe {

namespace {

// The entry of a process without a target.
void run_nothing(ChildContext&) {}

const bool registered = register_thunk(ThunkKind::process_entry, reinterpret_cast<AnyFunction>(&run_nothing),
                                       [] { return std::string("a process without a target"); });

std::string type_name(const std::type_info& type) {
  const std::string name = demangle(type.name());
  return name.substr(name.rfind(':') + 1);  // npos + 1 is 0
}

}  // namespace

Process::Process(ProcessOptions options)
    : ProcessRef(detail::ArrivingProcess::active() ? current_state()
                                                   : new_state(std::move(options.name), options.daemon)),
      start_method_(options.start_method) {}

Process::~Process() = default;

void Process::run() {
  if (!target_) return;
  target_->call();
}

std::shared_ptr<LaunchMessage> Process::encode_self() const {
  if (typeid(*this) != typeid(Process))
    throw TypeError("process class " + demangle(typeid(*this).name()) +
                    " cannot travel to another process: derive it from troupe::ProcessType<" +
                    type_name(typeid(*this)) +
                    "> and list its members with TROUPE_FIELDS, or use the start method fork");
  if (target_) return target_->encode();
  static_cast<void>(registered);
  return std::make_shared<LaunchMessage>(code_ref(reinterpret_cast<AnyFunction>(&run_nothing)));
}

void Process::start() {
  State& me = state();
  LaunchSpec spec;
  {
    const std::lock_guard lock{me.mutex};
    if (me.kind != State::Kind::child || me.creator != ::getpid())
      throw AssertionError("process \"" + me.name + "\" can only be started by the process that made it");
    if (me.starting) throw AssertionError("process \"" + me.name + "\" was started before: make a new one");
    me.type = type_name(typeid(*this));
    spec = {.name = me.name,
            .identity = me.identity,
            .daemon = me.daemon,
            .method = start_method_ ? *start_method_ : get_start_method(),
            .authkey = me.authkey};
    me.starting = true;
  }
  try {
    if (spec.method == StartMethod::fork) {
      spec.closure = [this] {
        set_state(current_state());
        run();
      };
    } else {
      spec.message = encode_self();
      spec.descriptors = spec.message->descriptors();
    }
    Child child = Child::launch(spec);
    const std::lock_guard lock{me.mutex};
    me.pid = child.pid();
    me.child = std::move(child);
  } catch (...) {
    const std::lock_guard lock{me.mutex};
    me.starting = false;
    throw;
  }
  if (target_ && !target_->is_reusable()) target_.reset();
  add_active(shared_state());
}

}  // namespace troupe
