// Any bytes as what comes through a connection: frames of a stream in pieces of any size, the messages of a handshake
// at either side, and the shared memory of a pipe. Only troupe's errors may come out, no memory is taken for what has
// not come, and nobody is let in who does not know the key.
//
//   cmake --preset fuzz && cmake --build --preset fuzz && ctest --preset fuzz
//   build/fuzz/tests/fuzz/connection_fuzz -max_total_time=60 tests/fuzz/corpus/connection

#include <troupe/error.hpp>

#include "connection_input.hpp"
#include "frame.hpp"
#include "handshake.hpp"
#include "lane.hpp"
#include "quiet_errors.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

namespace {

using troupe::Bytes;
using troupe::BytesView;
using troupe::FrameReader;
using troupe::Handshake;

/// Gives the frames of `input`, read in pieces of `piece` bytes, to `use`, until they end or are none.
template <class Use>
void read_frames(BytesView input, std::size_t piece, std::optional<std::uint64_t> max_bytes, Use use) {
  while (!input.empty()) {
    Bytes payload;
    FrameReader frame{payload, max_bytes};
    while (frame.state() == FrameReader::State::head || frame.state() == FrameReader::State::inside) {
      const auto room = frame.room();
      if (room.empty()) std::abort();
      const std::size_t size = std::min({room.size(), piece, input.size()});
      if (size == 0) return;
      std::ranges::copy(input.first(size), room.begin());
      frame.advance(size);
      input = input.subspan(size);
      // At most as much again as has come, and the first part.
      if (payload.size() > 2 * 65536 + 2 * (payload.size() - frame.room().size())) std::abort();
      if (frame.state() == FrameReader::State::complete) break;
      if (frame.state() == FrameReader::State::too_long || frame.state() == FrameReader::State::garbage) return;
    }
    use(payload);
  }
}

void shake_hands(BytesView input, Handshake::Side side) {
  const Bytes key(16, std::byte{7});
  Handshake handshake{side, key};
  handshake.take_output();
  try {
    read_frames(input, 100, troupe::max_handshake_bytes, [&](const Bytes& message) {
      handshake.receive(message);
      for (const Bytes& out : handshake.take_output())
        if (out.size() > troupe::max_handshake_bytes) std::abort();
    });
  } catch (const troupe::AuthenticationError&) {
  }
  if (handshake.is_done()) std::abort();  // the challenge is random: its answer cannot be in the input
}

void read_lane(BytesView input) {
  static troupe::LaneControl control;
  alignas(64) static std::byte data[troupe::lane_bytes];
  fuzz::LanePositions positions;
  if (input.size() < sizeof positions) return;
  std::memcpy(&positions, input.data(), sizeof positions);
  input = input.subspan(sizeof positions);
  control.tail = positions.tail;
  control.head = positions.head;
  control.reading_until = positions.reading_until;
  control.spoiled = positions.spoiled & 1;
  const std::size_t at = positions.head % troupe::lane_bytes;
  const std::size_t size = std::min(input.size(), troupe::lane_bytes - at);
  std::memcpy(data + at, input.data(), size);
  auto [here, there] = troupe::make_socket_pair("fuzzing");
  there.reset();
  troupe::LaneReader reader{&control, data, std::move(here)};
  troupe::Presence presence;
  Bytes message;
  std::vector<troupe::FileDescriptor> descriptors;
  try {
    for (int i = 0; i < 4; ++i)
      if (!reader.read(message, 1 << 20, descriptors, presence)) break;
  } catch (const troupe::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fuzz::NoStackTraces quiet;
  if (size < 2) return 0;
  const BytesView input = std::as_bytes(std::span(data + 2, size - 2));
  switch (data[0] % 5) {
    case fuzz::frames: read_frames(input, data[1] + std::size_t{1}, std::nullopt, [](const Bytes&) {}); break;
    case fuzz::frames_with_maximum:
      read_frames(input, data[1] + std::size_t{1}, 20, [](const Bytes& payload) {
        if (payload.size() > 20) std::abort();
      });
      break;
    case fuzz::listener: shake_hands(input, Handshake::Side::listener); break;
    case fuzz::client: shake_hands(input, Handshake::Side::client); break;
    case fuzz::lane: read_lane(input); break;
  }
  return 0;
}
