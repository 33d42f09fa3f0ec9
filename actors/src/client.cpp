// Client, and the handshake on connections that were made in other ways.

#include <troupe/error.hpp>
#include <troupe/listener.hpp>

#include "handshake_channel.hpp"
#include "socket_address.hpp"
#include "sockets.hpp"

#include <algorithm>
#include <cerrno>
#include <poll.h>
#include <utility>

namespace troupe {

namespace {

[[noreturn]] void fail_late(const Address& address, const char* what) {
  throw TimeoutError("connecting to " + address.to_string() + ": " + what + " within the timeout");
}

/// Bounds how long connect may take; the kernel keeps the bound for Unix sockets and TCP alike.
void set_send_timeout(int socket, std::chrono::microseconds timeout) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(timeout);
  const timeval value{.tv_sec = seconds.count(), .tv_usec = (timeout - seconds).count()};
  ::setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &value, sizeof value);
}

FileDescriptor connect_to(const Address& address, Deadline deadline) {
  const SocketAddress target = resolve(address);
  for (;;) {
    FileDescriptor socket = make_socket(target.family(), address);
    const auto left = std::chrono::ceil<std::chrono::microseconds>(deadline - std::chrono::steady_clock::now());
    if (left <= left.zero()) fail_late(address, "the listener has not accepted");
    set_send_timeout(socket.get(), left);
    if (::connect(socket.get(), target.get(), target.size) == 0) {
      set_send_timeout(socket.get(), std::chrono::microseconds{0});
      if (target.family() == AF_INET) send_at_once(socket.get());
      return socket;
    }
    if (errno == EINTR) continue;  // with another socket: the state of this one is not known
    if (errno == EAGAIN || errno == EINPROGRESS) fail_late(address, "the listener has not accepted");
    throw OSError(errno, "connecting to " + address.to_string());
  }
}

void shake_hands(int socket, const Address& address, BytesView key, Deadline deadline) {
  HandshakeChannel channel{socket, Handshake::Side::client, key, "the listener at " + address.to_string()};
  while (!channel.advance()) {
    pollfd event{.fd = socket, .events = POLLIN, .revents = 0};
    const int count = poll_until({&event, 1}, deadline);
    if (count == 0) fail_late(address, "the listener has not finished the handshake");
    if (count < 0 && errno != EINTR) throw OSError(errno, "waiting for the listener at " + address.to_string());
  }
}

Bytes receive_handshake(Connection& connection) {
  return connection.recv_bytes(static_cast<std::ptrdiff_t>(max_handshake_bytes));
}

}  // namespace

AuthKey::AuthKey(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  bytes_.assign(bytes.begin(), bytes.end());
}

Connection Client(const Address& address, const ClientOptions& options) {
  if (options.authkey && options.authkey->bytes().empty())
    throw ValueError("the key for " + address.to_string() + " is empty: leave it out if the listener asks for none");
  const Deadline deadline = deadline_after(options.timeout);
  FileDescriptor socket = connect_to(address, deadline);
  if (options.authkey) shake_hands(socket.get(), address, options.authkey->bytes(), deadline);
  return Connection{std::move(socket)};
}

void deliver_challenge(Connection& connection, const AuthKey& key) {
  const Challenge challenge{key.bytes()};
  connection.send_bytes(challenge.question());
  const bool proved = challenge.is_proved_by(receive_handshake(connection));
  connection.send_bytes(Challenge::verdict(proved));
  if (!proved) throw AuthenticationError("the other side does not know this one's key: both need the same");
}

void answer_challenge(Connection& connection, const AuthKey& key) {
  connection.send_bytes(answer_to(receive_handshake(connection), key.bytes()));
  require_welcome(receive_handshake(connection));
}

}  // namespace troupe
