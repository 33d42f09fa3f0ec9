#include <troupe/error.hpp>
#include <troupe/file_descriptor.hpp>

#include "descriptors.hpp"

#include <cerrno>
#include <csignal>
#include <ctime>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

namespace troupe {

namespace {

/// What the kernel takes as the name of a memfd.
constexpr std::size_t longest_name = 249;
/// Ranges from this size on are left out of core files.
constexpr std::size_t no_dump_bytes = std::size_t{64} << 20U;

}  // namespace

int resize_file(int file, std::size_t bytes) noexcept {
  sigset_t too_large;
  sigset_t before;
  sigset_t pending;
  ::sigemptyset(&too_large);
  ::sigaddset(&too_large, SIGXFSZ);
  ::pthread_sigmask(SIG_BLOCK, &too_large, &before);
  ::sigpending(&pending);
  const int error = ::ftruncate(file, static_cast<off_t>(bytes)) == 0 ? 0 : errno;
  const timespec at_once{};
  if (error == EFBIG && ::sigismember(&pending, SIGXFSZ) == 0) ::sigtimedwait(&too_large, nullptr, &at_once);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return error;
}

void FileDescriptor::reset(int number) noexcept {
  if (number_ >= 0) ::close(number_);
  number_ = number;
}

std::pair<FileDescriptor, FileDescriptor> make_socket_pair(const char* purpose) {
  int ends[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) throw OSError(errno, purpose);
  FileDescriptor first = above_standard(FileDescriptor{ends[0]});
  FileDescriptor second = above_standard(FileDescriptor{ends[1]});
  if (!first || !second) throw OSError(errno, purpose);
  return {std::move(first), std::move(second)};
}

FileDescriptor create_memory_file(const std::string& name, std::size_t bytes) {
  const std::string shown_name = name.substr(0, longest_name);
  FileDescriptor file =
      above_standard(FileDescriptor{::memfd_create(shown_name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING)});
  if (!file) throw OSError(errno, "creating shared memory \"" + name + "\"");
  if (const int error = resize_file(file.get(), bytes); error != 0)
    throw OSError(error, "sizing shared memory \"" + name + "\" to " + std::to_string(bytes) + " bytes" +
                             (error == EFBIG ? ", more than RLIMIT_FSIZE (ulimit -f) allows" : ""));
  // Whoever truncated it would end the others by SIGBUS.
  if (bytes > 0) ::fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL);
  return file;
}

int back_with_memory(int file, std::size_t offset, std::size_t bytes) noexcept {
  while (::fallocate(file, 0, static_cast<off_t>(offset), static_cast<off_t>(bytes)) != 0)
    if (errno != EINTR) return errno;
  return 0;
}

int give_memory_back(int file, std::size_t offset, std::size_t bytes) noexcept {
  constexpr int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  return ::fallocate(file, mode, static_cast<off_t>(offset), static_cast<off_t>(bytes)) == 0 ? 0 : errno;
}

Mapping::Mapping(int file, std::size_t offset, std::size_t bytes, Access access, const std::string& purpose)
    : bytes_(bytes) {
  const int protection = access == Access::read_only ? PROT_READ : PROT_READ | PROT_WRITE;
  void* address = ::mmap(nullptr, bytes, protection, MAP_SHARED, file, static_cast<off_t>(offset));
  if (address == MAP_FAILED) throw OSError(errno, "mapping " + std::to_string(bytes) + " bytes for " + purpose);
  address_ = static_cast<std::byte*>(address);
  // A core file of a process with such a range, nearly all of it empty, would take the kernel half a minute.
  if (bytes >= no_dump_bytes) ::madvise(address, bytes, MADV_DONTDUMP);
}

Mapping Mapping::twice_in_a_row(int file, std::size_t offset, std::size_t bytes, const std::string& purpose) {
  Mapping both;
  void* range = ::mmap(nullptr, 2 * bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (range == MAP_FAILED) throw OSError(errno, "reserving " + std::to_string(2 * bytes) + " bytes for " + purpose);
  both.address_ = static_cast<std::byte*>(range);
  both.bytes_ = 2 * bytes;
  for (std::byte* half : {both.address_, both.address_ + bytes}) {
    void* mapped =
        ::mmap(half, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, static_cast<off_t>(offset));
    if (mapped == MAP_FAILED) throw OSError(errno, "mapping " + std::to_string(bytes) + " bytes for " + purpose);
  }
  return both;
}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  if (this == &other) return *this;
  unmap();
  address_ = std::exchange(other.address_, nullptr);
  bytes_ = std::exchange(other.bytes_, 0);
  return *this;
}

void Mapping::unmap() noexcept {
  if (address_ != nullptr) ::munmap(address_, bytes_);
  address_ = nullptr;
}

}  // namespace troupe
