// Writes the seed corpus of connection_fuzz. Run it again when frames, handshake or lanes change.
// Usage: connection_seeds DIR

#include "connection_input.hpp"
#include "frame.hpp"
#include "handshake.hpp"
#include "lane.hpp"

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <span>
#include <string>

namespace {

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string frame(const std::string& payload) { return text_of(troupe::frame_head(payload.size()).get()) + payload; }

/// A frame whose head announces more than comes.
std::string promise(std::uint64_t bytes) { return text_of(troupe::frame_head(bytes).get()) + "some"; }

std::string lane(fuzz::LanePositions positions, std::uint64_t bytes, std::uint32_t descriptors,
                 const std::string& message) {
  std::string text = text_of(std::as_bytes(std::span(&positions, 1)));
  text += text_of(std::as_bytes(std::span(&bytes, 1))) + text_of(std::as_bytes(std::span(&descriptors, 1)));
  return text + std::string(4, '\0') + message;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return std::cerr << "usage: connection_seeds DIR\n", 2;
  const std::filesystem::path folder = argv[1];
  const auto write = [&](const char* name, fuzz::Part part, char piece, const std::string& input) {
    std::ofstream{folder / name, std::ios::binary} << static_cast<char>(part) << piece << input;
  };
  const std::string mac(32, 'm');
  write("frames", fuzz::frames, 9, frame("hello") + frame("") + frame(std::string(300, 'x')));
  write("frame_byte_by_byte", fuzz::frames, 0, frame("hello") + frame("world"));
  write("frame_long_head", fuzz::frames, 99, promise(std::uint64_t{1} << 31));
  write("frame_absurd", fuzz::frames, 99, promise(std::uint64_t{1} << 62));
  write("frame_negative", fuzz::frames, 99, "\xff\xff\xff\xf0");
  write("frame_half_head", fuzz::frames, 99, std::string(3, '\0'));
  write("frame_below_maximum", fuzz::frames_with_maximum, 99, frame("twenty bytes, no more"));
  write("listener_bare_answer", fuzz::listener, 0, frame(mac.substr(16)));
  write("listener_named_answer", fuzz::listener, 0, frame("{sha256}" + mac));
  write("listener_unknown_digest", fuzz::listener, 0, frame("{sha1}" + mac));
  write("listener_http", fuzz::listener, 0, "GET / HTTP/1.1\r\n\r\n");
  write("client_old_challenge", fuzz::client, 0,
        frame("#CHALLENGE#" + mac.substr(12)) + frame("#WELCOME#") + frame(mac));
  write("client_named_challenge", fuzz::client, 0,
        frame("#CHALLENGE#{sha384}" + mac) + frame("#WELCOME#") + frame(mac));
  write("client_refused", fuzz::client, 0, frame("#CHALLENGE#{sha256}" + mac) + frame("#FAILURE#"));
  write("client_short_challenge", fuzz::client, 0, frame("#CHALLENGE#short"));
  write("lane_message", fuzz::lane, 0, lane({.tail = 64}, 5, 0, "hello"));
  write("lane_wraps", fuzz::lane, 0,
        lane({.tail = 2 * troupe::lane_bytes + 64, .head = 2 * troupe::lane_bytes - 64}, 80, 0, "hello"));
  write("lane_half", fuzz::lane, 0, lane({.tail = 128}, 5000, 0, "hello"));
  write("lane_descriptors", fuzz::lane, 0, lane({.tail = 64}, 5, 3, "hello"));
  write("lane_absurd", fuzz::lane, 0, lane({.tail = 64}, std::uint64_t{1} << 62, 0, "hello"));
  write("lane_tail_before_head", fuzz::lane, 0, lane({.tail = 64, .head = 128}, 5, 0, "hello"));
  write("lane_half_read", fuzz::lane, 0, lane({.tail = 64, .reading_until = 256}, 5, 0, "hello"));
}
