#include <troupe/connection.hpp>
#include <troupe/error.hpp>
#include <troupe/pipe.hpp>
#include <troupe/store.hpp>
#include <troupe/wire_message.hpp>

#include "byte_ranges.hpp"
#include "connection_factory.hpp"
#include "link.hpp"
#include "pipe_link.hpp"
#include "stream_link.hpp"

#include <capnp/message.h>
#include <capnp/serialize.h>

#include <array>
#include <cerrno>
#include <limits>
#include <optional>
#include <span>
#include <string>

namespace troupe {

namespace {

constexpr const char* connection_kind = "connection";
/// A buffer that had to grow beyond this is not kept.
constexpr std::size_t kept_buffer_bytes = std::size_t{1} << 20;

// Every word may be visited a few times, never many.
capnp::ReaderOptions reader_limits(std::size_t words) {
  capnp::ReaderOptions limits;
  limits.traversalLimitInWords = 8 * words + std::size_t{64} * 1024;
  limits.nestingLimit = wire_nesting_limit;
  return limits;
}

// A flat message: the table of segments, then the segments.
class FlatPieces {
 public:
  explicit FlatPieces(kj::ArrayPtr<const kj::ArrayPtr<const capnp::word>> segments) {
    table_.push_back(static_cast<std::uint32_t>(segments.size() - 1));
    for (const auto& segment : segments) {
      if (segment.size() > std::numeric_limits<std::uint32_t>::max())
        throw CodecError("a value of more than 32 GiB cannot be sent");
      table_.push_back(static_cast<std::uint32_t>(segment.size()));
    }
    if (table_.size() % 2 == 1) table_.push_back(0);
    pieces_.push_back(std::as_bytes(std::span(table_)));
    for (const auto& segment : segments) pieces_.push_back(std::as_bytes(std::span(segment.begin(), segment.size())));
  }
  std::span<const Piece> get() const noexcept { return pieces_; }

