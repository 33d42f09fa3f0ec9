// How a nursery comes to be: forked by the Runtime, or executed when the program has threads already.

#include <troupe/error.hpp>

#include "descriptors.hpp"
#include "nursery.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace troupe {

namespace {

constexpr const char* this_program = "/proc/self/exe";
constexpr int nursery_connection_number = 3;
constexpr int nursery_lifeline_number = 4;
constexpr int nursery_names_number = 5;

bool has_one_thread() {
  std::error_code error;
  std::filesystem::directory_iterator threads{"/proc/self/task", error};
  if (error) return false;
  return ++threads == std::filesystem::directory_iterator{};
}

// Everything of this process that the nursery changes for itself, and its processes get back.
OriginalState current_state(const sigset_t& signal_mask, const std::string& program_name) {
  OriginalState state;
  state.signal_mask = signal_mask;
  ::sigaction(SIGCHLD, nullptr, &state.child_action);
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  state.file_limit = limit.rlim_cur;
  state.program_name = program_name;
  std::array<char, 16> name{};
  ::prctl(PR_GET_NAME, name.data());
  state.thread_name = name.data();
  return state;
}

// Tells the errno to who waits for the nursery.
[[noreturn]] void fail_start(int failure) noexcept {
  const int error = errno;
  [[maybe_unused]] const auto written = ::write(failure, &error, sizeof error);
  ::_exit(EXIT_FAILURE);
}

// In the new process: leaves the standard descriptors, the three of the nursery and `failure` open, nothing else; the
// new number of `failure`. Only calls that are allowed after a fork of a program with threads.
int keep_nursery_descriptors(std::array<int, 3> given, int failure) noexcept {
  std::array kept{given[0], given[1], given[2], failure};
  std::ranges::sort(kept);
  int first = STDERR_FILENO + 1;
  for (const int number : kept) {  // first of all, so that there are numbers to move to
    if (number > first) ::close_range(static_cast<unsigned>(first), static_cast<unsigned>(number) - 1, 0);
    first = number + 1;
  }
  ::close_range(static_cast<unsigned>(first), ~0U, 0);
  const int moved_failure = ::fcntl(failure, F_DUPFD_CLOEXEC, nursery_names_number + 1);
  if (moved_failure < 0) fail_start(failure);
  for (int& number : given) {
    number = ::fcntl(number, F_DUPFD, nursery_names_number + 1);
    if (number < 0) fail_start(moved_failure);
  }
  for (int place = nursery_connection_number; const int number : given) ::dup2(number, place++);
  ::close_range(nursery_names_number + 1, static_cast<unsigned>(moved_failure) - 1, 0);
  ::close_range(static_cast<unsigned>(moved_failure) + 1, ~0U, 0);
  return moved_failure;
}

// Where a standard descriptor is closed, or is the terminal's input, the nursery has the null device.
void replace_standard_descriptors() noexcept {
  const int null_device = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null_device < 0) return;
  ::dup2(null_device, STDIN_FILENO);
  for (const int number : {STDOUT_FILENO, STDERR_FILENO})
    if (::fcntl(number, F_GETFD) < 0) ::dup2(null_device, number);
  if (null_device > STDERR_FILENO) ::close(null_device);
}

[[noreturn]] void become_nursery(OriginalState original) noexcept {
  replace_standard_descriptors();
  for (const int number : {nursery_connection_number, nursery_lifeline_number, nursery_names_number})
    ::fcntl(number, F_SETFD, FD_CLOEXEC);
  // A status is kept for the nursery to fetch only if SIGCHLD is not ignored.
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  ::sigaction(SIGCHLD, &standard, nullptr);
  // It holds three descriptors per process.
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  ::prctl(PR_SET_NAME, "troupe-nursery");
  run_nursery({.connection = FileDescriptor{nursery_connection_number},
               .lifeline = FileDescriptor{nursery_lifeline_number},
               .names = FileDescriptor{nursery_names_number}},
              std::move(original));
}

std::string to_text(const sigset_t& mask) {
  std::string text(static_cast<std::size_t>(SIGRTMAX), '0');
  for (int number = 1; number <= SIGRTMAX; ++number)
    if (::sigismember(&mask, number) == 1) text[static_cast<std::size_t>(number - 1)] = '1';
  return text;
}

sigset_t mask_from_text(const char* text) {
  sigset_t mask;
  ::sigemptyset(&mask);
  for (int number = 1; text != nullptr && *text != '\0'; ++number, ++text)
    if (*text == '1') ::sigaddset(&mask, number);
  return mask;
}

}  // namespace

NurseryProcess start_nursery(int lifeline, int names, const std::string& program_name, bool is_first) {
  NurseryProcess nursery;
  auto [mine, theirs] = make_socket_pair("making a connection to the nursery");
  tell_senders(theirs.get());
  const bool forks = is_first && has_one_thread();
  auto [failure_read, failure_write] = make_pipe("starting the nursery");

  // No handler of the program may run in the nursery, and no signal may end it.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const OriginalState original = current_state(before, program_name);
  const std::string mask = to_text(before);
  const char* const arguments[] = {program_name.c_str(), nursery_argument, mask.c_str(), nullptr};
  nursery.pid = ::fork();
  const int fork_error = errno;
  if (nursery.pid == 0) {
    const int failure = keep_nursery_descriptors({theirs.release(), lifeline, names}, failure_write.release());
    if (!forks) {
      ::execv(this_program, const_cast<char* const*>(arguments));
      fail_start(failure);
    }
    ::close(failure);
    become_nursery(original);
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);

  if (nursery.pid < 0) throw OSError(fork_error, "forking the nursery");
  nursery.pidfd = above_standard(FileDescriptor{open_pidfd(nursery.pid)});
  const int pidfd_error = nursery.pidfd ? 0 : errno;
  nursery.connection = std::move(mine);
  failure_write.reset();
  const int start_error = wait_for_exec(std::move(failure_read));
  if (pidfd_error != 0 || start_error != 0) {
    ::kill(nursery.pid, SIGKILL);
    while (::waitpid(nursery.pid, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  if (pidfd_error != 0) throw OSError(pidfd_error, "opening the pidfd of the nursery");
  if (start_error != 0)
    throw OSError(start_error, forks ? "starting the nursery" : "executing this program as its nursery");
  return nursery;
}

void become_executed_nursery(const char* program_name, const char* signal_mask) noexcept {
  if (::fcntl(nursery_lifeline_number, F_GETFD) < 0 || signal_mask == nullptr) {
    std::fprintf(stderr, "%s: %s is for the program's own use\n", program_name, nursery_argument);
    std::exit(2);
  }
  become_nursery(current_state(mask_from_text(signal_mask), program_name));
}

}  // namespace troupe
