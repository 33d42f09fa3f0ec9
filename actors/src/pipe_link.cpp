#include "pipe_link.hpp"

#include <troupe/error.hpp>

#include "sockets.hpp"

#include <array>
#include <cerrno>
#include <new>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe {

namespace {

// The form of an address: which lanes there are, and what this end does with them.
constexpr std::uint64_t two_lanes = 1;
constexpr std::uint64_t reads = 2;
constexpr std::uint64_t reads_second = 4;
constexpr std::uint64_t writes = 8;
constexpr std::uint64_t writes_second = 16;
constexpr std::uint64_t all_bits = 31;

/// Before the rings.
constexpr std::size_t control_bytes = 4096;

constexpr std::size_t memory_bytes(unsigned lanes) { return control_bytes + lanes * lane_bytes; }

}  // namespace

/// The shared memory, as this process holds it; shared by all ends of the pipe that are in this process.
struct PipeLink::Memory {
  Memory(FileDescriptor its_file, unsigned its_lanes)
      : file(std::move(its_file)),
        lanes(its_lanes),
        mapping(file.get(), 0, memory_bytes(lanes), Mapping::Access::read_write, "a pipe") {}

  LaneControl* control(unsigned lane) const noexcept {
    return std::launder(reinterpret_cast<LaneControl*>(mapping.data())) + lane;
  }
  std::byte* data(unsigned lane) const noexcept { return mapping.data() + control_bytes + lane * lane_bytes; }

  FileDescriptor file;
  unsigned lanes;
  Mapping mapping;
};

/// Makes one descriptor readable while there is data: the socket for what comes, an event for what is there already.
struct PipeLink::Watch {
  explicit Watch(int socket) {
    epoll = above_standard(FileDescriptor{::epoll_create1(EPOLL_CLOEXEC)});
    event = above_standard(FileDescriptor{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)});
    if (!epoll || !event) throw OSError(errno, "making the fileno of a pipe");
    for (const int number : {socket, event.get()}) {
      epoll_event interest{.events = EPOLLIN, .data = {}};
      if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, number, &interest) != 0)
        throw OSError(errno, "making the fileno of a pipe");
    }
  }
  void set(bool wanted) noexcept {
    if (wanted == is_set) return;
    std::uint64_t count = 1;
    [[maybe_unused]] const auto size =
        wanted ? ::write(event.get(), &count, sizeof count) : ::read(event.get(), &count, sizeof count);
    is_set = wanted;
  }

  FileDescriptor epoll;
  FileDescriptor event;
  bool is_set = false;
};

PipeLink::PipeLink(std::shared_ptr<const Memory> memory) : memory_(std::move(memory)) {}

PipeLink::~PipeLink() {
  if (reader_) reader_->close();
  if (writer_) writer_->close();
}

void PipeLink::read_from(unsigned lane, FileDescriptor socket) {
  reader_lane_ = lane;
  reader_.emplace(memory_->control(lane), memory_->data(lane), std::move(socket));
}

void PipeLink::write_to(unsigned lane, FileDescriptor socket) {
  writer_lane_ = lane;
  writer_.emplace(memory_->control(lane), memory_->data(lane), std::move(socket));
}

std::pair<std::unique_ptr<Link>, std::unique_ptr<Link>> PipeLink::make(bool duplex) {
  const unsigned lanes = duplex ? 2 : 1;
  FileDescriptor file = create_memory_file("troupe-pipe", memory_bytes(lanes));
  const auto memory = std::make_shared<const Memory>(std::move(file), lanes);
  auto first = std::unique_ptr<PipeLink>(new PipeLink(memory));
  auto second = std::unique_ptr<PipeLink>(new PipeLink(memory));
  constexpr const char* purpose = "making the sockets of a pipe";
  auto [reading, writing] = make_socket_pair(purpose);
  first->read_from(0, std::move(reading));
  second->write_to(0, std::move(writing));
  if (duplex) {
    std::tie(reading, writing) = make_socket_pair(purpose);
    second->read_from(1, std::move(reading));
    first->write_to(1, std::move(writing));
  }
  return {std::move(first), std::move(second)};
}

