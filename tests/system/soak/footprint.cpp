#include "footprint.hpp"

#include "support/nursery.hpp"
#include "support/pools.hpp"
#include "support/processes.hpp"
#include "verdict.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <sys/types.h>
#include <tuple>
#include <unistd.h>

namespace troupe::test {

namespace {

using namespace std::chrono_literals;

std::string folder_of(pid_t pid, const char* name) { return "/proc/" + std::to_string(pid) + "/" + name; }

std::size_t count_entries(const std::string& folder) {
  return static_cast<std::size_t>(std::ranges::distance(std::filesystem::directory_iterator(folder)));
}

long resident_kib(pid_t pid) {
  std::ifstream file{folder_of(pid, "statm")};
  long size = 0;
  long resident = 0;
  file >> size >> resident;
  return resident * (::sysconf(_SC_PAGESIZE) / 1024);
}

// What it prints may go to a file in memory, which is not what it keeps for others.
std::uint64_t kept_bytes(pid_t nursery) {
  auto descriptors = descriptors_of(nursery);
  std::erase_if(descriptors, [](const auto& path) { return std::stoi(path.filename()) <= STDERR_FILENO; });
  return memory_of(descriptors);
}

Footprint footprint() {
  const pid_t nursery = nursery_pid();
  return {.descriptors = num_descriptors(),
          .threads = count_entries("/proc/self/task"),
          .processes = 1 + children_of(nursery).size(),
          .nursery_descriptors = count_entries(folder_of(nursery, "fd")),
          .resident_kib = resident_kib(::getpid()),
          .nursery_resident_kib = resident_kib(nursery),
          .kept_kib = static_cast<long>(kept_bytes(nursery) / 1024)};
}

}  // namespace

bool Footprint::same_counts(const Footprint& before, std::size_t slack) const {
  return std::tie(descriptors, threads, processes) == std::tie(before.descriptors, before.threads, before.processes) &&
         (nursery_descriptors == before.nursery_descriptors ||
          (slack > 0 && nursery_descriptors <= before.nursery_descriptors + slack));
}

std::string Footprint::text() const {
  std::ostringstream out;
  out << descriptors << " descriptors, " << threads << " threads, " << processes << " processes, " << resident_kib
      << " KiB; nursery: " << nursery_descriptors << " descriptors, " << nursery_resident_kib << " KiB, keeps "
      << kept_kib << " KiB";
  return out.str();
}

Footprint settled(std::size_t processes) {
  constexpr auto calm = 100ms;
  Footprint now = footprint();
  auto since = std::chrono::steady_clock::now();
  static_cast<void>(comes_true(
      [&] {
        const Footprint before = now;
        now = footprint();
        if (now.processes != processes || !now.same_counts(before)) since = std::chrono::steady_clock::now();
        return std::chrono::steady_clock::now() - since > calm;
      },
      patience));
  return now;
}

}  // namespace troupe::test
