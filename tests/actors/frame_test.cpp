// The frames of streams as they are on the wire.

#include "frame.hpp"

#include <troupe/connection.hpp>
#include <troupe/file_descriptor.hpp>

#include "support/connections.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <string>
#include <sys/socket.h>
#include <unistd.h>

namespace {

using namespace troupe;
using test::to_text;
using namespace std::string_literals;

std::string head_of(std::uint64_t bytes) { return to_text(frame_head(bytes).get()); }

// The length is a signed number of 4 bytes; from 2^31 on -1, and then the length in 8.
TEST(Frame, HeadsChangeTheirFormAt2To31) {
  EXPECT_EQ(head_of(0), "\0\0\0\0"s);
  EXPECT_EQ(head_of(0x7fff'ffff), "\x7f\xff\xff\xff"s);
  EXPECT_EQ(head_of(0x8000'0000), "\xff\xff\xff\xff\0\0\0\0\x80\0\0\0"s);
  EXPECT_EQ(head_of(0x1'0000'0005), "\xff\xff\xff\xff\0\0\0\x01\0\0\0\x05"s);
}

// The long form is read whatever the length.
TEST(Frame, TheLongFormMayBringAShortMessage) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  const FileDescriptor raw{ends[0]};
  Connection connection{FileDescriptor{ends[1]}};
  const std::string frames = "\xff\xff\xff\xff\0\0\0\0\0\0\0\x05hello\0\0\0\x04next"s;
  ASSERT_EQ(::write(raw.get(), frames.data(), frames.size()), static_cast<ssize_t>(frames.size()));
  EXPECT_EQ(to_text(connection.recv_bytes()), "hello");
  EXPECT_EQ(to_text(connection.recv_bytes()), "next");
}

}  // namespace
