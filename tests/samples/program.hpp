#pragma once

/// \file
/// Runs a sample as a user would: as a program, with pipes or on a terminal.

#include <gtest/gtest.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <linux/capability.h>
#include <poll.h>
#include <pty.h>
#include <string>
#include <string_view>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <system_error>
#include <termios.h>
#include <unistd.h>
#include <vector>

namespace samples {

using Clock = std::chrono::steady_clock;

/// No wait lasts longer; then the test fails.
constexpr std::chrono::seconds patience{60};

inline void check(bool is_well, const char* attempted) {
  if (!is_well) throw std::system_error(errno, std::generic_category(), attempted);
}

struct ProgramOptions {
  bool on_terminal = false;     ///< standard input and error are a terminal of 100 columns, which controls the program
  bool obeys_modes = false;     ///< it cannot read files without permission, not even when run by root
  std::string path_variable{};  ///< PATH; empty: as it is
};

/// A running program. Processes that it leaves behind become children of the test, so that they cannot hide.
/// Thread: caller. The destructor kills.
class Program {
 public:
  explicit Program(std::vector<std::string> arguments, const ProgramOptions& options = {}) {
    check(::prctl(PR_SET_CHILD_SUBREAPER, 1) == 0, "become a subreaper");
    int out[2];
    int error[2];
    check(::pipe2(out, O_CLOEXEC) == 0 && ::pipe2(error, O_CLOEXEC) == 0, "pipe");
    const winsize size{.ws_row = 25, .ws_col = 100, .ws_xpixel = 0, .ws_ypixel = 0};
    pid_ = options.on_terminal ? ::forkpty(&terminal_, nullptr, nullptr, &size) : ::fork();
    check(pid_ >= 0, "fork");
    if (pid_ == 0) become(arguments, options, out[1], error[1]);
    ::close(out[1]);
    ::close(error[1]);
    sources_[0].descriptor = out[0];
    sources_[1].descriptor = options.on_terminal ? terminal_ : error[0];
    if (options.on_terminal) ::close(error[0]);
  }
  ~Program() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    for (const Source& source : sources_) ::close(source.descriptor);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  pid_t pid() const { return pid_; }
  int terminal() const { return terminal_; }
  const std::string& out() const { return sources_[0].text; }
  /// What came on standard error, or on the terminal.
  const std::string& error() const { return sources_[1].text; }

  /// Types on its terminal.
  void type(std::string_view keys) const {
    check(::write(terminal_, keys.data(), keys.size()) == static_cast<ssize_t>(keys.size()), "type");
  }

  /// Waits until it has written `text` to standard error.
  void expect_error_text(std::string_view text) {
    const auto deadline = Clock::now() + patience;
    while (error().find(text) == std::string::npos) {
      ASSERT_TRUE(read_some(deadline)) << "no \"" << text << "\" in: " << error();
    }
  }

  /// Waits for the end: the exit status, or minus the signal. Reads all output until then; that ends only when no
  /// process has it open any more.
  int wait() {
    const auto deadline = Clock::now() + patience;
    while (read_some(deadline)) {
    }
    EXPECT_LT(Clock::now(), deadline) << "the output does not end";
    if (Clock::now() >= deadline) ::kill(pid_, SIGKILL);
    int status = 0;
    check(::waitpid(pid_, &status, 0) == pid_, "wait for the program");
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 private:
  struct Source {
    int descriptor = -1;
    bool is_open = true;
    std::string text{};
  };

  [[noreturn]] static void become(std::vector<std::string>& arguments, const ProgramOptions& options, int out,
                                  int error) {
    ::dup2(out, STDOUT_FILENO);
    if (!options.on_terminal) {
      ::dup2(::open("/dev/null", O_RDONLY | O_CLOEXEC), STDIN_FILENO);
      ::dup2(error, STDERR_FILENO);
    }
    for (const int number : {SIGINT, SIGTERM}) std::signal(number, SIG_DFL);  // a job in the background ignores SIGINT
    ::setenv("TERM", "xterm", 1);
    if (!options.path_variable.empty()) ::setenv("PATH", options.path_variable.c_str(), 1);
    if (options.obeys_modes && ::geteuid() == 0) {
      ::prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE);
      ::prctl(PR_CAPBSET_DROP, CAP_DAC_READ_SEARCH);
    }
    std::vector<char*> words;
    words.reserve(arguments.size() + 1);
    for (std::string& argument : arguments) words.push_back(argument.data());
    words.push_back(nullptr);
    ::execvp(words[0], words.data());
    ::_exit(127);
  }

  /// Waits for output and takes it. False when all is read or the deadline is over.
  bool read_some(Clock::time_point deadline) {
    pollfd waiting[2];
    for (int i = 0; i < 2; ++i)
      waiting[i] = {.fd = sources_[i].is_open ? sources_[i].descriptor : -1, .events = POLLIN, .revents = 0};
    if (!sources_[0].is_open && !sources_[1].is_open) return false;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0 || ::poll(waiting, 2, static_cast<int>(left)) == 0) return false;
    for (int i = 0; i < 2; ++i) {
      if (waiting[i].revents == 0) continue;
      char block[64 * 1024];
      const ssize_t count = ::read(sources_[i].descriptor, block, sizeof block);
      if (count > 0) sources_[i].text.append(block, static_cast<std::size_t>(count));
      if (count == 0 || (count < 0 && errno != EINTR)) sources_[i].is_open = false;  // a terminal ends with EIO
    }
    return true;
  }

  pid_t pid_ = -1;
  int terminal_ = -1;
  Source sources_[2];
};

/// Waits until this process has no children, and so none of their descendants either. False when some stay.
inline bool all_processes_ended() {
  sigset_t child_signal;
  sigemptyset(&child_signal);
  sigaddset(&child_signal, SIGCHLD);
  sigset_t before;
  ::sigprocmask(SIG_BLOCK, &child_signal, &before);
  const auto deadline = Clock::now() + patience;
  bool is_any_left = true;
  while (is_any_left && Clock::now() < deadline) {
    const pid_t ended = ::waitpid(-1, nullptr, WNOHANG);
    is_any_left = ended >= 0;
    const timespec second{.tv_sec = 1, .tv_nsec = 0};
    if (ended == 0) ::sigtimedwait(&child_signal, nullptr, &second);
  }
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  return !is_any_left;
}

/// A folder of the test's own, removed at its end.
class Folder {
 public:
  Folder() {
    std::string name = std::filesystem::temp_directory_path() / "troupe-sample-XXXXXX";
    check(::mkdtemp(name.data()) != nullptr, "make a folder");
    path_ = name;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::string path() const { return path_; }
  std::string path(const std::string& name) const { return path_ / name; }

  /// Makes a file, and the folders on its way. Returns its path.
  std::string add(const std::string& name, const std::string& content) const {
    const std::filesystem::path file = path_ / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream out{file, std::ios::binary};
    out << content;
    out.close();
    EXPECT_TRUE(out) << file;
    return file;
  }
  /// Makes a file so large that nobody reads it to its end, without using the disk.
  std::string add_endless(const std::string& name) const {
    std::string file = add(name, "");
    check(::truncate(file.c_str(), off_t{1} << 40) == 0, "make a sparse file");
    return file;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace samples