std::size_t PipeLink::num_descriptors(std::uint64_t form) {
  const bool has_end = (form & (reads | writes)) != 0;
  const bool fits = (form & two_lanes) != 0 || (form & (reads_second | writes_second)) == 0;
  const bool one_way =
      (form & (reads | writes)) != (reads | writes) || ((form & reads_second) != 0) != ((form & writes_second) != 0);
  if (form > all_bits || !has_end || !fits || !one_way)
    throw CodecError("expected a connection; this is none of a pipe");
  return 1 + ((form & reads) != 0) + ((form & writes) != 0);
}

std::unique_ptr<Link> PipeLink::from_address(std::uint64_t form, std::vector<FileDescriptor> descriptors) {
  const unsigned lanes = (form & two_lanes) != 0 ? 2 : 1;
  struct stat status {};
  if (descriptors.size() != num_descriptors(form) || ::fstat(descriptors[0].get(), &status) != 0 ||
      static_cast<std::size_t>(status.st_size) != memory_bytes(lanes))
    throw CodecError("expected a connection; what came along is not the memory of a pipe");
  auto link = std::unique_ptr<PipeLink>(new PipeLink(std::make_shared<const Memory>(std::move(descriptors[0]), lanes)));
  std::size_t next = 1;
  if ((form & reads) != 0) link->read_from((form & reads_second) != 0 ? 1 : 0, std::move(descriptors[next++]));
  if ((form & writes) != 0) link->write_to((form & writes_second) != 0 ? 1 : 0, std::move(descriptors[next]));
  return link;
}

LinkAddress PipeLink::address() const {
  LinkAddress address{.form = memory_->lanes == 2 ? two_lanes : 0, .descriptors = {memory_->file.get()}};
  if (reader_) {
    address.form |= reads | (reader_lane_ == 1 ? reads_second : 0);
    address.descriptors.push_back(reader_->socket().get());
  }
  if (writer_) {
    address.form |= writes | (writer_lane_ == 1 ? writes_second : 0);
    address.descriptors.push_back(writer_->socket().get());
  }
  return address;
}

std::unique_ptr<Link> PipeLink::copy() const {
  auto other = std::unique_ptr<PipeLink>(new PipeLink(memory_));
  if (reader_) other->read_from(reader_lane_, duplicate(reader_->socket().get(), "copying a connection"));
  if (writer_) other->write_to(writer_lane_, duplicate(writer_->socket().get(), "copying a connection"));
  return other;
}

void PipeLink::close_reader() noexcept {
  watch_.reset();
  reader_->close();
  reader_.reset();
}

std::unique_ptr<Link> PipeLink::without_reading(std::unique_ptr<Link> self) {
  close_reader();
  return writer_ ? std::move(self) : nullptr;
}

void PipeLink::send(std::span<const Piece> pieces, std::span<const int> descriptors) {
  writer_->write(pieces, descriptors, presence_);
}

bool PipeLink::receive(std::vector<std::byte>& out, std::optional<std::size_t> max_bytes,
                       std::vector<FileDescriptor>& descriptors) {
  const bool read = reader_->read(out, max_bytes, descriptors, presence_);
  if (watch_) refresh_watch();
  return read;
}

bool PipeLink::poll(Deadline deadline) {
  const bool ready = reader_->wait(deadline, presence_) != LaneReader::Arrival::timeout;
  if (watch_) refresh_watch();
  return ready;
}

// The message that a handle comes with is empty.
void PipeLink::send_handle(int number) { send({}, {&number, 1}); }

FileDescriptor PipeLink::receive_handle() {
  std::vector<std::byte> nothing;
  std::vector<FileDescriptor> descriptors;
  if (!receive(nothing, std::nullopt, descriptors) || descriptors.size() != 1)
    throw OSError::from_text(EBADMSG, "expected a descriptor from the pipe; the next message brings none");
  return std::move(descriptors.front());
}

int PipeLink::begin_wait() {
  reader_->arm();
  return reader_->socket().get();
}

void PipeLink::end_wait() noexcept {
  reader_->disarm();
  reader_->socket().drain();
  if (watch_) refresh_watch();
}

int PipeLink::fileno() {
  if (!reader_) return writer_->socket().get();
  if (!watch_) {
    watch_ = std::make_unique<Watch>(reader_->socket().get());
    refresh_watch();
  }
  return watch_->epoll.get();
}

// Armed all the time, so that the next message comes with a byte through the socket.
void PipeLink::refresh_watch() noexcept {
  reader_->socket().drain();
  reader_->arm();
  watch_->set(reader_->has_data());
}

}  // namespace troupe
