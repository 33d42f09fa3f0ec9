#include <troupe/child.hpp>
#include <troupe/error.hpp>

#include "child_state.hpp"
#include "control_wire.hpp"
#include "descriptors.hpp"
#include "slab_registry.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace troupe {

namespace {

constexpr int unknown_exitcode = 255;

// Blocks until `descriptor` is readable or at its end: true; false when `deadline` came first.
bool wait_readable(int descriptor, Deadline deadline) {
  for (;;) {
    timespec timeout{};
    if (deadline != no_deadline) {
      const auto left = std::max(deadline - std::chrono::steady_clock::now(), Deadline::duration::zero());
      const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
      timeout = {.tv_sec = seconds.count(), .tv_nsec = std::chrono::nanoseconds(left - seconds).count()};
    }
    pollfd event{.fd = descriptor, .events = POLLIN, .revents = 0};
    const int count = ::ppoll(&event, 1, deadline == no_deadline ? nullptr : &timeout, nullptr);
    if (count > 0) return true;
    if (count == 0) return false;
    if (errno != EINTR) throw OSError(errno, "waiting for a process to end");
  }
}

}  // namespace

// Reads the nursery's report and leaves it there, so that the sentinel stays readable. If there is none, the nursery
// has died and the process with it, or in a moment.
std::optional<ChildEnd> Child::State::poll_status() {
  alignas(8) std::array<std::byte, 256> bytes{};
  ssize_t size = 0;
  do {
    size = ::recv(status.get(), bytes.data(), bytes.size(), MSG_PEEK | MSG_DONTWAIT);
  } while (size < 0 && errno == EINTR);
  if (size < 0) return std::nullopt;
  if (size == 0) {
    nursery_died = true;
    if (!wait_readable(pidfd.get(), Deadline{})) return std::nullopt;
    detail::recover_mapped_slabs(pid);  // there is no nursery to do it
    return ChildEnd{.exitcode = -SIGKILL};
  }
  return read_exit_report({bytes.data(), static_cast<std::size_t>(size)});
}

std::optional<ChildEnd> Child::State::poll_own_child() {
  if (!wait_readable(pidfd.get(), Deadline{})) return std::nullopt;
  detail::recover_mapped_slabs(pid);  // the nursery does so as well, but who joins it need not wait for that
  const ProcessEnd seen = reap_pidfd(pidfd.get());
  if (seen.status == ProcessEnd::Status::unknown) return ChildEnd{.exitcode = unknown_exitcode};
  if (seen.status == ProcessEnd::Status::running) return std::nullopt;
  return ChildEnd{
      .exitcode = seen.exitcode, .dumped_core = seen.dumped_core, .peak_resident_bytes = seen.peak_resident_bytes};
}

std::optional<ChildEnd> Child::State::poll() {
  const std::lock_guard lock{mutex};
  if (!end) end = status ? poll_status() : poll_own_child();
  return end;
}

int Child::State::waitable() {
  const std::lock_guard lock{mutex};
  return status && !nursery_died ? status.get() : pidfd.get();
}

std::optional<ChildEnd> Child::State::wait(Deadline deadline) {
  for (;;) {
    if (const auto seen = poll()) return seen;
    if (!wait_readable(waitable(), deadline)) return poll();
  }
}

void Child::State::send_signal(int number) {
  if (poll()) return;
  const int error = signal_pidfd(pidfd.get(), number);
  if (error != 0 && error != ESRCH)
    throw OSError(error, "sending " + signal_name(number) + " to " + name + " (pid " + std::to_string(pid) + ")");
}

pid_t Child::pid() const noexcept { return state_->pid; }
int Child::pidfd() const noexcept { return state_->pidfd.get(); }
int Child::sentinel() const noexcept { return state_->status ? state_->status.get() : state_->pidfd.get(); }
std::optional<ChildEnd> Child::poll_end() const {
  const auto end = state_->poll();
  if (end) forget_child(*state_);
  return end;
}
std::optional<int> Child::poll_exitcode() const {
  const auto end = poll_end();
  return end ? std::optional(end->exitcode) : std::nullopt;
}
std::optional<int> Child::wait(Deadline deadline) const {
  const auto end = state_->wait(deadline);
  if (end) forget_child(*state_);
  return end ? std::optional(end->exitcode) : std::nullopt;
}
void Child::send_signal(int number) const { state_->send_signal(number); }

}  // namespace troupe
