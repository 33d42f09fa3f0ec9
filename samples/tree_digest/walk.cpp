#include "walk.hpp"

#include <cerrno>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <string_view>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace tree_digest {
namespace {

struct CloseDirectory {
  void operator()(DIR* stream) const { ::closedir(stream); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

/// Null, with errno set, if it cannot be read.
Directory open_directory(const std::string& path, int flags) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | flags);
  if (descriptor < 0) return nullptr;
  Directory directory{::fdopendir(descriptor)};
  if (!directory) ::close(descriptor);
  return directory;
}

std::string join(const std::string& directory, std::string_view name) {
  std::string path = directory;
  if (!path.ends_with('/')) path += '/';
  return path.append(name);
}

std::string reason_of(int error) { return std::generic_category().message(error); }

/// Sorts the entries of `directory` into files, further directories and the rest.
void list(DIR* directory, const std::string& path, Tree& tree, std::vector<std::string>& directories) {
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(directory);
    if (entry == nullptr) {
      if (errno != 0) tree.unreadable.push_back({path, reason_of(errno)});
      return;
    }
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    if (entry->d_type != DT_REG && entry->d_type != DT_DIR && entry->d_type != DT_UNKNOWN) continue;
    std::string found = join(path, name);
    struct stat status{};
    if (::fstatat(::dirfd(directory), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) {
      tree.unreadable.push_back({std::move(found), reason_of(errno)});
    } else if (S_ISDIR(status.st_mode)) {
      directories.push_back(std::move(found));
    } else if (S_ISREG(status.st_mode)) {
      tree.files.push_back({std::move(found), static_cast<std::uint64_t>(status.st_size)});
    }
  }
}

}  // namespace

Tree walk(const std::string& root) {
  Tree tree;
  std::vector<std::string> directories;
  const Directory top = open_directory(root, 0);
  if (!top) throw std::system_error(errno, std::generic_category(), root);
  list(top.get(), root, tree, directories);
  while (!directories.empty()) {
    const std::string path = std::move(directories.back());
    directories.pop_back();
    if (const Directory directory = open_directory(path, O_NOFOLLOW)) {
      list(directory.get(), path, tree, directories);
    } else {
      tree.unreadable.push_back({path, reason_of(errno)});
    }
  }
  return tree;
}

}  // namespace tree_digest
