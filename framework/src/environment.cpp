#include "environment.hpp"

#include <functional>
#include <string_view>
#include <unistd.h>

namespace troupe {

std::vector<const char*> environment_entries() {
  std::vector<const char*> entries;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) entries.push_back(*entry);
  return entries;
}

std::uint64_t environment_hash() {
  std::uint64_t hash = 0;
  for (const char* entry : environment_entries()) hash = hash * 1099511628211U + std::hash<std::string_view>{}(entry);
  return hash;
}

}  // namespace troupe
