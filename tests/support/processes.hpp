#pragma once

/// \file
/// What tests with real processes need: messages between them, events, and whether a process is still there.

#include <troupe/file_descriptor.hpp>

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace troupe::test {

/// How long a test waits for what must happen; only a failing test waits that long.
inline constexpr std::chrono::seconds patience{20};

/// The lines of /proc/<pid>/maps; none when there is no such process.
std::vector<std::string> mappings_of(pid_t pid);

/// Waits for `condition`, at most `limit`; returns whether it came true.
bool comes_true(const std::function<bool()>& condition, std::chrono::milliseconds limit = std::chrono::seconds{5});

/// Two connected ends; text sent into one comes out of the other, message by message. Both closed on exec.
std::pair<FileDescriptor, FileDescriptor> make_line();
void send_text(const FileDescriptor& end, const std::string& text);
void send_text(int end, const std::string& text);
/// The next message; "timeout" or "end of line" when there is none.
std::string receive_text(const FileDescriptor& end, std::chrono::milliseconds timeout = patience);
std::string receive_text(int end, std::chrono::milliseconds timeout = patience);
/// Whether a message or the end of the line is there, now or within `timeout`.
bool is_readable(int descriptor, std::chrono::milliseconds timeout = std::chrono::milliseconds{0});

/// A copy of the descriptor, as an argument for a process.
FileDescriptor copy_of(const FileDescriptor& descriptor);

/// Whether the process exists and is no zombie.
bool is_running(pid_t pid);
/// Waits until none of the processes runs; those that still do after `timeout`.
std::vector<pid_t> still_running_after(const std::vector<pid_t>& pids, std::chrono::milliseconds timeout);
/// 'R', 'S', 'T' (stopped), 'Z' ... from /proc, of a process or a thread; '-' when there is none.
char process_state(pid_t pid);
/// Waits until the process has that state; false if it does not get there.
bool wait_for_state(pid_t pid, char state);
/// Waits until all of these processes and threads sleep or have ended: what was to wake one has done so.
bool come_to_rest(const std::vector<pid_t>& pids);

/// Redirects a standard descriptor of this process to a new empty file while it lives; `text` reads the file.
class Redirected {
 public:
  explicit Redirected(int number);
  ~Redirected();
  Redirected(const Redirected&) = delete;
  Redirected& operator=(const Redirected&) = delete;
  std::string text() const;

 private:
  int number_;
  int saved_;
  FileDescriptor file_;
};

/// Runs `argv[0]` with the environment variable TROUPE_TEST_ROLE set, so that main runs a role instead of the tests.
/// Standard output comes back as `output`. The process is an ordinary child, not one of troupe's.
class Program {
 public:
  explicit Program(const std::string& role, const std::string& argument = "");
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  pid_t pid() const noexcept { return pid_; }
  /// The next line of its standard output; "end of output" after the last, "timeout".
  std::string read_line();
  /// What is left of its standard output until it is closed.
  std::string read_rest();
  /// What it wrote to standard error; complete once it has ended.
  std::string errors() const;
  /// Waits for its end: exit status, or minus the signal; nullopt if it does not end in time.
  std::optional<int> wait();

 private:
  pid_t pid_ = 0;
  FileDescriptor output_;
  FileDescriptor errors_;
  std::string buffer_;
  std::optional<int> exitcode_;
};

/// Defines what a Program does; the function gets argc and argv before any Runtime exists and returns the exit status.
using Role = int (*)(int argc, char** argv, const std::string& argument);
bool add_role(const std::string& name, Role role);
/// The role that this process was asked to play, if any.
Role requested_role();
std::string role_argument();

}  // namespace troupe::test
