#include "proc_figures.hpp"

#include "figure.hpp"

#include <charconv>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <unistd.h>

namespace bench {

namespace {

std::ifstream open(const std::string& path) {
  std::ifstream file{path};
  if (!file) throw std::runtime_error("cannot read " + path);
  return file;
}

/// The parent of a process, 0 if the process has ended meanwhile. The name in the second field may hold anything, so
/// the fields are counted from its closing bracket.
pid_t parent_of(const std::string& pid) {
  std::ifstream file{"/proc/" + pid + "/stat"};
  std::string text;
  std::getline(file, text);
  const std::size_t bracket = text.rfind(')');
  if (bracket == std::string::npos) return 0;
  return static_cast<pid_t>(std::stol(text.substr(bracket + 4)));
}

void add_descendants(pid_t pid, const std::multimap<pid_t, pid_t>& children, std::vector<pid_t>& found) {
  const auto [first, last] = children.equal_range(pid);
  for (auto child = first; child != last; ++child) {
    add_descendants(child->second, children, found);
    found.push_back(child->second);
  }
}

}  // namespace

std::vector<pid_t> process_tree() {
  std::multimap<pid_t, pid_t> children;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    pid_t pid = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (error == std::errc{} && end == name.data() + name.size()) children.emplace(parent_of(name), pid);
  }
  std::vector<pid_t> tree;
  add_descendants(::getpid(), children, tree);
  tree.push_back(::getpid());
  return tree;
}

std::uint64_t cpu_nanoseconds(const std::vector<pid_t>& pids) {
  std::uint64_t total = 0;
  for (const pid_t pid : pids) {
    for (const auto& thread : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task")) {
      std::uint64_t used = 0;
      open(thread.path() / "schedstat") >> used;
      total += used;
    }
  }
  return total;
}

double idle_cpu_percent(std::size_t num_children) {
  constexpr std::chrono::seconds idle{3};
  std::this_thread::sleep_for(std::chrono::milliseconds{500});
  // This process is read last before and first afterwards, so that the reading itself does not count.
  std::vector<pid_t> others = process_tree();
  const std::vector<pid_t> self{others.back()};
  others.pop_back();
  expect(others.size() >= num_children, "fewer processes than there should be");
  std::uint64_t before = cpu_nanoseconds(others);
  before += cpu_nanoseconds(self);
  std::this_thread::sleep_for(idle);
  std::uint64_t after = cpu_nanoseconds(self);
  after += cpu_nanoseconds(others);
  return static_cast<double>(after - before) / std::chrono::duration<double, std::nano>(idle).count() * 100;
}

std::uint64_t private_bytes(pid_t pid) {
  std::ifstream file = open("/proc/" + std::to_string(pid) + "/smaps_rollup");
  std::uint64_t kilobytes = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("Private_")) kilobytes += std::stoull(line.substr(line.find(':') + 1));
  }
  return kilobytes * 1024;
}

std::uint64_t resident_bytes() {
  std::uint64_t total = 0;
  std::uint64_t resident = 0;
  open("/proc/self/statm") >> total >> resident;
  return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace bench
