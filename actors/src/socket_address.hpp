#pragma once

/// \file
/// Addresses as the kernel wants them, and sockets at them.

#include <troupe/address.hpp>
#include <troupe/file_descriptor.hpp>

#include <sys/socket.h>

namespace troupe {

/// An address for bind and connect.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;

  const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&storage); }
  int family() const noexcept { return storage.ss_family; }
  /// What it says. Shape: empty path for a Unix socket without one.
  Address to_address() const;
};

/// Errors: OSError for a host that is not known; ValueError for a path that is too long or empty.
SocketAddress resolve(const Address& address);
/// Where a socket is bound. Errors: OSError.
SocketAddress bound_address(int socket);
/// A stream socket, closed on exec. Errors: OSError naming `address`.
FileDescriptor make_socket(int family, const Address& address);
/// Has small messages go at once. Nothing happens for Unix sockets.
void send_at_once(int socket) noexcept;

}  // namespace troupe
