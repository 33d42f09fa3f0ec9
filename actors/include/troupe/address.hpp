#pragma once

/// \file
/// Where a Listener listens.

#include <troupe/fields.hpp>

#include <cstddef>
#include <cstdint>
#include <ostream>
#include <string>

namespace troupe {

enum class Family : std::uint8_t {
  automatic,  ///< as the address says; without an address a Unix socket
  af_unix,
  af_inet,
};

/// A path of a Unix socket, a name of an abstract one (it begins with a NUL), or a host and port of TCP over IPv4. Can
/// travel. Thread: as an int.
class Address {
 public:
  /// None yet.
  Address() = default;
  /// Errors of both: ValueError for the name of a Windows pipe.
  Address(std::string path);
  /// A literal, with the NULs that it holds: "\0name".
  template <std::size_t N>
  Address(const char (&path)[N]) : Address(std::string(path, N - 1)) {}
  /// `host` is a name or four numbers; port 0 has the system choose one.
  Address(std::string host, std::uint16_t port) : host_(std::move(host)), port_(port), family_(Family::af_inet) {}

  Family family() const noexcept { return family_; }
  const std::string& path() const noexcept { return path_; }
  const std::string& host() const noexcept { return host_; }
  std::uint16_t port() const noexcept { return port_; }
  bool is_abstract() const noexcept { return path_.starts_with('\0'); }

  /// "/tmp/socket", "@name" for an abstract one, "127.0.0.1:8000".
  std::string to_string() const;
  friend std::ostream& operator<<(std::ostream& out, const Address& address) { return out << address.to_string(); }
  bool operator==(const Address&) const = default;

 private:
  std::string path_;
  std::string host_;
  std::uint16_t port_ = 0;
  Family family_ = Family::automatic;
  TROUPE_FIELDS(path_, host_, port_, family_)
};

}  // namespace troupe