 private:
  std::vector<std::uint32_t> table_;
  std::vector<Piece> pieces_;
};

void send_message(Link& link, capnp::MessageBuilder& message, std::span<const int> descriptors) {
  const auto segments = message.getSegmentsForOutput();
  if (segments.size() != 1) return link.send(FlatPieces{segments}.get(), descriptors);
  const std::array<std::uint32_t, 2> table{0, static_cast<std::uint32_t>(segments[0].size())};
  const std::array<Piece, 2> pieces{std::as_bytes(std::span(table)),
                                    std::as_bytes(std::span(segments[0].begin(), segments[0].size()))};
  link.send(pieces, descriptors);
}

}  // namespace

std::size_t num_link_descriptors(std::uint64_t form) {
  return StreamLink::is_form(form) ? StreamLink::num_descriptors(form) : PipeLink::num_descriptors(form);
}

std::unique_ptr<Link> make_link(std::uint64_t form, std::vector<FileDescriptor> descriptors) {
  return StreamLink::is_form(form) ? StreamLink::from_address(form, std::move(descriptors))
                                   : PipeLink::from_address(form, std::move(descriptors));
}

Connection::Connection() noexcept = default;
Connection::Connection(std::unique_ptr<Link> link) noexcept : link_(std::move(link)) {}
Connection::Connection(FileDescriptor descriptor, Direction direction)
    : link_(StreamLink::make(std::move(descriptor), direction)) {}
Connection::Connection(Connection&& other) noexcept = default;
Connection& Connection::operator=(Connection&& other) noexcept = default;
Connection::~Connection() = default;

std::pair<Connection, Connection> Pipe(Duplex duplex) {
  auto [first, second] = PipeLink::make(duplex == Duplex::yes);
  return {ConnectionFactory::make(std::move(first)), ConnectionFactory::make(std::move(second))};
}

Link& Connection::link() const {
  if (!link_) throw OSError(EBADF, "using a connection that is closed");
  return *link_;
}

Link& Connection::reader() const {
  if (!link().readable()) throw OSError::from_text(EBADF, "this end of the connection is for sending only");
  return *link_;
}

Link& Connection::writer() const {
  if (!link().writable()) throw OSError::from_text(EBADF, "this end of the connection is for receiving only");
  return *link_;
}

void Connection::close() noexcept { link_.reset(); }
bool Connection::readable() const { return link().readable(); }
bool Connection::writable() const { return link().writable(); }
int Connection::fileno() const { return link().fileno(); }
Connection Connection::copy() const { return Connection{link().copy()}; }
bool Connection::poll_until(Deadline deadline) { return reader().poll(deadline); }
bool Connection::has_data() const noexcept { return link_ && link_->readable() && link_->has_data(); }
int Connection::begin_wait() const { return reader().begin_wait(); }
void Connection::end_wait(int /*descriptor*/) const noexcept {
  if (link_ && link_->readable()) link_->end_wait();
}

void Connection::send_handle(int descriptor) { writer().send_handle(descriptor); }
FileDescriptor Connection::recv_handle() { return reader().receive_handle(); }

void Connection::send_encoded(const void* value, Encode write) {
  Link& link = writer();
  WrittenHandles handles;
  Scratch scratch;
  const auto words = scratch.words();
  capnp::MallocMessageBuilder message{kj::arrayPtr(reinterpret_cast<capnp::word*>(words.data()), words.size())};
  scratch.set_used(0);  // the message clears what it has used
  std::optional<OutgoingDescriptors> descriptors;
  if (link.carries_descriptors()) descriptors.emplace();
  write(value, message.initRoot<wire::Value>());
  send_message(link, message, descriptors ? descriptors->numbers() : std::span<const int>{});
  handles.sent();
}

void Connection::send_bytes(std::span<const std::byte> bytes, std::ptrdiff_t offset,
                            std::optional<std::ptrdiff_t> size) {
  Link& link = writer();
  const Piece piece = part_of(bytes, offset, size);
  link.send({&piece, 1}, {});
}

void Connection::receive(std::vector<std::byte>& out, std::optional<std::size_t> max_bytes,
                         std::vector<FileDescriptor>& descriptors) {
  Link& link = reader();
  if (link.receive(out, max_bytes, descriptors)) return;
  link_ = link.without_reading(std::move(link_));
  throw OSError::from_text(EMSGSIZE, "a message is longer than the given maximum; nothing more can be received");
}

void Connection::recv_decoded(void* value, Decode read) {
  std::vector<FileDescriptor> descriptors;
  // Another connection's codec may receive with this one while it decodes: then it finds an empty buffer.
  std::vector<std::byte> bytes = std::move(buffer_);
  receive(bytes, std::nullopt, descriptors);
  if (bytes.size() % sizeof(capnp::word) != 0)
    throw CodecError("expected a value from the connection; these are bytes, received by recv_bytes");
  const IncomingDescriptors incoming{std::move(descriptors)};
  const auto words =
      kj::arrayPtr(reinterpret_cast<const capnp::word*>(bytes.data()), bytes.size() / sizeof(capnp::word));
  guard_reading([&] {
    capnp::FlatArrayMessageReader message{words, reader_limits(words.size())};
    read(value, message.getRoot<wire::Value>());
  });
  if (bytes.capacity() <= kept_buffer_bytes) buffer_ = std::move(bytes);
}

std::vector<std::byte> Connection::recv_bytes(std::optional<std::ptrdiff_t> max_bytes) {
  std::vector<std::byte> bytes;
  std::vector<FileDescriptor> descriptors;
  receive(bytes, maximum_of(max_bytes), descriptors);
  return bytes;
}

std::size_t Connection::recv_bytes_into(std::span<std::byte> buffer, std::ptrdiff_t offset) {
  reader();
  const auto place = place_in(buffer, offset);
  return fill(place, recv_bytes());
}

void Codec<Connection>::encode(const Connection& connection, wire::Value::Builder out) {
  const LinkAddress link = connection.link().address();
  auto handle = out.initHandle();
  handle.setKind(connection_kind);
  auto address = handle.initAddress(2);
  address[0].setUint64(link.form);
  encode_descriptors(link.descriptors, address[1]);
}

Connection Codec<Connection>::decode(wire::Value::Reader in) {
  if (!in.isHandle() || in.getHandle().getKind() != connection_kind) detail::fail_shape("a connection", in);
  const auto address = in.getHandle().getAddress();
  if (address.size() != 2 || !address[0].isUint64())
    detail::fail_shape("a connection", in, "without an address of one");
  const std::uint64_t form = address[0].getUint64();
  return Connection{make_link(form, decode_descriptors(address[1], num_link_descriptors(form)))};
}

}  // namespace troupe
