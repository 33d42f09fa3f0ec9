#pragma once

/// \file
/// Making, passing and moving descriptors, with the errors and flags that all of troupe wants.

#include <troupe/file_descriptor.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace troupe {

/// ftruncate, but above RLIMIT_FSIZE only with EFBIG: the signal that comes with it would end the process. 0, or the
/// errno.
[[nodiscard]] int resize_file(int file, std::size_t bytes) noexcept;

/// A pipe, closed on exec: {read end, which never blocks, write end}. Errors: OSError naming `purpose`.
std::pair<FileDescriptor, FileDescriptor> make_pipe(const char* purpose);

/// Most descriptors beside one datagram; what the kernel allows.
inline constexpr std::size_t max_datagram_descriptors = 253;
/// Longest datagram between a process and the nursery.
inline constexpr std::size_t max_datagram_bytes = 8192;

/// Sends one datagram with copies of `descriptors`. Blocks while there is no room for it, unless `wait` is false. 0, or
/// the errno. Never raises SIGPIPE.
[[nodiscard]] int send_datagram(int socket, std::span<const std::byte> bytes, std::span<const int> descriptors,
                                bool wait) noexcept;

struct Datagram {
  alignas(8) std::byte bytes[max_datagram_bytes];
  std::size_t size = 0;  // 0: the other end is closed
  std::vector<FileDescriptor> descriptors;
  bool lost_descriptors = false;          // this process could not take all of them: too many files are open
  uid_t sender = static_cast<uid_t>(-1);  // who sent it, if the socket was told to say so
  pid_t sender_pid = 0;                   // the same
};
/// Has the kernel tell who sends what arrives at this socket from now on.
void tell_senders(int socket) noexcept;
/// Receives one datagram. Blocks unless `wait` is false. 0, or the errno.
[[nodiscard]] int receive_datagram(int socket, Datagram& datagram, bool wait);

/// Lets go whoever waits at the other end of this pipe.
void open_gate(int write_end) noexcept;
/// Waits until the other end is opened: true; false when it is closed instead.
[[nodiscard]] bool wait_at_gate(int read_end) noexcept;

/// Waits until the other end of the pipe `failure` is closed by a successful exec; 0, or the errno that came instead.
[[nodiscard]] int wait_for_exec(FileDescriptor failure) noexcept;

/// pidfd_open(2): -1 and errno on failure.
int open_pidfd(pid_t pid) noexcept;
/// pidfd_send_signal(2): 0, or the errno.
[[nodiscard]] int signal_pidfd(int pidfd, int number) noexcept;

/// How process `pidfd` of ours ended, as an exit code; does not block, reaps it.
struct ProcessEnd {
  enum class Status : std::uint8_t { running, ended, unknown } status = Status::running;
  int exitcode = 0;
  bool dumped_core = false;
  std::uint64_t peak_resident_bytes = 0;
};
ProcessEnd reap_pidfd(int pidfd) noexcept;

}  // namespace troupe
