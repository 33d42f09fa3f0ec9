#include "handshake_channel.hpp"

#include <troupe/error.hpp>

#include <algorithm>
#include <cerrno>
#include <sys/socket.h>

namespace troupe {

HandshakeChannel::HandshakeChannel(int socket, Handshake::Side side, BytesView key, std::string peer)
    : socket_(socket), peer_(std::move(peer)), handshake_(side, key), frame_(payload_, max_handshake_bytes) {
  send_output();
}

// What a handshake sends in all fits any socket's buffer; a socket that takes no more has a peer that plays games.
void HandshakeChannel::send_output() {
  for (const Bytes& message : handshake_.take_output()) {
    const FrameHead head = frame_head(message.size());
    Bytes frame(head.size + message.size());
    std::ranges::copy(message, std::ranges::copy(head.get(), frame.begin()).out);
    const ssize_t size = ::send(socket_, frame.data(), frame.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (size != static_cast<ssize_t>(frame.size()))
      throw OSError(size < 0 ? errno : EAGAIN, "sending a handshake to " + peer_);
  }
}

void HandshakeChannel::take_message() {
  try {
    handshake_.receive(payload_);
  } catch (const AuthenticationError& error) {
    send_output();  // it is told
    throw AuthenticationError(peer_ + ": " + error.what());
  }
  send_output();
  frame_ = FrameReader{payload_, max_handshake_bytes};
}

bool HandshakeChannel::advance() {
  while (!handshake_.is_done()) {
    const auto room = frame_.room();
    const ssize_t size = ::recv(socket_, room.data(), room.size(), MSG_DONTWAIT);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return false;
    if (size < 0) throw OSError(errno, "receiving a handshake from " + peer_);
    if (size == 0) throw EOFError(peer_ + " has closed the connection before the end of the handshake");
    frame_.advance(static_cast<std::size_t>(size));
    switch (frame_.state()) {
      case FrameReader::State::complete: take_message(); break;
      case FrameReader::State::too_long:
      case FrameReader::State::garbage: throw AuthenticationError(peer_ + " sends what is no message of a handshake");
      default: break;
    }
  }
  return true;
}

}  // namespace troupe
