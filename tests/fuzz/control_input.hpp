#pragma once

/// \file
/// What an input of control_fuzz begins with: a byte that says what the rest is.

#include <cstdint>

namespace fuzz {

enum ControlPart : std::uint8_t { requests = 0, launch = 1, launch_file = 2, reply = 3, exit_report = 4 };

/// Before each of the requests. One of no bytes: the sender has ended.
struct RequestHead {
  std::uint16_t bytes = 0;
  std::uint8_t descriptors = 0;  // that came along
  std::uint8_t sender = 0;       // as a pid
};

}  // namespace fuzz
