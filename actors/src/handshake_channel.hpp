#pragma once

/// \file
/// A handshake on a socket: what has arrived goes in, what comes out is sent, nothing ever blocks.

#include <troupe/file_descriptor.hpp>

#include "frame.hpp"
#include "handshake.hpp"

#include <string>

namespace troupe {

/// Thread: caller. Stays where it is.
class HandshakeChannel {
 public:
  /// Borrows `socket`. `peer` names the other side in errors. Errors: OSError when it has gone.
  HandshakeChannel(int socket, Handshake::Side side, BytesView key, std::string peer);
  HandshakeChannel(const HandshakeChannel&) = delete;
  HandshakeChannel& operator=(const HandshakeChannel&) = delete;

  /// Goes on as far as it can; true when it is done. Call when the socket is readable.
  /// Errors: AuthenticationError; EOFError, OSError when the other side has gone.
  bool advance();
  const std::string& peer() const noexcept { return peer_; }

 private:
  void send_output();
  void take_message();

  int socket_;
  std::string peer_;
  Handshake handshake_;
  Bytes payload_;
  FrameReader frame_;
};

}  // namespace troupe
