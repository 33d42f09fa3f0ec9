// What a new process does from its first statement of ours to its last.

#include "child_entry.hpp"

#include <troupe/error.hpp>
#include <troupe/launch.hpp>
#include <troupe/log.hpp>

#include "control_wire.hpp"
#include "descriptors.hpp"
#include "nursery.hpp"
#include "self.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cxxabi.h>
#include <fcntl.h>
#include <iostream>
#include <stdio_ext.h>
#include <typeinfo>
#include <unistd.h>

namespace troupe {

namespace {

void report_uncaught(const std::string& type, const char* text) noexcept {
  try {
    const std::string name = find_self() != nullptr ? this_process::name() : "?";
    std::cerr << "Process " << name << ":\n" << type << ": " << text << std::endl;
  } catch (...) {
    // The program asked std::cerr to throw, and it is broken: nobody can be told.
  }
}

// std::exit ends a process of ours like a return from its entry: handlers of its own first (they are newer), then this.
void end_at_exit(int exitcode, void*) { end_process(exitcode); }

// Open for as long as this process lives.
FileDescriptor& held_lifeline() {
  static FileDescriptor descriptor;
  return descriptor;
}

std::vector<FileDescriptor> take_extras(unsigned count) {
  std::vector<FileDescriptor> extras;
  for (unsigned i = 0; i < count; ++i) extras.emplace_back(first_extra_number + static_cast<int>(i));
  return extras;
}

}  // namespace

int run_reporting(const std::function<void()>& code) noexcept {
  try {
    code();
    return EXIT_SUCCESS;
  } catch (const std::exception& error) {
    report_uncaught(demangle(typeid(error).name()), error.what());
  } catch (...) {
    const std::type_info* type = abi::__cxa_current_exception_type();
    report_uncaught(type != nullptr ? demangle(type->name()) : "unknown", "thrown, but not an exception");
  }
  return EXIT_FAILURE;
}

void run_started_child(std::unique_ptr<ChildContext::Payload> payload) noexcept {
  end_process(run_reporting([&] {
    const wire::Launch::Reader launch = payload->launch();
    held_lifeline() = hold_lifeline(FileDescriptor{child_lifeline_number});

    auto me = std::make_unique<Self>(identity_of(launch));
    me->nursery.use_door(FileDescriptor{child_door_number}, launch.getNurseryEnvironment());
    become(std::move(me));
    inherit_log_settings(launch.getLogLevel(), launch.getLogToStderr());
    ::on_exit(end_at_exit, nullptr);

    const CodeRef entry{.offset = launch.getThunk(), .module = launch.getModule()};
    const auto run = reinterpret_cast<ProcessEntry>(find_thunk(ThunkKind::process_entry, entry));
    ChildContext context{take_extras(launch.getDescriptors()), std::move(payload)};
    run(context);
  }));
}

void become_executed_child(const char* program_name) noexcept {
  if (::fcntl(child_lifeline_number, F_GETFD) < 0) {
    std::fprintf(stderr, "%s: %s is for the program's own use\n", program_name, child_argument);
    std::exit(2);
  }
  for (int number = child_door_number; ::fcntl(number, F_SETFD, FD_CLOEXEC) == 0; ++number) {
  }
  std::unique_ptr<ChildContext::Payload> payload;
  const int exitcode =
      run_reporting([&] { payload = std::make_unique<ChildContext::Payload>(FileDescriptor{child_payload_number}); });
  if (exitcode != EXIT_SUCCESS) end_process(exitcode);
  run_started_child(std::move(payload));
}

void run_forked_child(const LaunchSpec& spec, Identity identity, const Parent& parent) noexcept {
  ::close(parent.key);
  if (!wait_at_gate(parent.gate)) ::_exit(EXIT_FAILURE);
  ::close(parent.gate);
  end_process(run_reporting([&] {
    held_lifeline() = hold_lifeline(reopen_lifeline(parent.lifeline));  // and the grandparent's is closed
    ::close(parent.lifeline);
    auto me = std::make_unique<Self>(std::move(identity));
    me->nursery.use_door(FileDescriptor{parent.door}, parent.nursery_environment);
    me->nursery.hold_like(*parent.nursery);
    become(std::move(me));
    replace_standard_input();
    ::on_exit(end_at_exit, nullptr);
    if (spec.closure) return spec.closure();

    std::vector<FileDescriptor> descriptors;
    for (const int number : spec.descriptors) {
      descriptors.emplace_back(::fcntl(number, F_DUPFD_CLOEXEC, first_extra_number));
      if (!descriptors.back()) throw OSError(errno, "taking over descriptor " + std::to_string(number));
    }
    const wire::Launch::Reader launch = spec.message->launch();
    const CodeRef entry{.offset = launch.getThunk(), .module = launch.getModule()};
    const auto run = reinterpret_cast<ProcessEntry>(find_thunk(ThunkKind::process_entry, entry));
    ChildContext context{std::move(descriptors), std::make_unique<ChildContext::Payload>(spec.message)};
    run(context);
  }));
}

void replace_standard_input() noexcept {
  const int null_device = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (null_device < 0) return;
  if (null_device != STDIN_FILENO) {
    ::dup2(null_device, STDIN_FILENO);
    ::close(null_device);
  }
  ::__fpurge(stdin);  // what the parent had read ahead is the parent's
}

}  // namespace troupe
