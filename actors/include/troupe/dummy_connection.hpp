#pragma once

/// \file
/// Pipes, connections and listeners between threads of this process, under the names of connection.hpp, pipe.hpp and
/// listener.hpp: multiprocessing.dummy. Included by dummy.hpp. Values are handed over as they are, whether or not they
/// could travel to another process.

#include <troupe/bell.hpp>
#include <troupe/callable.hpp>
#include <troupe/error.hpp>
#include <troupe/pipe.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <variant>
#include <vector>

namespace troupe::dummy {

namespace detail {

/// A number that another type of number may be received as.
using Number = std::variant<std::monostate, std::int64_t, std::uint64_t, double>;

/// A message: a value of whatever type.
class Message {
 public:
  virtual ~Message() = default;
  virtual const std::type_info& type() const noexcept = 0;
  virtual void* value() noexcept = 0;
  virtual Number number() const noexcept = 0;
};

template <class T>
class MessageOf final : public Message {
 public:
  template <class U>
  explicit MessageOf(U&& value) : value_(std::forward<U>(value)) {}
  const std::type_info& type() const noexcept override { return typeid(T); }
  void* value() noexcept override { return &value_; }
  Number number() const noexcept override {
    if constexpr (std::is_same_v<T, bool> || !std::is_arithmetic_v<T>) {
      return {};
    } else if constexpr (std::is_floating_point_v<T>) {
      return static_cast<double>(value_);
    } else if constexpr (std::is_signed_v<T>) {
      return static_cast<std::int64_t>(value_);
    } else {
      return static_cast<std::uint64_t>(value_);
    }
  }

 private:
  T value_;
};

/// The number as a T; empty when it has no such value, or is none.
template <class T>
std::optional<T> number_as(const Number& number) {
  if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) {
    return std::visit(
        [](auto value) -> std::optional<T> {
          using Found = decltype(value);
          if constexpr (std::is_same_v<Found, std::monostate>) {
            return std::nullopt;
          } else if constexpr (std::is_floating_point_v<T>) {
            return static_cast<T>(value);
          } else if constexpr (std::is_floating_point_v<Found>) {
            return std::nullopt;
          } else {
            const T result = static_cast<T>(value);
            const bool same_sign = (result < T{}) == (value < Found{});
            return same_sign && static_cast<Found>(result) == value ? std::optional<T>(result) : std::nullopt;
          }
        },
        number);
  } else {
    return std::nullopt;
  }
}

/// One direction.
class Lane;

[[noreturn]] void fail_type(const std::type_info& expected, const std::type_info& found);

}  // namespace detail

/// One end. As troupe::Connection, but that it has no fileno, and does not travel but moves: into a dummy::Process,
/// into messages. What is sent waits without bound.
/// Thread: caller; one thread may send while another one receives.
class Connection {
 public:
  /// A closed one.
  Connection() noexcept;
  Connection(Connection&& other) noexcept;
  Connection& operator=(Connection&& other) noexcept;
  ~Connection();

  /// Sends a value, copied or moved; a view as what it views. Never blocks.
  /// Errors: OSError, with EPIPE if the other side is closed.
  template <class T>
  void send(T&& value) {
    using Kept = typename troupe::detail::Owned<std::decay_t<T>>::type;
    send_message(std::make_unique<detail::MessageOf<Kept>>(std::forward<T>(value)));
  }
  /// Receives a value; numbers also as another type of number that can have the value. Blocks: until one is there.
  /// Errors: EOFError when the other side is closed; TypeError when the message is no T: it is gone.
  template <class T>
  T recv() {
    const std::unique_ptr<detail::Message> message = recv_message();
    if (message->type() == typeid(T)) return std::move(*static_cast<T*>(message->value()));
    if (auto number = detail::number_as<T>(message->number())) return *std::move(number);
    detail::fail_type(typeid(T), message->type());
  }

  /// Bytes, as troupe::Connection sends and receives them, and with its errors.
  void send_bytes(std::span<const std::byte> bytes, std::ptrdiff_t offset = 0,
                  std::optional<std::ptrdiff_t> size = std::nullopt);
  void send_bytes(std::string_view text, std::ptrdiff_t offset = 0, std::optional<std::ptrdiff_t> size = std::nullopt) {
    send_bytes(std::as_bytes(std::span(text)), offset, size);
  }
  std::vector<std::byte> recv_bytes(std::optional<std::ptrdiff_t> max_bytes = std::nullopt);
  std::size_t recv_bytes_into(std::span<std::byte> buffer, std::ptrdiff_t offset = 0);

  /// Whether something can be received, the end of the messages included. Takes nothing. Never blocks.
  /// Errors of all polls: OSError after close, or if it cannot be read.
  bool poll() { return poll_until(Deadline::min()); }
  /// The same with a wait of at most `timeout`; a negative one acts as zero. Blocks.
  template <class Rep, class Period>
  bool poll(std::chrono::duration<Rep, Period> timeout) {
    return poll_until(deadline_after(timeout));
  }
  /// The same with a moment as the bound. Blocks.
  bool poll_until(Deadline deadline);

  /// What this end is for; as it was made, also when the other side is closed. Errors: OSError after close.
  bool readable() const;
  bool writable() const;
  bool closed() const noexcept { return closed_; }
  /// Closes this end. Again: nothing.
  void close() noexcept;
  /// Another object for the same end. Errors: OSError after close.
  Connection copy() const;

 private:
  friend std::pair<Connection, Connection> Pipe(Duplex duplex);
  Connection(std::shared_ptr<detail::Lane> in, std::shared_ptr<detail::Lane> out) noexcept;

  detail::Lane& in() const;
  detail::Lane& out() const;
  void require_open() const;
  void send_message(std::unique_ptr<detail::Message> message);
  std::unique_ptr<detail::Message> recv_message();

  std::shared_ptr<detail::Lane> in_;
  std::shared_ptr<detail::Lane> out_;
  bool closed_ = true;
};

/// As troupe::Pipe. Thread: any.
std::pair<Connection, Connection> Pipe(Duplex duplex = Duplex::yes);

/// Where a Listener listens. Copies are the same. Thread: any.
class Address {
 public:
  struct Backlog;
  explicit Address(std::shared_ptr<Backlog> backlog) noexcept : backlog_(std::move(backlog)) {}
  Backlog& backlog() const noexcept { return *backlog_; }
  bool operator==(const Address&) const = default;

 private:
  std::shared_ptr<Backlog> backlog_;
};

/// Waits for clients. Thread: caller.
class Listener {
 public:
  Listener();
  Listener(Listener&&) noexcept = default;
  Listener& operator=(Listener&& other) noexcept;
  ~Listener() { close(); }

  /// The next client. Blocks: until there is one. Errors: OSError after close; with a timeout TimeoutError.
  Connection accept() { return accept_until(no_deadline); }
  template <class Rep, class Period>
  Connection accept(std::chrono::duration<Rep, Period> timeout) {
    return accept_until(deadline_after(timeout));
  }
  Connection accept_until(Deadline deadline);
  /// Errors: OSError after close.
  Address address() const;
  bool closed() const noexcept { return backlog_ == nullptr; }
  /// May be repeated.
  void close() noexcept;

 private:
  std::shared_ptr<Address::Backlog> backlog_;
};

/// Connects to a listener; does not wait until it accepts. Thread: any. Errors: OSError when it is closed.
Connection Client(const Address& address);

}  // namespace troupe::dummy
