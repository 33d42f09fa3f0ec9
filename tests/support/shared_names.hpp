#pragma once

/// \file
/// Names in /dev/shm, as tests see them.

#include "pools.hpp"

#include <chrono>
#include <filesystem>
#include <string>
#include <unistd.h>
#include <vector>

namespace troupe::test {

/// What the names of a test begin with.
inline std::string new_prefix() {
  static int count = 0;
  return "troupe_faults_" + std::to_string(::getpid()) + "_" + std::to_string(++count) + "_";
}

inline std::vector<std::string> names_with(const std::string& prefix) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm"))
    if (entry.path().filename().string().starts_with(prefix)) names.push_back(entry.path().filename());
  return names;
}

/// Whether no such name is left a moment after the end of its maker.
inline bool become_gone(const std::string& prefix) {
#ifdef NDEBUG
  constexpr auto moment = std::chrono::seconds{1};
#else
  constexpr auto moment = std::chrono::seconds{5};
#endif
  return comes_true([&] { return names_with(prefix).empty(); }, moment);
}

}  // namespace troupe::test
