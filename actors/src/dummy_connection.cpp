#include <troupe/dummy_connection.hpp>

#include "byte_ranges.hpp"

#include <cerrno>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>

namespace troupe::dummy {

namespace detail {

// A queue whose two sides know of each other's end. Thread: any.
class Lane {
 public:
  enum class Side : std::uint8_t { reader, writer };

  void join(Side side) {
    const std::lock_guard lock{mutex_};
    ++count(side);
  }
  void leave(Side side) {
    const std::lock_guard lock{mutex_};
    --count(side);
    changed_.notify_all();
  }
  void put(std::unique_ptr<Message> message) {
    const std::lock_guard lock{mutex_};
    if (readers_ == 0) throw OSError(EPIPE, "sending through a pipe that nobody can read any more");
    messages_.push_back(std::move(message));
    changed_.notify_one();
  }
  std::unique_ptr<Message> get() {
    std::unique_lock lock{mutex_};
    changed_.wait(lock, [&] { return is_ready(); });
    if (messages_.empty()) throw EOFError("the other end of the pipe is closed");
    auto message = std::move(messages_.front());
    messages_.pop_front();
    return message;
  }
  bool wait(Deadline deadline) {
    std::unique_lock lock{mutex_};
    if (deadline == no_deadline) changed_.wait(lock, [&] { return is_ready(); });
    return is_ready() || changed_.wait_until(lock, deadline, [&] { return is_ready(); });
  }

 private:
  bool is_ready() const { return !messages_.empty() || writers_ == 0; }
  int& count(Side side) { return side == Side::reader ? readers_ : writers_; }

  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded:
  std::deque<std::unique_ptr<Message>> messages_;
  int readers_ = 0;
  int writers_ = 0;
};

void fail_type(const std::type_info& expected, const std::type_info& found) {
  throw TypeError("expected " + demangle(expected.name()) + " from the connection; the message is a " +
                  demangle(found.name()));
}

}  // namespace detail

using detail::Lane;
using Bytes = std::vector<std::byte>;

Connection::Connection() noexcept = default;

Connection::Connection(std::shared_ptr<Lane> in, std::shared_ptr<Lane> out) noexcept
    : in_(std::move(in)), out_(std::move(out)), closed_(false) {
  if (in_) in_->join(Lane::Side::reader);
  if (out_) out_->join(Lane::Side::writer);
}

Connection::Connection(Connection&& other) noexcept
    : in_(std::move(other.in_)), out_(std::move(other.out_)), closed_(std::exchange(other.closed_, true)) {}

Connection& Connection::operator=(Connection&& other) noexcept {
  if (this == &other) return *this;
  close();
  in_ = std::move(other.in_);
  out_ = std::move(other.out_);
  closed_ = std::exchange(other.closed_, true);
  return *this;
}

Connection::~Connection() { close(); }

void Connection::close() noexcept {
  if (const auto in = std::exchange(in_, nullptr)) in->leave(Lane::Side::reader);
  if (const auto out = std::exchange(out_, nullptr)) out->leave(Lane::Side::writer);
  closed_ = true;
}

Connection Connection::copy() const {
  require_open();
  return Connection{in_, out_};
}

void Connection::require_open() const {
  if (closed_) throw OSError(EBADF, "using a connection that is closed");
}

Lane& Connection::in() const {
  require_open();
  if (!in_) throw OSError::from_text(EBADF, "this end of the connection is for sending only");
  return *in_;
}

Lane& Connection::out() const {
  require_open();
  if (!out_) throw OSError::from_text(EBADF, "this end of the connection is for receiving only");
  return *out_;
}

bool Connection::readable() const {
  require_open();
  return in_ != nullptr;
}

bool Connection::writable() const {
  require_open();
  return out_ != nullptr;
}

void Connection::send_message(std::unique_ptr<detail::Message> message) { out().put(std::move(message)); }
std::unique_ptr<detail::Message> Connection::recv_message() { return in().get(); }
bool Connection::poll_until(Deadline deadline) { return in().wait(deadline); }

void Connection::send_bytes(std::span<const std::byte> bytes, std::ptrdiff_t offset,
                            std::optional<std::ptrdiff_t> size) {
  Lane& lane = out();
  const auto part = part_of(bytes, offset, size);
  lane.put(std::make_unique<detail::MessageOf<Bytes>>(Bytes(part.begin(), part.end())));
}

Bytes Connection::recv_bytes(std::optional<std::ptrdiff_t> max_bytes) {
  const auto limit = maximum_of(max_bytes);
  Bytes bytes = recv<Bytes>();
  if (!limit || bytes.size() <= *limit) return bytes;
  std::exchange(in_, nullptr)->leave(Lane::Side::reader);
  if (!out_) close();
  throw OSError::from_text(EMSGSIZE, "a message is longer than the given maximum; nothing more can be received");
}

std::size_t Connection::recv_bytes_into(std::span<std::byte> buffer, std::ptrdiff_t offset) {
  in();
  const auto place = place_in(buffer, offset);
  return fill(place, recv_bytes());
}

std::pair<Connection, Connection> Pipe(Duplex duplex) {
  const auto there = std::make_shared<Lane>();
  const auto back = duplex == Duplex::yes ? std::make_shared<Lane>() : nullptr;
  return {Connection{there, back}, Connection{back, there}};
}

// --- Listener and Client ---

struct Address::Backlog {
  std::mutex mutex;
  std::condition_variable changed;
  // Guarded:
  std::deque<Connection> clients;
  bool closed = false;
};

Listener::Listener() : backlog_(std::make_shared<Address::Backlog>()) {}

Listener& Listener::operator=(Listener&& other) noexcept {
  if (this == &other) return *this;
  close();
  backlog_ = std::move(other.backlog_);
  return *this;
}

void Listener::close() noexcept {
  const auto backlog = std::exchange(backlog_, nullptr);
  if (!backlog) return;
  std::deque<Connection> sent_away;
  const std::lock_guard lock{backlog->mutex};
  backlog->closed = true;
  sent_away.swap(backlog->clients);
}

Address Listener::address() const {
  if (!backlog_) throw OSError(EBADF, "using a listener that is closed");
  return Address{backlog_};
}

Connection Listener::accept_until(Deadline deadline) {
  if (!backlog_) throw OSError(EBADF, "using a listener that is closed");
  std::unique_lock lock{backlog_->mutex};
  const auto has_come = [&] { return !backlog_->clients.empty(); };
  if (deadline == no_deadline) backlog_->changed.wait(lock, has_come);
  if (!has_come() && !backlog_->changed.wait_until(lock, deadline, has_come))
    throw TimeoutError("no client has connected in time");
  Connection client = std::move(backlog_->clients.front());
  backlog_->clients.pop_front();
  return client;
}

Connection Client(const Address& address) {
  auto [theirs, mine] = Pipe();
  Address::Backlog& backlog = address.backlog();
  const std::lock_guard lock{backlog.mutex};
  if (backlog.closed) throw OSError(ECONNREFUSED, "connecting to a listener that is closed");
  backlog.clients.push_back(std::move(theirs));
  backlog.changed.notify_one();
  return std::move(mine);
}

}  // namespace troupe::dummy
