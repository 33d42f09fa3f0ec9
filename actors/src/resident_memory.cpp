#include "resident_memory.hpp"

#include <cstdio>
#include <memory>
#include <string>
#include <unistd.h>

namespace troupe::detail {

std::uint64_t resident_bytes(pid_t pid) noexcept {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file{
      std::fopen(("/proc/" + std::to_string(pid) + "/statm").c_str(), "re"), &std::fclose};
  unsigned long long total = 0;
  unsigned long long resident = 0;
  if (!file || std::fscanf(file.get(), "%llu %llu", &total, &resident) != 2) return 0;
  return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace troupe::detail
