#pragma once

/// \file
/// Waiting for descriptors, and passing them through sockets.

#include <troupe/bell.hpp>
#include <troupe/file_descriptor.hpp>

#include <cstddef>
#include <poll.h>
#include <span>
#include <vector>

namespace troupe {

/// poll(2) with a deadline: the number of descriptors with events, 0 at the deadline, -1 and errno on failure, which
/// EINTR is too.
int poll_until(std::span<pollfd> descriptors, Deadline deadline) noexcept;

/// A copy of `number`, closed on exec, above the standard ones. Errors: OSError naming `purpose`.
FileDescriptor duplicate(int number, const char* purpose);

/// Most descriptors that go beside one message.
inline constexpr std::size_t max_message_descriptors = 250;
/// sendmsg(2) with descriptors, never raising SIGPIPE: 0, or the errno. `flags`: as there.
[[nodiscard]] int send_with_descriptors(int socket, std::span<const std::byte> bytes, std::span<const int> numbers,
                                        int flags) noexcept;
/// recvmsg(2) with descriptors: what it returns; those that came, closed on exec. errno is EMFILE when some were lost.
std::ptrdiff_t receive_with_descriptors(int socket, std::span<std::byte> bytes,
                                        std::vector<FileDescriptor>& descriptors, int flags);

}  // namespace troupe
