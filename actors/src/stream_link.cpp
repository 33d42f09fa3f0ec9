#include "stream_link.hpp"

#include <troupe/error.hpp>

#include "frame.hpp"
#include "sockets.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <poll.h>
#include <string>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

namespace troupe {

namespace {

// The form of an address. The first bit tells it from a pipe's.
constexpr std::uint64_t stream = 32;
constexpr std::uint64_t reads = 2;
constexpr std::uint64_t writes = 8;

/// Keeps a write to a pipe whose reader is gone from raising SIGPIPE, while it lives.
class WithoutSigpipe {
 public:
  WithoutSigpipe() noexcept {
    ::sigemptyset(&pipe_);
    ::sigaddset(&pipe_, SIGPIPE);
    sigset_t pending;
    ::sigpending(&pending);
    was_pending_ = ::sigismember(&pending, SIGPIPE) == 1;
    ::pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~WithoutSigpipe() {
    const int error = errno;
    const timespec at_once{};
    if (error == EPIPE && !was_pending_) ::sigtimedwait(&pipe_, nullptr, &at_once);
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    errno = error;
  }
  WithoutSigpipe(const WithoutSigpipe&) = delete;
  WithoutSigpipe& operator=(const WithoutSigpipe&) = delete;

 private:
  sigset_t pipe_{};
  sigset_t before_{};
  bool was_pending_ = false;
};

ssize_t write_some(int number, bool is_socket, std::span<iovec> parts) noexcept {
  if (!is_socket) {
    const WithoutSigpipe quiet;
    return ::writev(number, parts.data(), static_cast<int>(parts.size()));
  }
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  return ::sendmsg(number, &message, MSG_NOSIGNAL);
}

}  // namespace

StreamLink::StreamLink(FileDescriptor descriptor, bool readable, bool writable, bool is_socket) noexcept
    : descriptor_(std::move(descriptor)), readable_(readable), writable_(writable), is_socket_(is_socket) {}

std::unique_ptr<Link> StreamLink::make(FileDescriptor descriptor, Connection::Direction direction) {
  struct stat status {};
  if (!descriptor || ::fstat(descriptor.get(), &status) != 0) {
    // Of a number that is not open there is nothing to close, or it is somebody else's by then.
    const int number = descriptor.release();
    throw OSError(EBADF, "making a connection of descriptor " + std::to_string(number));
  }
  return std::unique_ptr<Link>(new StreamLink(std::move(descriptor), direction != Connection::Direction::write_only,
                                              direction != Connection::Direction::read_only, S_ISSOCK(status.st_mode)));
}

std::size_t StreamLink::num_descriptors(std::uint64_t form) {
  const bool known = (form & stream) != 0 && (form & (reads | writes)) != 0 && (form & ~(stream | reads | writes)) == 0;
  if (!known) throw CodecError("expected a connection; this is of no kind that there is");
  return 1;
}

std::unique_ptr<Link> StreamLink::from_address(std::uint64_t form, std::vector<FileDescriptor> descriptors) {
  using Direction = Connection::Direction;
  if (descriptors.size() != num_descriptors(form)) throw CodecError("expected a connection; no descriptor came along");
  if ((form & writes) == 0) return make(std::move(descriptors[0]), Direction::read_only);
  return make(std::move(descriptors[0]), (form & reads) == 0 ? Direction::write_only : Direction::read_write);
}

LinkAddress StreamLink::address() const {
  return {.form = stream | (readable_ ? reads : 0) | (writable_ ? writes : 0), .descriptors = {descriptor_.get()}};
}

std::unique_ptr<Link> StreamLink::copy() const {
  return std::unique_ptr<Link>(
      new StreamLink(duplicate(descriptor_.get(), "copying a connection"), readable_, writable_, is_socket_));
}

std::unique_ptr<Link> StreamLink::without_reading(std::unique_ptr<Link> self) {
  readable_ = false;
  return writable_ ? std::move(self) : nullptr;
}

// Only for descriptors that never block; others block in the call itself.
void StreamLink::wait_for(short events) const {
  pollfd event{.fd = descriptor_.get(), .events = events, .revents = 0};
  poll_until({&event, 1}, no_deadline);
}

void StreamLink::write_all(std::span<const Piece> pieces) {
  constexpr std::size_t most_parts = 64;
  std::size_t next = 0;
  Piece current;
  for (;;) {
    while (current.empty() && next < pieces.size()) current = pieces[next++];
    if (current.empty()) return;
    std::array<iovec, most_parts> parts{};
    std::size_t count = 0;
    const auto add = [&](Piece piece) {
      if (!piece.empty()) parts[count++] = {.iov_base = const_cast<std::byte*>(piece.data()), .iov_len = piece.size()};
    };
    add(current);
    for (std::size_t i = next; i < pieces.size() && count < most_parts; ++i) add(pieces[i]);
    const ssize_t size = write_some(descriptor_.get(), is_socket_, std::span(parts).first(count));
    if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      wait_for(POLLOUT);
    } else if (size < 0 && errno != EINTR) {
      throw OSError(errno, "sending through a connection");
    }
    for (auto written = static_cast<std::size_t>(std::max<ssize_t>(size, 0)); written > 0;) {
      const std::size_t part = std::min(written, current.size());
      current = current.subspan(part);
      written -= part;
      while (current.empty() && next < pieces.size()) current = pieces[next++];
    }
  }
}

void StreamLink::send(std::span<const Piece> pieces, std::span<const int>) {
  std::uint64_t bytes = 0;
  for (const Piece piece : pieces) bytes += piece.size();
  const FrameHead head = frame_head(bytes);
  if (pieces.size() == 1) {
    const std::array<Piece, 2> both{head.get(), pieces[0]};
    return write_all(both);
  }
  std::vector<Piece> all{head.get()};
  all.insert(all.end(), pieces.begin(), pieces.end());
  write_all(all);
}

bool StreamLink::receive(std::vector<std::byte>& out, std::optional<std::size_t> max_bytes,
                         std::vector<FileDescriptor>&) {
  FrameReader frame{out, max_bytes};
  for (;;) {
    switch (frame.state()) {
      case FrameReader::State::complete: return true;
      case FrameReader::State::too_long: return false;
      case FrameReader::State::garbage:
        readable_ = false;
        throw OSError::from_text(EBADMSG, "what came through the connection is no message of multiprocessing");
      default: break;
    }
    const auto room = frame.room();
    const ssize_t size = ::read(descriptor_.get(), room.data(), room.size());
    if (size > 0) {
      frame.advance(static_cast<std::size_t>(size));
    } else if (size == 0) {
      if (frame.state() == FrameReader::State::head) throw EOFError("the other end of the connection is closed");
      throw OSError::from_text(ECONNRESET, "the connection ended in the middle of a message");
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      wait_for(POLLIN);
    } else if (errno != EINTR) {
      throw OSError(errno, "receiving through a connection");
    }
  }
}

bool StreamLink::poll(Deadline deadline) {
  for (;;) {
    pollfd event{.fd = descriptor_.get(), .events = POLLIN, .revents = 0};
    const int count = poll_until({&event, 1}, deadline);
    if (count > 0) return true;
    if (count == 0) return false;
    if (errno != EINTR) throw OSError(errno, "polling a connection");
  }
}

// As Python's multiprocessing.reduction does it: one byte, the number of descriptors, carries them.
void StreamLink::send_handle(int number) {
  // Elsewhere the kernel would send the byte, and leave the descriptor out without a word.
  int family = AF_UNSPEC;
  socklen_t size = sizeof family;
  if (::getsockopt(descriptor_.get(), SOL_SOCKET, SO_DOMAIN, &family, &size) == 0 && family != AF_UNIX)
    throw OSError(EOPNOTSUPP, "sending a descriptor through a connection that is no pipe and no Unix socket");
  const std::byte count{1};
  int error = 0;
  do {
    error = send_with_descriptors(descriptor_.get(), {&count, 1}, {&number, 1}, 0);
    if (error == EAGAIN) wait_for(POLLOUT);
  } while (error == EINTR || error == EAGAIN);
  if (error != 0) throw OSError(error, "sending a descriptor through a connection");
}

FileDescriptor StreamLink::receive_handle() {
  for (;;) {
    std::byte count{};
    std::vector<FileDescriptor> descriptors;
    const auto size = receive_with_descriptors(descriptor_.get(), {&count, 1}, descriptors, 0);
    if (size < 0 && errno == EAGAIN) wait_for(POLLIN);
    if (size < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (size < 0) throw OSError(errno, "receiving a descriptor through a connection");
    if (size == 0) throw EOFError("the other end of the connection is closed");
    if (descriptors.size() == 1) return std::move(descriptors.front());
    throw OSError(errno != 0 ? errno : EBADMSG, "receiving a descriptor through a connection");
  }
}

}  // namespace troupe
