#include "nursery_child.hpp"

#include <troupe/error.hpp>
#include <troupe/launch.hpp>

#include "control_wire.hpp"
#include "descriptors.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <sys/prctl.h>
#include <unistd.h>

namespace troupe {

namespace {

constexpr const char* this_program = "/proc/self/exe";

// `failure` -1: nobody waits to be told.
[[noreturn]] void give_up(int failure, const char* step) noexcept {
  const int error = errno;
  if (::write(failure, &error, sizeof error) != sizeof error)
    std::fprintf(stderr, "troupe: a new process cannot start: %s: %s\n", step, std::strerror(error));
  ::_exit(EXIT_FAILURE);
}

// When the nursery dies, so does this process.
void die_with(pid_t nursery) noexcept {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != nursery) ::_exit(EXIT_FAILURE);
}

void restore_signals(const OriginalState& original) noexcept {
  ::sigaction(SIGCHLD, &original.child_action, nullptr);
  ::pthread_sigmask(SIG_SETMASK, &original.signal_mask, nullptr);
}

// Puts what the new process is to have at the numbers from child_door_number on and closes everything above, but for
// the new number of `failure`, which this returns; -1 if there is none. The number of what is -1 stays closed.
int arrange_descriptors(const ChildPlan& plan) noexcept {
  std::vector<int> sources{plan.door, plan.lifeline, plan.payload};
  sources.insert(sources.end(), plan.extras.begin(), plan.extras.end());
  const int end = child_door_number + static_cast<int>(sources.size());
  const int failure = plan.failure < 0 ? -1 : ::fcntl(plan.failure, F_DUPFD_CLOEXEC, end);
  if (failure < 0 && plan.failure >= 0) give_up(plan.failure, "moving its descriptors");
  for (int& source : sources) {
    if (source < 0 || source >= end) continue;
    source = ::fcntl(source, F_DUPFD_CLOEXEC, end);
    if (source < 0) give_up(failure, "moving its descriptors");
  }
  for (int number = child_door_number; const int source : sources) {
    if (source < 0) {
      ::close(number);
    } else if (::dup3(source, number, plan.spawn ? 0 : O_CLOEXEC) < 0) {
      give_up(failure, "moving its descriptors");
    }
    ++number;
  }
  if (failure > end) ::close_range(static_cast<unsigned>(end), static_cast<unsigned>(failure) - 1, 0);
  ::close_range(static_cast<unsigned>(std::max(end, failure + 1)), ~0U, 0);
  return failure;
}

// Of those above the standard ones.
void close_all_but(int one, int other) noexcept {
  const auto low = static_cast<unsigned>(std::min(one, other));
  const auto high = static_cast<unsigned>(std::max(one, other));
  if (low > child_door_number) ::close_range(child_door_number, low - 1, 0);
  if (high > low + 1) ::close_range(low + 1, high - 1, 0);
  ::close_range(high + 1, ~0U, 0);
}

// Output that is closed in the requester goes nowhere here: its number must not be given to another file.
void set_output(int source, int number) noexcept {
  const int file = source >= 0 ? source : ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (file >= 0) ::dup2(file, number);
}

std::unique_ptr<ChildContext::Payload> read_payload(ChildPlan& plan) {
  if (plan.launch.size() > 0) return std::make_unique<ChildContext::Payload>(std::move(plan.launch));
  const int mine =
      plan.spawn ? ::fcntl(child_payload_number, F_DUPFD_CLOEXEC, child_payload_number) : child_payload_number;
  return std::make_unique<ChildContext::Payload>(FileDescriptor{mine});
}

// Takes over the environment of the process that started this one, if it is another than the nursery's.
void take_environment(wire::Launch::Reader launch) {
  const auto entries = environment_of(launch);
  if (entries.empty()) return;
  ::clearenv();
  // What putenv is given stays in use for as long as this process lives.
  for (const char* entry : entries)
    if (*entry != '\0') ::putenv(::strdup(entry));
}

// Reads the request of a spare process. Errors: as Cap'n Proto has them. False: it does not fit its descriptors.
bool read_handover(ChildPlan& plan, Datagram& datagram) {
  if (datagram.lost_descriptors) return false;
  RequestReader reader{datagram};
  FileDescriptor status;  // belongs to the nursery; closed here
  return plan.read(reader.request().getStart(), datagram.descriptors, status);
}

}  // namespace

