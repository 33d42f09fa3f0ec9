// Child::launch: from a LaunchSpec to a running process, through the nursery or by a fork of this process.

#include <troupe/error.hpp>
#include <troupe/launch.hpp>
#include <troupe/log.hpp>

#include "child_entry.hpp"
#include "child_state.hpp"
#include "descriptors.hpp"
#include "environment.hpp"
#include "self.hpp"

#include <capnp/serialize.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <limits>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

namespace troupe {

namespace {

constexpr std::size_t max_launch_descriptors = 240;

Identity identity_for(const LaunchSpec& spec) {
  return {.name = spec.name,
          .path = spec.identity,
          .daemon = spec.daemon,
          .authkey = spec.authkey.empty() ? this_process::authkey() : spec.authkey,
          .parent_name = this_process::name(),
          .parent_pid = ::getpid(),
          .method = spec.method,
          .executable = this_process::executable()};
}

void fill(wire::Launch::Builder launch, const LaunchSpec& spec, const Identity& child) {
  launch.setName(child.name);
  launch.setIdentity(child.path);
  launch.setDaemon(child.daemon);
  launch.setAuthkey(kj::arrayPtr(reinterpret_cast<const kj::byte*>(child.authkey.data()), child.authkey.size()));
  launch.setStartMethod(std::string(to_string(child.method)));
  launch.setParentName(child.parent_name);
  launch.setParentPid(child.parent_pid);
  launch.setExecutable(child.executable);
  launch.setLogLevel(effective_log_level());
  launch.setLogToStderr(is_logging_to_stderr());
  launch.setDescriptors(static_cast<std::uint32_t>(spec.descriptors.size()));
}

// Sends the environment along if it is not what the nursery has anyway.
void fill_environment(wire::Launch::Builder launch, std::uint64_t nursery_environment) {
  launch.setNurseryEnvironment(nursery_environment);
  if (environment_hash() == nursery_environment) return;
  const std::vector<const char*> entries = environment_entries();
  auto list = launch.initEnvironment(static_cast<unsigned>(entries.size()) + 1);  // never empty: the last one is ""
  for (unsigned i = 0; i < entries.size(); ++i) list.set(i, entries[i]);
}

void write_all(int file, kj::ArrayPtr<const kj::byte> bytes) {
  while (bytes.size() > 0) {
    const ssize_t written = ::write(file, bytes.begin(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw OSError(errno, "writing its arguments");
    bytes = bytes.slice(static_cast<std::size_t>(written), bytes.size());
  }
}

// The message as a file: segment table, then the segments, without gathering them in memory first.
FileDescriptor write_payload(capnp::MessageBuilder& message) {
  FileDescriptor file = above_standard(create_memory_file("troupe-launch", 0));
  if (!file) throw OSError(errno, "writing its arguments");
  const auto segments = message.getSegmentsForOutput();
  std::vector<std::uint32_t> table{static_cast<std::uint32_t>(segments.size() - 1)};
  for (const auto& segment : segments) {
    if (segment.size() > std::numeric_limits<std::uint32_t>::max())
      throw ValueError("an argument of a process is larger than 32 GiB");
    table.push_back(static_cast<std::uint32_t>(segment.size()));
  }
  if (table.size() % 2 == 1) table.push_back(0);
  write_all(file.get(), kj::arrayPtr(table.data(), table.size()).asBytes());
  for (const auto& segment : segments) write_all(file.get(), segment.asBytes());
  return file;
}

// A Launch that is small travels in the request itself. False: it must have a file of its own.
bool put_inside(wire::Start::Builder start, capnp::MessageBuilder& message) {
  constexpr std::size_t max_inside = max_datagram_bytes / 2;
  if (start.getSpawn() || capnp::computeSerializedSizeInWords(message) * sizeof(capnp::word) > max_inside) return false;
  const auto words = capnp::messageToFlatArray(message);
  start.setLaunch(words.asBytes());
  return true;
}

bool is_open(int number) noexcept { return ::fcntl(number, F_GETFD) >= 0; }

std::shared_ptr<Child::State> new_state(const LaunchSpec& spec) {
  auto state = std::make_shared<Child::State>();
  state->name = spec.name;
  state->daemon = spec.daemon;
  return state;
}

std::shared_ptr<Child::State> launch_by_nursery(Self& me, const LaunchSpec& spec) {
  const Identity child = identity_for(spec);
  const std::lock_guard lock{me.launch_mutex};
  fill(spec.message->launch(), spec, child);
  fill_environment(spec.message->launch(), me.nursery.nursery_environment());
  const FileDescriptor directory = above_standard(FileDescriptor{::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC)});
  if (!directory) throw OSError(errno, "opening the working directory");

  auto [status, nursery_status] = make_socket_pair("making its status socket");
  capnp::MallocMessageBuilder request;
  auto start = request.initRoot<wire::NurseryRequest>().initStart();
  start.setSpawn(spec.method == StartMethod::spawn);
  if (start.getSpawn()) start.setExecutable(child.executable);
  start.setDescriptors(static_cast<std::uint32_t>(spec.descriptors.size()));
  start.setHasOutput(is_open(STDOUT_FILENO));
  start.setHasErrors(is_open(STDERR_FILENO));
  std::vector<int> numbers{nursery_status.get(), me.lifeline.read_end(), directory.get()};
  FileDescriptor payload;
  if (!put_inside(start, spec.message->message())) {
    payload = write_payload(spec.message->message());
    numbers.push_back(payload.get());
  }
  if (start.getHasOutput()) numbers.push_back(STDOUT_FILENO);
  if (start.getHasErrors()) numbers.push_back(STDERR_FILENO);
  numbers.insert(numbers.end(), spec.descriptors.begin(), spec.descriptors.end());

  auto state = new_state(spec);
  NurseryLink::Started started = me.nursery.start(request, numbers);
  state->pid = started.pid;
  state->pidfd = above_standard(std::move(started.pidfd));
  state->status = std::move(status);
  return state;
}

std::shared_ptr<Child::State> launch_by_fork(Self& me, const LaunchSpec& spec) {
  Identity child = identity_for(spec);
  auto state = new_state(spec);
  flush_standard_streams();
  const std::lock_guard lock{me.launch_mutex};
  auto [gate, key] = make_pipe("making the gate of a forked process");
  const Parent parent{.lifeline = me.lifeline.read_end(),
                      .door = me.nursery.door(),
                      .nursery = &me.nursery,
                      .nursery_environment = me.nursery.nursery_environment(),
                      .gate = gate.get(),
                      .key = key.get()};
  state->pid = ::fork();
  if (state->pid < 0) throw OSError(errno, "fork");
  if (state->pid == 0) run_forked_child(spec, std::move(child), parent);
  // Until the gate opens the process is there: it can have a pidfd even where ended processes vanish at once because
  // SIGCHLD is ignored, and if it cannot have one, it has not begun.
  state->pidfd = above_standard(FileDescriptor{open_pidfd(state->pid)});
  if (!state->pidfd) {
    const int error = errno;
    key.reset();
    while (::waitpid(state->pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    throw OSError(error, "opening its pidfd");
  }
  open_gate(key.get());
  return state;
}

void check(const LaunchSpec& spec) {
  if (this_process::is_daemonic())
    throw AssertionError("process \"" + this_process::name() + "\" is daemonic and may not start \"" + spec.name +
                         "\": start it from a process that is not");
  if (spec.closure && spec.method != StartMethod::fork)
    throw AssertionError("process \"" + spec.name + "\" runs a closure, which only the fork start method can");
  if (!spec.closure && !spec.message) throw AssertionError("process \"" + spec.name + "\" has nothing to run");
  if (spec.descriptors.size() > max_launch_descriptors)
    throw ValueError("process \"" + spec.name + "\" is given " + std::to_string(spec.descriptors.size()) +
                     " descriptors, at most " + std::to_string(max_launch_descriptors) + " can be passed at its start");
}

void check_descriptors(const LaunchSpec& spec) {
  for (const int number : spec.descriptors)
    if (!is_open(number)) throw OSError(EBADF, "passing descriptor " + std::to_string(number));
}

// Remembers a process for the end of this one. Now and then, when it is worth it, looks for those that have ended
// without anybody asking.
void remember(Self& me, const std::shared_ptr<Child::State>& child) {
  const std::lock_guard lock{me.children_mutex};
  if (me.children.size() >= me.sweep_at) {
    std::erase_if(me.children, [](const auto& other) { return other->poll().has_value(); });
    me.sweep_at = std::max<std::size_t>(16, me.children.size() * 2);
  }
  me.children.push_back(child);
}

}  // namespace

void forget_child(const Child::State& child) noexcept {
  Self* me = find_self();
  if (me == nullptr) return;
  std::shared_ptr<Child::State> forgotten;  // its descriptors are closed after the lock
  const std::lock_guard lock{me->children_mutex};
  const auto found = std::ranges::find_if(me->children, [&](const auto& other) { return other.get() == &child; });
  if (found == me->children.end()) return;
  forgotten = std::move(*found);
  me->children.erase(found);
}

Child Child::launch(const LaunchSpec& spec) {
  Self& me = self();
  check(spec);
  try {
    check_descriptors(spec);
    auto state = spec.method == StartMethod::fork ? launch_by_fork(me, spec) : launch_by_nursery(me, spec);
    remember(me, state);
    return Child{std::move(state)};
  } catch (const OSError& error) {
    throw OSError::from_text(error.errno_value(), "starting " + spec.name + ": " + error.what());
  }
}

}  // namespace troupe
