#include "sockets.hpp"

#include <troupe/error.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace troupe {

int poll_until(std::span<pollfd> descriptors, Deadline deadline) noexcept {
  if (deadline == no_deadline) return ::ppoll(descriptors.data(), descriptors.size(), nullptr, nullptr);
  const auto now = std::chrono::steady_clock::now();
  const auto left = deadline > now ? deadline - now : Deadline::duration::zero();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
  const timespec timeout{.tv_sec = seconds.count(), .tv_nsec = std::chrono::nanoseconds(left - seconds).count()};
  return ::ppoll(descriptors.data(), descriptors.size(), &timeout, nullptr);
}

FileDescriptor duplicate(int number, const char* purpose) {
  FileDescriptor copy{::fcntl(number, F_DUPFD_CLOEXEC, STDERR_FILENO + 1)};
  if (!copy) throw OSError(errno, purpose);
  return copy;
}

int send_with_descriptors(int socket, std::span<const std::byte> bytes, std::span<const int> numbers,
                          int flags) noexcept {
  iovec part{.iov_base = const_cast<std::byte*>(bytes.data()), .iov_len = bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(max_message_descriptors * sizeof(int))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!numbers.empty()) {
    std::memset(control, 0, sizeof control);
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(numbers.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(numbers.size_bytes());
    std::memcpy(CMSG_DATA(header), numbers.data(), numbers.size_bytes());
  }
  return ::sendmsg(socket, &message, flags | MSG_NOSIGNAL) < 0 ? errno : 0;
}

std::ptrdiff_t receive_with_descriptors(int socket, std::span<std::byte> bytes,
                                        std::vector<FileDescriptor>& descriptors, int flags) {
  iovec part{.iov_base = bytes.data(), .iov_len = bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(max_message_descriptors * sizeof(int))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t size = ::recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC);
  if (size < 0) return size;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int number = -1;
      std::memcpy(&number, CMSG_DATA(header) + i * sizeof(int), sizeof number);
      descriptors.emplace_back(number);
    }
  }
  errno = (message.msg_flags & MSG_CTRUNC) != 0 ? EMFILE : 0;
  return size;
}

}  // namespace troupe
