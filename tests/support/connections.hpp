#pragma once

// What the tests of connections share.

#include <troupe/error.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace troupe::test {

inline std::string to_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// An offset outside of the buffer takes nothing; a message that does not fit behind it is given with the error.
template <class AnyConnection>
void expect_receives_behind_an_offset(std::pair<AnyConnection, AnyConnection> ends) {
  auto& [a, b] = ends;
  std::vector<std::byte> buffer(8);
  a.send_bytes("abcdef");
  EXPECT_THROW(b.recv_bytes_into(buffer, -1), ValueError);
  EXPECT_THROW(b.recv_bytes_into(buffer, 9), ValueError);
  EXPECT_EQ(b.recv_bytes_into(buffer, 2), 6U);
  a.send_bytes("ghijkl");
  try {
    b.recv_bytes_into(buffer, 3);
    FAIL() << "it does not fit";
  } catch (const BufferTooShort& error) {
    EXPECT_EQ(to_text(error.message()), "ghijkl");
  }
  EXPECT_EQ(to_text(buffer), std::string("\0\0abcdef", 8));
  a.send_bytes("");
  EXPECT_EQ(b.recv_bytes_into(buffer, 8), 0U);
}

}  // namespace troupe::test
