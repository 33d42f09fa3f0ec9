// A block is made as a file without a name, which the nursery is told of before it gets one: a process that is killed
// in between leaves nothing. A name is opened only after the nursery has noted who does it, so that it is not removed
// while that happens.

#include <troupe/error.hpp>
#include <troupe/named_memory.hpp>

#include "descriptors.hpp"
#include "name_share.hpp"
#include "self.hpp"

#include <cerrno>
#include <exception>
#include <fcntl.h>
#include <mutex>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace troupe {

namespace {

constexpr const char* memory_folder = "/dev/shm";

void check_name(const std::string& name) {
  if (is_memory_name(name)) return;
  if (name.size() > max_memory_name)
    throw ValueError("the name of shared memory has " + std::to_string(name.size()) + " bytes, at most " +
                     std::to_string(max_memory_name) + " are possible");
  throw ValueError("\"" + name + "\" cannot be the name of shared memory: it is empty or has a slash in it");
}

FileDescriptor make_file(std::size_t bytes, const std::string& attempted) {
  FileDescriptor file =
      above_standard(FileDescriptor{::open(memory_folder, O_TMPFILE | O_RDWR | O_CLOEXEC, S_IRUSR | S_IWUSR)});
  if (!file) throw OSError(errno, attempted);
  if (const int error = resize_file(file.get(), bytes); error != 0)
    throw OSError(error, attempted + (error == EFBIG ? ", more than RLIMIT_FSIZE (ulimit -f) allows" : ""));
  if (const int error = back_with_memory(file.get(), 0, bytes); error != 0) throw OSError(error, attempted);
  return file;
}

// 0, or the errno.
int give_name(const FileDescriptor& file, const std::string& name) {
  const std::string here = "/proc/self/fd/" + std::to_string(file.get());
  return ::linkat(AT_FDCWD, here.c_str(), AT_FDCWD, memory_path(name).c_str(), AT_SYMLINK_FOLLOW) == 0 ? 0 : errno;
}

}  // namespace

bool is_memory_name(std::string_view name) noexcept {
  return !name.empty() && name.size() <= max_memory_name && name.find('/') == std::string_view::npos &&
         name.find('\0') == std::string_view::npos && name != "." && name != "..";
}

std::string memory_path(const std::string& name) { return std::string(memory_folder) + "/" + name; }

NamedMemory::NamedMemory(std::string name, const FileDescriptor& file, std::size_t bytes)
    : name_(std::move(name)),
      inode_(status_of(file).st_ino),
      bytes_(bytes),
      memory_(file.get(), 0, bytes, Mapping::Access::read_write, "shared memory") {}

NamedMemory& NamedMemory::operator=(NamedMemory&& other) noexcept {
  if (this == &other) return *this;
  close();
  name_ = std::move(other.name_);
  inode_ = other.inode_;
  bytes_ = other.bytes_;
  memory_ = std::move(other.memory_);
  return *this;
}

NamedMemory NamedMemory::create(const std::string& name, std::size_t bytes) {
  check_name(name);
  const std::string attempted = "making shared memory \"" + name + "\" of " + std::to_string(bytes) + " bytes";
  const FileDescriptor file = make_file(bytes, attempted);
  const std::uint64_t inode = status_of(file).st_ino;
  NamedMemory made{name, file, bytes};
  with_nursery([&](NurseryLink& nursery) { nursery.make_name(name, inode); });
  const int error = give_name(file, name);
  if (error == 0) return made;
  with_nursery([&](NurseryLink& nursery) { nursery.unlink_name(name, inode); });
  throw OSError(error, attempted);
}

NamedMemory NamedMemory::open(const std::string& name) {
  check_name(name);
  const std::string attempted = "opening shared memory \"" + name + "\"";
  for (;;) {
    const std::uint64_t inode = with_nursery([&](NurseryLink& nursery) { return nursery.open_name(name); });
    try {
      const FileDescriptor file =
          above_standard(FileDescriptor{::open(memory_path(name).c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC)});
      if (!file) throw OSError(errno, attempted);
      const struct stat status = status_of(file);
      if (status.st_size == 0) throw ValueError("shared memory \"" + name + "\" is empty: nobody has given it a size");
      if (status.st_ino == inode) return NamedMemory{name, file, static_cast<std::size_t>(status.st_size)};
    } catch (...) {
      with_nursery([&](NurseryLink& nursery) { nursery.close_name(name, inode); });
      throw;
    }
    // Since the nursery looked, the name was given to another file.
    with_nursery([&](NurseryLink& nursery) { nursery.close_name(name, inode); });
  }
}

void NamedMemory::unlink() const {
  if (::unlink(memory_path(name_).c_str()) != 0) throw OSError(errno, "unlinking shared memory \"" + name_ + "\"");
  with_nursery([&](NurseryLink& nursery) { nursery.unlink_name(name_, inode_); });
}

void NamedMemory::close() noexcept {
  if (!is_open()) return;
  memory_ = {};
  tell_nursery([&](NurseryLink& nursery) { nursery.close_name(name_, inode_); });
}

}  // namespace troupe
