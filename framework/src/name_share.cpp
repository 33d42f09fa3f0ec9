#include "name_share.hpp"

#include <troupe/error.hpp>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <utility>

namespace troupe {

namespace {

/// Set in the mode of a file whose maker has left it. On files it has no other meaning.
constexpr mode_t left_mark = S_ISVTX;
constexpr int max_looks = 5;
constexpr std::chrono::milliseconds time_between_looks{10};

// Empty with an errno. A pipe of that name must not make us wait.
FileDescriptor open_file(const std::string& path) {
  return above_standard(FileDescriptor{::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)});
}

bool has_mapped(const std::filesystem::path& process, const struct stat& status) {
  std::ifstream maps{process / "maps"};  // stays empty for a process of another user, or one that has ended
  for (std::string line; std::getline(maps, line);) {
    unsigned major_number = 0;
    unsigned minor_number = 0;
    unsigned long inode = 0;
    if (std::sscanf(line.c_str(), "%*s %*s %*s %x:%x %lu", &major_number, &minor_number, &inode) == 3 &&
        inode == status.st_ino && major_number == major(status.st_dev) && minor_number == minor(status.st_dev))
      return true;
  }
  return false;
}

// A process other than this one and `main_process` that has the file mapped. A lease on the file is refused while
// anybody has it open, so that /proc need not be searched for most files.
std::optional<std::filesystem::path> find_user(const FileDescriptor& file, const struct stat& status,
                                               pid_t main_process) {
  if (::fcntl(file.get(), F_SETLEASE, F_WRLCK) == 0) {
    ::fcntl(file.get(), F_SETLEASE, F_UNLCK);
    return std::nullopt;
  }
  const auto known = {std::to_string(::getpid()), std::to_string(main_process)};
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator{"/proc", error}) {
    const std::string name = entry.path().filename();
    const bool is_process = std::ranges::all_of(name, [](unsigned char letter) { return std::isdigit(letter) != 0; });
    if (is_process && std::ranges::find(known, name) == known.end() && has_mapped(entry.path(), status))
      return entry.path();
  }
  return std::nullopt;
}

// The main process of another program of troupe, which has given its lock up already, may have the file mapped to its
// very end: so whoever has it is looked at again for a moment.
bool is_used_elsewhere(const FileDescriptor& file, pid_t main_process) {
  const struct stat status = status_of(file);
  for (int looks = 0; looks < max_looks; ++looks) {
    const auto user = find_user(file, status, main_process);
    if (!user) return false;
    for (; looks < max_looks && has_mapped(*user, status); ++looks) std::this_thread::sleep_for(time_between_looks);
  }
  return true;
}

NameEnd remove_unless_used(const FileDescriptor& file, const std::string& path, pid_t main_process) {
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) return NameEnd::kept;
  NameEnd result = NameEnd::kept;
  struct stat named{};
  if (::lstat(path.c_str(), &named) == 0 && named.st_ino == status_of(file).st_ino) {
    if (is_used_elsewhere(file, main_process)) {
      result = NameEnd::in_use;
    } else if (::unlink(path.c_str()) == 0) {
      result = NameEnd::removed;
    }
  }
  ::flock(file.get(), LOCK_UN);  // a process that was forked just now may have a copy of the descriptor
  return result;
}

}  // namespace

struct stat status_of(const FileDescriptor& file) {
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) throw OSError(errno, "looking at shared memory");
  return status;
}

NameShare::NameShare(const std::string& path) noexcept : file_(open_file(path)) {
  if (!file_ || ::flock(file_.get(), LOCK_SH | LOCK_NB) == 0) return;
  const int error = errno == EWOULDBLOCK ? ENOENT : errno;
  file_.reset();
  errno = error;
}

std::uint64_t NameShare::inode() const { return status_of(file_).st_ino; }

NameEnd NameShare::end(const std::string& path, pid_t main_process) {
  const FileDescriptor file = std::move(file_);
  ::flock(file.get(), LOCK_UN);
  const bool is_left = (status_of(file).st_mode & left_mark) != 0;
  return is_left ? remove_unless_used(file, path, main_process) : NameEnd::kept;
}

NameEnd remove_or_leave(const std::string& path, std::uint64_t inode, pid_t main_process) {
  const FileDescriptor file = open_file(path);
  if (!file) return NameEnd::kept;
  const struct stat status = status_of(file);
  if (status.st_ino != inode) return NameEnd::kept;
  [[maybe_unused]] const int marked = ::fchmod(file.get(), status.st_mode | left_mark);
  return remove_unless_used(file, path, main_process);
}

}  // namespace troupe
