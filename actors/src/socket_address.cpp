#include "socket_address.hpp"

#include <troupe/error.hpp>

#include "sockets.hpp"

#include <arpa/inet.h>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string>
#include <sys/un.h>
#include <unistd.h>

namespace troupe {

namespace {

SocketAddress resolve_path(const Address& address) {
  sockaddr_un path{};
  path.sun_family = AF_UNIX;
  const std::string& text = address.path();
  if (text.empty()) throw ValueError("the address of a listener is empty: give a path or {host, port}");
  if (text.size() >= sizeof path.sun_path)
    throw ValueError("the path \"" + address.to_string() + "\" is too long for a Unix socket: at most " +
                     std::to_string(sizeof path.sun_path - 1) + " bytes");
  std::memcpy(path.sun_path, text.data(), text.size());
  SocketAddress result;
  std::memcpy(&result.storage, &path, sizeof path);
  // The name of an abstract socket ends where the address does, a path with a NUL.
  result.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + text.size() + (address.is_abstract() ? 0 : 1));
  return result;
}

SocketAddress resolve_host(const Address& address) {
  addrinfo hints{};
  hints.ai_family = AF_INET;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(address.host().empty() ? "0.0.0.0" : address.host().c_str(), nullptr, &hints, &found);
  if (error != 0)
    throw OSError::from_text(error == EAI_SYSTEM ? errno : EADDRNOTAVAIL,
                             "finding host \"" + address.host() + "\": " + ::gai_strerror(error));
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner{found, ::freeaddrinfo};
  sockaddr_in inet{};
  std::memcpy(&inet, found->ai_addr, sizeof inet);
  inet.sin_port = htons(address.port());
  SocketAddress result;
  std::memcpy(&result.storage, &inet, sizeof inet);
  result.size = sizeof inet;
  return result;
}

}  // namespace

Address SocketAddress::to_address() const {
  if (family() == AF_INET) {
    sockaddr_in inet{};
    std::memcpy(&inet, &storage, sizeof inet);
    char text[INET_ADDRSTRLEN]{};
    ::inet_ntop(AF_INET, &inet.sin_addr, text, sizeof text);
    return Address{std::string(text), ntohs(inet.sin_port)};
  }
  sockaddr_un path{};
  std::memcpy(&path, &storage, sizeof path);
  if (size <= offsetof(sockaddr_un, sun_path)) return Address{std::string()};
  const std::size_t length = size - offsetof(sockaddr_un, sun_path);
  if (path.sun_path[0] == '\0') return Address{std::string(path.sun_path, length)};
  return Address{std::string(path.sun_path, ::strnlen(path.sun_path, length))};
}

SocketAddress resolve(const Address& address) {
  return address.family() == Family::af_inet ? resolve_host(address) : resolve_path(address);
}

SocketAddress bound_address(int socket) {
  SocketAddress bound;
  bound.size = sizeof bound.storage;
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&bound.storage), &bound.size) != 0)
    throw OSError(errno, "asking for the address of a socket");
  return bound;
}

FileDescriptor make_socket(int family, const Address& address) {
  FileDescriptor socket = above_standard(FileDescriptor{::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)});
  if (!socket) throw OSError(errno, "making a socket for " + address.to_string());
  return socket;
}

void send_at_once(int socket) noexcept {
  const int on = 1;
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

}  // namespace troupe
