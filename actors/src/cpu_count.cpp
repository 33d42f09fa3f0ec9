#include "cpu_count.hpp"

#include <troupe/process_ref.hpp>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sched.h>
#include <string>
#include <unistd.h>

namespace troupe {

namespace {

/// The limit in one group's cpu.max: "max 100000", or microseconds of processor time and the period that they are for.
std::optional<int> limit_in(const std::filesystem::path& group) {
  std::ifstream file{group / "cpu.max"};
  long quota = 0;
  long period = 0;
  if (!(file >> quota >> period) || quota <= 0 || period <= 0) return std::nullopt;
  return static_cast<int>((quota + period - 1) / period);
}

}  // namespace

std::optional<int> detail::cgroup_cpu_limit(std::string_view membership, const std::filesystem::path& root) {
  constexpr std::string_view version_2 = "0::/";
  const std::size_t begin = membership.starts_with(version_2) ? 0 : membership.find("\n0::/");
  if (begin == std::string_view::npos) return std::nullopt;
  std::string_view path = membership.substr(membership.find('/', begin) + 1);
  path = path.substr(0, path.find('\n'));
  // A group can use no more than those that it lies in.
  std::optional<int> least;
  for (std::filesystem::path group = path;; group = group.parent_path()) {
    if (const auto limit = limit_in(root / group)) least = std::min(limit, least.has_value() ? least : limit);
    if (group.empty()) return least;
  }
}

int cpu_count() noexcept {
  cpu_set_t set;
  CPU_ZERO(&set);
  const bool has_affinity = ::sched_getaffinity(0, sizeof set, &set) == 0;
  int count = has_affinity ? CPU_COUNT(&set) : static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN));
  try {
    std::ifstream file{"/proc/self/cgroup"};
    const std::string membership{std::istreambuf_iterator<char>{file}, {}};
    if (const auto limit = detail::cgroup_cpu_limit(membership)) count = std::min(count, *limit);
  } catch (const std::exception&) {  // no memory for a path: then without that limit
  }
  return std::max(1, count);
}

}  // namespace troupe
