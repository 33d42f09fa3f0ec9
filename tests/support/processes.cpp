#include "processes.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <map>
#include <poll.h>
#include <stdexcept>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <utility>

namespace troupe::test {

namespace {

constexpr const char* role_variable = "TROUPE_TEST_ROLE";
constexpr const char* argument_variable = "TROUPE_TEST_ARGUMENT";

std::map<std::string, Role>& roles() {
  static std::map<std::string, Role> all;
  return all;
}

std::string read_file(int file) {
  std::string text;
  std::array<char, 4096> part{};
  for (off_t offset = 0;;) {
    const ssize_t size = ::pread(file, part.data(), part.size(), offset);
    if (size <= 0) return text;
    text.append(part.data(), static_cast<std::size_t>(size));
    offset += size;
  }
}

}  // namespace

std::vector<std::string> mappings_of(pid_t pid) {
  std::ifstream maps{"/proc/" + std::to_string(pid) + "/maps"};
  std::vector<std::string> lines;
  for (std::string line; std::getline(maps, line);) lines.push_back(std::move(line));
  return lines;
}

bool comes_true(const std::function<bool()>& condition, std::chrono::milliseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

std::pair<FileDescriptor, FileDescriptor> make_line() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) throw std::runtime_error("socketpair");
  return {FileDescriptor{ends[0]}, FileDescriptor{ends[1]}};
}

void send_text(int end, const std::string& text) {
  if (::send(end, text.data(), text.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(text.size()))
    throw std::runtime_error("send: " + std::to_string(errno));
}
void send_text(const FileDescriptor& end, const std::string& text) { send_text(end.get(), text); }

bool is_readable(int descriptor, std::chrono::milliseconds timeout) {
  pollfd event{.fd = descriptor, .events = POLLIN, .revents = 0};
  int count = 0;
  do {
    count = ::poll(&event, 1, static_cast<int>(timeout.count()));
  } while (count < 0 && errno == EINTR);
  return count > 0;
}

std::string receive_text(int end, std::chrono::milliseconds timeout) {
  if (!is_readable(end, timeout)) return "timeout";
  std::string text(65536, '\0');
  const ssize_t size = ::recv(end, text.data(), text.size(), 0);
  if (size <= 0) return "end of line";
  text.resize(static_cast<std::size_t>(size));
  return text;
}
std::string receive_text(const FileDescriptor& end, std::chrono::milliseconds timeout) {
  return receive_text(end.get(), timeout);
}

FileDescriptor copy_of(const FileDescriptor& descriptor) {
  return FileDescriptor{::fcntl(descriptor.get(), F_DUPFD_CLOEXEC, 3)};
}

char process_state(pid_t pid) {
  std::ifstream file{"/proc/" + std::to_string(pid) + "/stat"};
  std::string text;
  std::getline(file, text);
  const std::size_t end_of_name = text.rfind(')');
  return end_of_name == std::string::npos || end_of_name + 2 >= text.size() ? '-' : text[end_of_name + 2];
}

bool is_running(pid_t pid) {
  const char state = process_state(pid);
  return state != '-' && state != 'Z' && state != 'X';
}

std::vector<pid_t> still_running_after(const std::vector<pid_t>& pids, std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  std::vector<pid_t> running;
  for (const pid_t pid : pids) {
    const FileDescriptor pidfd{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))};
    if (!pidfd) continue;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    is_readable(pidfd.get(), std::max(left, std::chrono::milliseconds{0}));
    if (is_running(pid)) running.push_back(pid);
  }
  return running;
}

bool wait_for_state(pid_t pid, char state) {
  // The kernel offers no event for another process's child; look again until it is so.
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (process_state(pid) != state) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    ::usleep(500);
  }
  return true;
}

bool come_to_rest(const std::vector<pid_t>& pids) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  std::string before;
  for (;;) {
    std::string states;
    for (const pid_t pid : pids) states += process_state(pid);
    // Twice the same: one that slept when it was looked at may have been woken by another that ended just then.
    if (states == before && states.find_first_not_of("SZX-") == std::string::npos) return true;
    if (std::chrono::steady_clock::now() > deadline) return false;
    before = std::move(states);
    ::usleep(500);
  }
}

Redirected::Redirected(int number)
    : number_(number), saved_(::fcntl(number, F_DUPFD_CLOEXEC, 3)), file_(::memfd_create("redirected", MFD_CLOEXEC)) {
  std::fflush(nullptr);
  ::dup2(file_.get(), number_);
}

Redirected::~Redirected() {
  std::fflush(nullptr);
  if (saved_ >= 0) {
    ::dup2(saved_, number_);
    ::close(saved_);
  } else {
    ::close(number_);
  }
}

std::string Redirected::text() const {
  std::fflush(nullptr);
  return read_file(file_.get());
}

Program::Program(const std::string& role, const std::string& argument)
    : errors_(::memfd_create("errors", MFD_CLOEXEC)) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
  output_.reset(ends[0]);
  const FileDescriptor write_end{ends[1]};
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) environment.emplace_back(*entry);
  environment.push_back(std::string(role_variable) + "=" + role);
  environment.push_back(std::string(argument_variable) + "=" + argument);
  std::vector<char*> pointers;
  for (std::string& entry : environment) pointers.push_back(entry.data());
  pointers.push_back(nullptr);
  std::string name = "role";
  const std::array<char*, 2> arguments{name.data(), nullptr};
  pid_ = ::fork();
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::dup2(write_end.get(), STDOUT_FILENO);
    ::dup2(errors_.get(), STDERR_FILENO);
    ::execve("/proc/self/exe", arguments.data(), pointers.data());
    ::_exit(127);
  }
}

Program::~Program() {
  if (exitcode_) return;
  ::kill(pid_, SIGKILL);
  wait();
}

std::string Program::read_line() {
  for (;;) {
    if (const std::size_t end = buffer_.find('\n'); end != std::string::npos) {
      const std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return line;
    }
    if (!is_readable(output_.get(), patience)) return "timeout";
    std::array<char, 4096> part{};
    const ssize_t size = ::read(output_.get(), part.data(), part.size());
    if (size <= 0) return "end of output";
    buffer_.append(part.data(), static_cast<std::size_t>(size));
  }
}

std::string Program::read_rest() {
  std::string text;
  for (std::string line = read_line(); line != "end of output"; line = read_line()) {
    text += line + "\n";
    if (line == "timeout") break;
  }
  return text + std::exchange(buffer_, {});
}

std::string Program::errors() const { return read_file(errors_.get()); }

std::optional<int> Program::wait() {
  if (exitcode_) return exitcode_;
  const FileDescriptor pidfd{static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0))};
  if (!is_readable(pidfd.get(), patience)) return std::nullopt;
  int status = 0;
  ::waitpid(pid_, &status, 0);
  exitcode_ = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  return exitcode_;
}

bool add_role(const std::string& name, Role role) { return roles().emplace(name, role).second; }

Role requested_role() {
  const char* name = std::getenv(role_variable);
  if (name == nullptr) return nullptr;
  const auto found = roles().find(name);
  return found == roles().end() ? nullptr : found->second;
}

std::string role_argument() {
  const char* argument = std::getenv(argument_variable);
  return argument == nullptr ? "" : argument;
}

}  // namespace troupe::test
