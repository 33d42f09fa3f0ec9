#pragma once

/// \file
/// Connections through sockets, between programs: Listener and Client, as in multiprocessing.connection. A Python
/// program can be at the other end; bytes (send_bytes, recv_bytes) are what both understand.
///
///     troupe::Listener listener{{"localhost", 6000}, {.authkey = "secret"}};       // one program
///     troupe::Connection connection = listener.accept();
///
///     troupe::Connection connection = troupe::Client({"localhost", 6000}, {.authkey = "secret"});   // another one

#include <troupe/address.hpp>
#include <troupe/bell.hpp>
#include <troupe/connection.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

namespace troupe {

/// The secret that both sides have to know. Never sent; each side proves to the other that it has it.
class AuthKey {
 public:
  AuthKey(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}
  AuthKey(std::string_view text);
  AuthKey(const char* text) : AuthKey(std::string_view(text)) {}
  const std::vector<std::byte>& bytes() const noexcept { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

struct ListenerOptions {
  Family family = Family::automatic;
  /// How many may have connected before they are accepted; the kernel refuses more. Python's default is 1, which has
  /// clients fail that come at once.
  int backlog = 64;
  /// None: whoever can connect is accepted.
  std::optional<AuthKey> authkey{};
  /// How long a client may take to prove the key. Others are served meanwhile.
  std::chrono::milliseconds handshake_timeout{10'000};
  /// How many may be about to prove it; for one more the oldest is sent away.
  std::size_t max_handshakes = 256;
};

/// Waits for clients at an address. Owns the socket; destroying it closes it, and removes the path of a Unix socket.
/// Movable. Thread: caller.
/// Source: docs/semantics.md "Connections".
class Listener {
 public:
  /// At a fresh path in the folder for temporary files; with Family::af_inet on this machine, at a free port.
  explicit Listener(ListenerOptions options = {});
  /// Errors of both: OSError (EADDRINUSE when somebody else is there); ValueError for a family that is not that of the
  /// address, an empty key, or a path longer than 107 bytes.
  explicit Listener(Address address, ListenerOptions options = {});
  Listener(Listener&&) noexcept;
  Listener& operator=(Listener&&) noexcept;
  ~Listener();

  /// The next client that has proved the key. Blocks: until there is one.
  /// Errors: of one client, after which others can be accepted: AuthenticationError when it does not know the key, says
  /// nothing for the timeout, or says what is no handshake; EOFError or OSError when it has gone. Of the listener:
  /// OSError, with EBADF after close.
  Connection accept() { return accept_until(no_deadline); }
  /// The same with a bound. Errors: TimeoutError as well; handshakes go on with the next call.
  template <class Rep, class Period>
  Connection accept(std::chrono::duration<Rep, Period> timeout) {
    return accept_until(deadline_after(timeout));
  }
  /// The same with a moment as the bound.
  Connection accept_until(Deadline deadline);

  /// Where it listens, the port known. Errors: OSError after close.
  const Address& address() const;
  /// Where the last accepted client came from; none before, and for Unix sockets.
  const std::optional<Address>& last_accepted() const;
  /// Readable when a client has connected; accept may still have to wait for its handshake.
  /// Errors: OSError after close.
  int fileno() const;
  bool closed() const noexcept { return state_ == nullptr; }
  /// Stops listening and sends away who has not proved the key. May be repeated.
  void close() noexcept;

 private:
  struct State;
  State& state() const;
  std::unique_ptr<State> state_;
};

struct ClientOptions {
  /// None: the listener asks for none.
  std::optional<AuthKey> authkey{};
  /// For connecting and the handshake, together. The listener may come to accept late.
  std::chrono::milliseconds timeout{30'000};
};

/// Connects to a Listener of this or another program. Blocks: until the listener has accepted, if there is a key.
/// Thread: any. Errors: OSError (ECONNREFUSED, ENOENT when nobody listens); AuthenticationError when one side does not
/// know the key; TimeoutError; EOFError when the listener has gone.
Connection Client(const Address& address, const ClientOptions& options = {});

/// One half of the handshake: asks the other side to prove that it knows `key`, for connections made in other ways.
/// Blocks: until it has answered. Thread: caller, of the connection.
/// Errors: AuthenticationError when it does not know it (it is told); those of the connection; OSError for an answer
/// longer than 256 bytes.
void deliver_challenge(Connection& connection, const AuthKey& key);
/// The other half: proves to the other side that this one knows `key`. Blocks: until that is content.
/// Errors: AuthenticationError when it is not, or when what it asks is no challenge.
void answer_challenge(Connection& connection, const AuthKey& key);

}  // namespace troupe
