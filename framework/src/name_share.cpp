#include "name_share.hpp"

#include <troupe/error.hpp>

#include <cerrno>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace troupe {

namespace {

/// Set in the mode of a file whose maker has left it. On files it has no other meaning.
constexpr mode_t left_mark = S_ISVTX;

// Empty with an errno. A pipe of that name must not make us wait.
FileDescriptor open_file(const std::string& path) {
  return above_standard(FileDescriptor{::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)});
}

bool remove_unless_used(const FileDescriptor& file, const std::string& path) {
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) return false;
  struct stat named{};
  const bool is_removed = ::lstat(path.c_str(), &named) == 0 && named.st_ino == status_of(file).st_ino &&
                          ::unlink(path.c_str()) == 0;
  ::flock(file.get(), LOCK_UN);  // a process that was forked just now may have a copy of the descriptor
  return is_removed;
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

bool NameShare::end(const std::string& path) {
  const FileDescriptor file = std::move(file_);
  ::flock(file.get(), LOCK_UN);
  return (status_of(file).st_mode & left_mark) != 0 && remove_unless_used(file, path);
}

bool remove_or_leave(const std::string& path, std::uint64_t inode) {
  const FileDescriptor file = open_file(path);
  if (!file) return false;
  const struct stat status = status_of(file);
  if (status.st_ino != inode) return false;
  [[maybe_unused]] const int marked = ::fchmod(file.get(), status.st_mode | left_mark);
  return remove_unless_used(file, path);
}

}  // namespace troupe