void become_spare(const OriginalState& original, pid_t nursery, int line, int door) noexcept {
  die_with(nursery);
  ::prctl(PR_SET_NAME, "troupe-spare");
  // Whatever else the nursery has open must not be held open here.
  close_all_but(line, door);
  Datagram datagram;
  if (receive_datagram(line, datagram, true) != 0 || datagram.size == 0) ::_exit(EXIT_SUCCESS);
  ChildPlan plan{.original = &original, .nursery = nursery, .door = door};
  try {
    if (!read_handover(plan, datagram)) give_up(-1, "reading its request");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "troupe: a new process cannot start: %s\n", error.what());
    ::_exit(EXIT_FAILURE);
  }
  become_child(std::move(plan));
}

bool ChildPlan::read(wire::Start::Reader request, std::vector<FileDescriptor>& received, FileDescriptor& status) {
  constexpr std::size_t num_fixed = 3;
  const auto message = request.getLaunch();
  if (message.size() % sizeof(capnp::word) != 0 || (message.size() > 0 && request.getSpawn())) return false;
  const std::size_t num_optional =
      (message.size() == 0 ? 1U : 0U) + (request.getHasOutput() ? 1U : 0U) + (request.getHasErrors() ? 1U : 0U);
  if (received.size() != num_fixed + num_optional + request.getDescriptors()) return false;
  std::size_t next = 0;
  const auto take = [&] { return received[next++].get(); };
  status = std::move(received[next++]);
  lifeline = take();
  directory = take();
  if (message.size() == 0) {
    payload = take();
  } else {
    launch = kj::heapArray<capnp::word>(message.size() / sizeof(capnp::word));
    std::memcpy(launch.begin(), message.begin(), launch.asBytes().size());
  }
  if (request.getHasOutput()) output = take();
  if (request.getHasErrors()) errors = take();
  while (next < received.size()) extras.push_back(take());
  spawn = request.getSpawn();
  executable = request.getExecutable().cStr();
  if (spawn && executable.empty()) executable = this_program;
  return true;
}

void become_child(ChildPlan plan) noexcept {
  die_with(plan.nursery);
  ::prctl(PR_SET_NAME, plan.original->thread_name.c_str());
  // A directory that this user may not enter any more is no reason to fail.
  [[maybe_unused]] const int stays = ::fchdir(plan.directory);
  set_output(plan.output, STDOUT_FILENO);
  set_output(plan.errors, STDERR_FILENO);
  const int failure = arrange_descriptors(plan);
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = plan.original->file_limit;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  restore_signals(*plan.original);
  std::unique_ptr<ChildContext::Payload> payload;
  try {
    payload = read_payload(plan);
    if (payload->launch().getDescriptors() != plan.extras.size())
      throw CodecError("it is given " + std::to_string(plan.extras.size()) + " descriptors for " +
                       std::to_string(payload->launch().getDescriptors()));
    take_environment(payload->launch());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "troupe: a new process cannot read what it is to be: %s\n", error.what());
    ::_exit(EXIT_FAILURE);
  }
  if (plan.spawn) {
    const std::array<const char*, 3> arguments{plan.original->program_name.c_str(), child_argument, nullptr};
    ::execv(plan.executable.c_str(), const_cast<char* const*>(arguments.data()));
    give_up(failure, "exec");
  }
  run_started_child(std::move(payload));
}

}  // namespace troupe
