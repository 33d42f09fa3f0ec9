#include "nursery.hpp"

#include <troupe/error.hpp>
#include <troupe/process.hpp>
#include <troupe/store.hpp>

#include "processes.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <fstream>
#include <ranges>
#include <set>
#include <stdexcept>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace troupe::test {

std::vector<pid_t> children_of(pid_t pid) {
  std::vector<pid_t> children;
  for (const auto& task : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task")) {
    std::ifstream file{task.path() / "children"};
    for (pid_t child = 0; file >> child;) children.push_back(child);
  }
  return children;
}

pid_t nursery_pid() {
  const auto children = children_of(::getpid());
  if (children.size() != 1)
    throw std::runtime_error("this program has " + std::to_string(children.size()) + " children, not just the nursery");
  return children.front();
}

pid_t pid_of_starting_nursery() {
  auto [mine, theirs] = make_line();
  Process process{ProcessOptions{.start_method = StartMethod::forkserver},
                  [](const FileDescriptor& line) { send_text(line, std::to_string(::getppid())); }, std::move(theirs)};
  process.start();
  const pid_t pid = std::stoi(receive_text(mine));
  process.join();
  return pid;
}

std::size_t num_descriptors() {
  return static_cast<std::size_t>(std::ranges::distance(std::filesystem::directory_iterator("/proc/self/fd")));
}

std::vector<std::filesystem::path> descriptors_of(pid_t pid, const std::string& name) {
  std::vector<std::filesystem::path> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd")) {
    std::error_code gone;
    if (std::filesystem::read_symlink(entry, gone).string().find(name) != std::string::npos) found.push_back(entry);
  }
  return found;
}

std::uint64_t memory_of(const std::vector<std::filesystem::path>& descriptors) {
  constexpr std::uint64_t block_bytes = 512;
  std::set<std::pair<dev_t, ino_t>> seen;
  std::uint64_t bytes = 0;
  for (const auto& path : descriptors) {
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
    if (!seen.emplace(status.st_dev, status.st_ino).second) continue;
    bytes += static_cast<std::uint64_t>(status.st_blocks) * block_bytes;
  }
  return bytes;
}

// It answers that there is nothing under a ticket when it has read everything.
void wait_for_nursery() { EXPECT_THROW(store::withdraw(1), OSError); }

void push_out_what_is_loose() {
  const int number = STDERR_FILENO;
  for (std::size_t i = 0; i < store::max_loose; ++i) store::deposit({&number, 1});
  wait_for_nursery();
}

}  // namespace troupe::test
