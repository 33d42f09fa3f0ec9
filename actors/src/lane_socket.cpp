#include "lane_socket.hpp"

#include <troupe/error.hpp>

#include "sockets.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <poll.h>
#include <string>
#include <sys/socket.h>
#include <unistd.h>

namespace troupe {

// What goes through the socket: single bytes wake, longer datagrams bring descriptors and the tag of their message.

// The mark is set after the byte was sent: whoever is killed in between has woken the sleeper all the same.
void LaneSocket::wake(Bell& bell, std::uint32_t seen) noexcept {
  const char token = 1;
  // Fails when the queue is full, and then the sleeper is awake anyhow; or when nobody is there.
  [[maybe_unused]] const auto sent = ::send(socket_.get(), &token, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
  bell.compare_exchange_strong(seen, (seen & ~state_bits) | rung);
}

LaneSocket::Woken LaneSocket::sleep(Deadline deadline) noexcept {
  pollfd event{.fd = socket_.get(), .events = POLLIN, .revents = 0};
  const int count = poll_until({&event, 1}, deadline);
  if (count == 0) return Woken::timeout;
  if (count < 0) return Woken::rung;
  drain();
  return (event.revents & (POLLHUP | POLLNVAL)) != 0 ? Woken::alone : Woken::rung;
}

bool LaneSocket::is_alone() const noexcept {
  pollfd event{.fd = socket_.get(), .events = 0, .revents = 0};
  return ::poll(&event, 1, 0) > 0 && (event.revents & (POLLHUP | POLLNVAL)) != 0;
}

void LaneSocket::drain() noexcept {
  while (take_in_one()) {
  }
}

bool LaneSocket::take_in_one() noexcept {
  std::array<std::byte, 8> bytes{};
  Arrived arrived;
  const auto size = receive_with_descriptors(socket_.get(), bytes, arrived.descriptors, MSG_DONTWAIT);
  if (size <= 0) return size < 0 && (errno == EINTR || errno == ECONNRESET);
  if (size < static_cast<std::ptrdiff_t>(sizeof arrived.tag) || arrived.descriptors.empty()) return true;
  std::memcpy(&arrived.tag, bytes.data(), sizeof arrived.tag);
  arrived_.push_back(std::move(arrived));
  return true;
}

void LaneSocket::send_descriptors(std::uint32_t tag, std::span<const int> numbers) {
  std::array<std::byte, sizeof tag> bytes{};
  std::memcpy(bytes.data(), &tag, sizeof tag);
  int error = 0;
  do {
    error = send_with_descriptors(socket_.get(), bytes, numbers, 0);
  } while (error == EINTR);
  // The other side has been closed with something unread in it: nobody is there.
  if (error == ECONNRESET) error = EPIPE;
  if (error != 0) throw OSError(error, "sending descriptors through a pipe");
}

std::vector<FileDescriptor> LaneSocket::take_descriptors(std::uint32_t tag, std::size_t count) {
  // No more than has to be: there may be no numbers left for the descriptors of later messages.
  auto place = std::ranges::find(arrived_, tag, &Arrived::tag);
  while (place == arrived_.end() && take_in_one()) place = std::ranges::find(arrived_, tag, &Arrived::tag);
  if (place != arrived_.end()) {
    std::vector<FileDescriptor> descriptors = std::move(place->descriptors);
    arrived_.erase(arrived_.begin(), place + 1);  // those before it belong to messages that were never finished
    if (descriptors.size() == count) return descriptors;
  }
  throw OSError(EMFILE, "receiving " + std::to_string(count) + " descriptors through a pipe");
}

}  // namespace troupe
