#pragma once

/// \file
/// One end of a way to send messages, with the interface of multiprocessing.connection.Connection.
///
///     auto [mine, theirs] = troupe::Pipe();          // pipe.hpp; or Listener and Client (listener.hpp)
///     troupe::Process process{work, std::move(theirs)};
///     process.start();
///     mine.send(std::vector{1, 2, 3});
///     auto answer = mine.recv<std::string>();

#include <troupe/bell.hpp>
#include <troupe/codec.hpp>
#include <troupe/codec_descriptor.hpp>
#include <troupe/file_descriptor.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace troupe {

class Link;

/// Sends and receives messages: values of every type that can travel, bytes, descriptors, other connections. Messages
/// arrive whole, once and in order. Owns its end; destroying it closes it. The other side sees the end of the messages
/// when all copies of this end, in whichever processes, are closed or have ended with their process, even by SIGKILL.
///
/// Movable; `copy` makes a second handle of the same end. A connection can be an argument of a process, an argument and
/// a result of tasks, and be sent over connections: the receiver gets a copy.
/// Thread: caller; one thread may send while another one receives. Errors of every call but `closed`, `close` and the
/// destructor: OSError with EBADF after close.
/// Source: docs/semantics.md "Connections".
class Connection {
 public:
  /// Which ways messages go.
  enum class Direction : std::uint8_t { read_only, write_only, read_write };

  /// A closed one.
  Connection() noexcept;
  /// Messages as frames of bytes through a socket, pipe or other descriptor, as Python's multiprocessing sends them.
  /// Errors: OSError with EBADF for what is no open descriptor.
  explicit Connection(FileDescriptor descriptor, Direction direction = Direction::read_write);
  Connection(Connection&& other) noexcept;
  Connection& operator=(Connection&& other) noexcept;
  ~Connection();

  /// Sends a value. Blocks: while the other side has no room for it and is there.
  /// Errors: CodecError if it cannot be encoded (nothing is sent); OSError, with EPIPE if the other side is closed.
  template <class T>
  void send(const T& value) {
    detail::require_codec<detail::Direction::encode, T>();
    send_encoded(&value, [](const void* it, wire::Value::Builder out) { encode(*static_cast<const T*>(it), out); });
  }
  void send(std::string_view text) { send<std::string_view>(text); }
  void send(const char* text) { send<std::string_view>(text); }

  /// Receives a value. Blocks: until one is there.
  /// Errors: EOFError when the other side is closed and everything it sent is received; OSError when it is closed in
  /// the middle of a message; CodecError when the message is no T: the message is gone, the connection goes on.
  template <class T>
  T recv() {
    static_assert(!ViewsMessage<T>,
                  "troupe: a received value must own what it holds, because the message does not stay: receive a "
                  "std::string or std::vector instead of a view");
    detail::require_codec<detail::Direction::decode, T>();
    std::optional<T> value;
    recv_decoded(&value, [](void* it, wire::Value::Reader in) {
      static_cast<std::optional<T>*>(it)->emplace(decode<T>(in));
    });
    return std::move(*value);
  }

  /// Sends bytes from `offset` on, `size` of them or all, as one message. Blocks: as send.
  /// Errors: ValueError when offset or size are negative or reach beyond the bytes; those of send.
  void send_bytes(std::span<const std::byte> bytes, std::ptrdiff_t offset = 0,
                  std::optional<std::ptrdiff_t> size = std::nullopt);
  void send_bytes(std::string_view text, std::ptrdiff_t offset = 0, std::optional<std::ptrdiff_t> size = std::nullopt) {
    send_bytes(std::as_bytes(std::span(text)), offset, size);
  }
  /// Receives one message of bytes. Blocks: until it is there.
  /// Errors: those of recv; ValueError for a negative `max_bytes`; OSError for a message longer than that, after which
  /// nothing can be received any more: one that could also send is write-only then, another one closed.
  std::vector<std::byte> recv_bytes(std::optional<std::ptrdiff_t> max_bytes = std::nullopt);
  /// The same into `buffer` from its byte `offset` on, the rest stays; returns the number of bytes received.
  /// Errors: those of recv_bytes; ValueError for an offset outside; BufferTooShort, which has the message.
  std::size_t recv_bytes_into(std::span<std::byte> buffer, std::ptrdiff_t offset = 0);

  /// Whether something can be received, the end of the messages included. Takes nothing. Never blocks.
  bool poll() { return poll_until(Deadline::min()); }
  /// The same with a wait of at most `timeout`; a negative one acts as zero.
  template <class Rep, class Period>
  bool poll(std::chrono::duration<Rep, Period> timeout) {
    return poll_until(deadline_after(timeout));
  }
  /// The same with a moment as the bound. Blocks: until then.
  bool poll_until(Deadline deadline);

  /// Sends a descriptor, which stays with the sender; the other side gets a copy. Blocks: as send.
  /// Errors: those of send; OSError where no descriptors can go: not a pipe and not a Unix socket.
  void send_handle(int descriptor);
  void send_handle(const FileDescriptor& descriptor) { send_handle(descriptor.get()); }
  /// Receives what send_handle sent. Blocks: until it is there. Errors: those of recv; OSError when what comes is no
  /// descriptor.
  FileDescriptor recv_handle();

  /// A descriptor for poll and epoll: readable while something can be received. It belongs to the connection, and is
  /// for nothing else. That of a pipe costs a few system calls per message from then on; `wait` (wait.hpp) does not.
  int fileno() const;

  /// Whether this end was made for receiving, for sending; also after the other side is closed.
  bool readable() const;
  bool writable() const;
  bool closed() const noexcept { return link_ == nullptr; }
  /// Gives up this end. May be repeated.
  void close() noexcept;
  /// Another handle of the same end. Errors: OSError.
  Connection copy() const;

  /// For `wait`: whether something can be received as far as the process itself can see; what becomes readable when
  /// that changes, from begin_wait (after which has_data is to be asked once more) to end_wait.
  bool has_data() const noexcept;
  int begin_wait() const;
  void end_wait(int descriptor) const noexcept;

 private:
  friend struct Codec<Connection>;
  friend class ConnectionFactory;
  using Encode = void (*)(const void* value, wire::Value::Builder out);
  using Decode = void (*)(void* value, wire::Value::Reader in);

  explicit Connection(std::unique_ptr<Link> link) noexcept;
  Link& link() const;
  Link& reader() const;
  Link& writer() const;
  void send_encoded(const void* value, Encode write);
  void recv_decoded(void* value, Decode read);
  void receive(std::vector<std::byte>& out, std::optional<std::size_t> max_bytes,
               std::vector<FileDescriptor>& descriptors);

  std::unique_ptr<Link> link_;
  std::vector<std::byte> buffer_;  // of recv, kept for the next one
};

/// The receiver gets a copy of the end. Errors: OSError when it is closed, or when too many were sent by tasks and not
/// received (store::max_loose).
template <>
struct Codec<Connection> {
  static void encode(const Connection& connection, wire::Value::Builder out);
  static Connection decode(wire::Value::Reader in);
};

}  // namespace troupe
