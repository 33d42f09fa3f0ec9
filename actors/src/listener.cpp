// Listener: one socket that listens, and the clients that have connected and not yet proved the key. Nobody of them is
// waited for by itself: accept waits for all at once and returns the first that is done.

#include <troupe/error.hpp>
#include <troupe/listener.hpp>
#include <troupe/socket_file.hpp>

#include "handshake_channel.hpp"
#include "socket_address.hpp"
#include "sockets.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <limits>
#include <list>
#include <poll.h>
#include <unistd.h>
#include <utility>

namespace troupe {

namespace {

/// A folder for one socket. Errors: OSError.
std::string make_temporary_folder() {
  std::error_code error;
  auto folder = std::filesystem::temp_directory_path(error);
  if (error) folder = "/tmp";
  std::string name = (folder / "troupe-XXXXXX").native();
  if (::mkdtemp(name.data()) == nullptr)
    throw OSError(errno, "making a folder for the socket of a listener in " + folder.native());
  return name;
}

void check(const Address& address, const ListenerOptions& options) {
  if (options.family != Family::automatic && options.family != address.family())
    throw ValueError("the family given for a listener is not that of its address " + address.to_string());
  if (options.authkey && options.authkey->bytes().empty())
    throw ValueError("the key of a listener is empty: leave it out to accept everybody");
}

}  // namespace

struct Listener::State {
  struct Guest {
    Guest(FileDescriptor its_socket, BytesView key, std::string peer, std::optional<Address> its_address,
          Deadline its_deadline)
        : socket(std::move(its_socket)),
          address(std::move(its_address)),
          deadline(its_deadline),
          channel(socket.get(), Handshake::Side::listener, key, std::move(peer)) {}
    FileDescriptor socket;
    std::optional<Address> address;
    Deadline deadline;
    HandshakeChannel channel;
  };

  ListenerOptions options;
  FileDescriptor socket;
  Address address;
  std::optional<Address> last_accepted;
  SocketFile file;          // if it is one
  std::list<Guest> guests;  // oldest first
  std::size_t full_at = std::numeric_limits<std::size_t>::max();  // with so many guests there was no descriptor left

  explicit State(ListenerOptions its_options) : options(std::move(its_options)) {}
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { socket.reset(); }

