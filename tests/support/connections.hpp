#pragma once

// What the tests of connections share.

#include <cstddef>
#include <span>
#include <string>

namespace troupe::test {

inline std::string to_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace troupe::test
