#include "descriptors.hpp"

#include <troupe/error.hpp>

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace troupe {

namespace {

constexpr auto wait_by_pidfd = static_cast<idtype_t>(3);  // P_PIDFD; older C libraries do not name it

}  // namespace

FileDescriptor above_standard(FileDescriptor descriptor) noexcept {
  if (!descriptor || descriptor.get() > STDERR_FILENO) return descriptor;
  return FileDescriptor{::fcntl(descriptor.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1)};
}

std::pair<FileDescriptor, FileDescriptor> make_pipe(const char* purpose) {
  std::array<int, 2> ends{-1, -1};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw OSError(errno, purpose);
  FileDescriptor reader = above_standard(FileDescriptor{ends[0]});
  FileDescriptor writer = above_standard(FileDescriptor{ends[1]});
  if (!reader || !writer || ::fcntl(reader.get(), F_SETFL, O_NONBLOCK) != 0) throw OSError(errno, purpose);
  return {std::move(reader), std::move(writer)};
}

int send_datagram(int socket, std::span<const std::byte> bytes, std::span<const int> descriptors, bool wait) noexcept {
  iovec part{.iov_base = const_cast<std::byte*>(bytes.data()), .iov_len = bytes.size()};
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(max_datagram_descriptors * sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    if (descriptors.size() > max_datagram_descriptors) return E2BIG;
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size_bytes());
  }
  while (::sendmsg(socket, &message, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT)) < 0)
    if (errno != EINTR) return errno;
  return 0;
}

int receive_datagram(int socket, Datagram& datagram, bool wait) {
  iovec part{.iov_base = datagram.bytes, .iov_len = sizeof datagram.bytes};
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(max_datagram_descriptors * sizeof(int)) + CMSG_SPACE(sizeof(ucred))>
      control;
  msghdr message{};
  ssize_t size = 0;
  do {
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    size = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
  } while (size < 0 && errno == EINTR);
  if (size < 0) return errno;
  datagram.size = static_cast<std::size_t>(size);
  datagram.descriptors.clear();
  datagram.lost_descriptors = (message.msg_flags & MSG_CTRUNC) != 0;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_CREDENTIALS) {
      ucred sender{};
      std::memcpy(&sender, CMSG_DATA(header), sizeof sender);
      datagram.sender = sender.uid;
      datagram.sender_pid = sender.pid;
    }
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    std::array<int, max_datagram_descriptors> numbers{};
    std::memcpy(numbers.data(), CMSG_DATA(header), count * sizeof(int));
    for (std::size_t i = 0; i < count; ++i) datagram.descriptors.push_back(above_standard(FileDescriptor{numbers[i]}));
  }
  return 0;
}

void tell_senders(int socket) noexcept {
  const int on = 1;
  ::setsockopt(socket, SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
}

void open_gate(int write_end) noexcept {
  const char byte = 0;
  while (::write(write_end, &byte, 1) < 0 && errno == EINTR) {
  }
}

bool wait_at_gate(int read_end) noexcept {
  pollfd event{.fd = read_end, .events = POLLIN, .revents = 0};
  while (::poll(&event, 1, -1) < 0 && errno == EINTR) {
  }
  char byte = 0;
  return ::read(read_end, &byte, 1) == 1;
}

int wait_for_exec(FileDescriptor failure) noexcept {
  ::fcntl(failure.get(), F_SETFL, 0);  // wait for it
  int error = 0;
  while (::read(failure.get(), &error, sizeof error) < 0 && errno == EINTR) {
  }
  return error;
}

int open_pidfd(pid_t pid) noexcept { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }

int signal_pidfd(int pidfd, int number) noexcept {
  return ::syscall(SYS_pidfd_send_signal, pidfd, number, nullptr, 0) == 0 ? 0 : errno;
}

ProcessEnd reap_pidfd(int pidfd) noexcept {
  siginfo_t info{};
  rusage usage{};
  int result = 0;
  do {
    // The system call itself also tells what was used, which the function of the C library does not.
    result = static_cast<int>(
        ::syscall(SYS_waitid, wait_by_pidfd, static_cast<id_t>(pidfd), &info, WEXITED | WNOHANG, &usage));
  } while (result != 0 && errno == EINTR);
  if (result != 0) return {.status = ProcessEnd::Status::unknown};
  if (info.si_pid == 0) return {};
  return {.status = ProcessEnd::Status::ended,
          .exitcode = info.si_code == CLD_EXITED ? info.si_status : -info.si_status,
          .dumped_core = info.si_code == CLD_DUMPED,
          .peak_resident_bytes = static_cast<std::uint64_t>(usage.ru_maxrss) * 1024};
}

}  // namespace troupe