  /// `folder`: was made for the socket.
  void open(const Address& where, const std::string& folder = {});
  std::optional<Connection> welcome();
  std::optional<Connection> advance(std::list<Guest>::iterator guest);
  void send_late_ones_away();
  Deadline first_deadline(Deadline deadline) const;
};

void Listener::State::open(const Address& where, const std::string& folder) {
  const SocketAddress target = resolve(where);
  socket = make_socket(target.family(), where);
  if (target.family() == AF_INET) {
    const int on = 1;
    ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  }
  if (::bind(socket.get(), target.get(), target.size) != 0)
    throw OSError(errno, "binding a listener to " + where.to_string());
  if (where.family() == Family::af_unix && !where.is_abstract()) file = SocketFile{where.path(), folder};
  if (::listen(socket.get(), options.backlog) != 0) throw OSError(errno, "listening at " + where.to_string());
  // Another process that listens with a copy may have accepted the client that this one was woken for.
  ::fcntl(socket.get(), F_SETFL, O_NONBLOCK);
  address = bound_address(socket.get()).to_address();
}

// Takes in who has connected: as a connection if no key is needed, else as a guest.
std::optional<Connection> Listener::State::welcome() {
  SocketAddress from;
  from.size = sizeof from.storage;
  FileDescriptor guest = above_standard(FileDescriptor{
      ::accept4(socket.get(), reinterpret_cast<sockaddr*>(&from.storage), &from.size, SOCK_CLOEXEC)});
  if (!guest && (errno == EINTR || errno == EAGAIN || errno == ECONNABORTED)) return std::nullopt;
  if (!guest && !guests.empty() && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
    full_at = guests.size();
    return std::nullopt;
  }
  if (!guest) throw OSError(errno, "accepting a connection at " + address.to_string());
  full_at = std::numeric_limits<std::size_t>::max();
  std::optional<Address> client;
  if (from.family() == AF_INET) {
    send_at_once(guest.get());
    client = from.to_address();
  }
  if (!options.authkey) {
    last_accepted = std::move(client);
    return Connection{std::move(guest)};
  }
  const std::string peer = "the client at " + (client ? client->to_string() : address.to_string());
  guests.emplace_back(std::move(guest), options.authkey->bytes(), peer, std::move(client),
                      deadline_after(options.handshake_timeout));
  if (guests.size() <= options.max_handshakes) return std::nullopt;
  const std::string oldest = guests.front().channel.peer();
  guests.pop_front();
  throw AuthenticationError(oldest + " is sent away: it has not proved the key, and there are " +
                            std::to_string(options.max_handshakes) + " younger ones that have not");
}

std::optional<Connection> Listener::State::advance(std::list<Guest>::iterator guest) {
  try {
    if (!guest->channel.advance()) return std::nullopt;
  } catch (...) {
    guests.erase(guest);
    throw;
  }
  last_accepted = std::move(guest->address);
  Connection connection{std::move(guest->socket)};
  guests.erase(guest);
  return connection;
}

void Listener::State::send_late_ones_away() {
  if (guests.empty() || guests.front().deadline > std::chrono::steady_clock::now()) return;
  const std::string late = guests.front().channel.peer();
  guests.pop_front();
  throw AuthenticationError(late + " has not proved the key within " +
                            std::to_string(options.handshake_timeout.count()) + " ms");
}

Deadline Listener::State::first_deadline(Deadline deadline) const {
  return guests.empty() ? deadline : std::min(deadline, guests.front().deadline);
}

Listener::Listener(ListenerOptions options) : state_(std::make_unique<State>(std::move(options))) {
  if (state_->options.family == Family::af_inet) {
    const Address anywhere{"127.0.0.1", 0};
    check(anywhere, state_->options);
    state_->open(anywhere);
  } else {
    check("listener", state_->options);
    const std::string folder = make_temporary_folder();
    try {
      state_->open(Address{folder + "/listener"}, folder);
    } catch (...) {
      ::rmdir(folder.c_str());
      throw;
    }
  }
}

Listener::Listener(Address address, ListenerOptions options) : state_(std::make_unique<State>(std::move(options))) {
  check(address, state_->options);
  state_->open(address);
}

Listener::Listener(Listener&&) noexcept = default;
Listener& Listener::operator=(Listener&&) noexcept = default;
Listener::~Listener() = default;

Listener::State& Listener::state() const {
  if (!state_) throw OSError(EBADF, "using a listener that is closed");
  return *state_;
}

void Listener::close() noexcept { state_.reset(); }
const Address& Listener::address() const { return state().address; }
const std::optional<Address>& Listener::last_accepted() const { return state().last_accepted; }
int Listener::fileno() const { return state().socket.get(); }

Connection Listener::accept_until(Deadline deadline) {
  State& me = state();
  for (;;) {
    const int door = me.guests.size() < me.full_at ? me.socket.get() : -1;  // -1: not looked at
    std::vector<pollfd> events{{.fd = door, .events = POLLIN, .revents = 0}};
    for (const auto& guest : me.guests) events.push_back({.fd = guest.socket.get(), .events = POLLIN, .revents = 0});
    const int count = poll_until(events, me.first_deadline(deadline));
    if (count < 0 && errno != EINTR) throw OSError(errno, "waiting for clients at " + me.address.to_string());
    if (count < 0) continue;
    auto event = events.begin() + 1;
    for (auto guest = me.guests.begin(); event != events.end(); ++event) {
      const auto next = std::next(guest);
      if (event->revents != 0)
        if (auto connection = me.advance(guest)) return std::move(*connection);
      guest = next;
    }
    me.send_late_ones_away();  // first: it may be they who have the descriptors that the next client needs
    if (events.front().revents != 0)
      if (auto connection = me.welcome()) return std::move(*connection);
    if (count == 0 && is_over(deadline))
      throw TimeoutError("no client has connected to " + me.address.to_string() + " in time");
  }
}

}  // namespace troupe
