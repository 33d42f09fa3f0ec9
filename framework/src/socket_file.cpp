#include <troupe/socket_file.hpp>

#include "self.hpp"

#include <filesystem>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace troupe {

namespace {

// Of the socket or folder; 0: there is none.
ino_t inode_of(const std::string& path) {
  struct stat status{};
  return ::lstat(path.c_str(), &status) == 0 ? status.st_ino : 0;
}

}  // namespace

SocketFile::SocketFile(const std::string& path, const std::string& folder)
    : path_(std::filesystem::absolute(path).native()),
      folder_(folder.empty() ? "" : std::filesystem::absolute(folder).native()),
      inode_(inode_of(path_)),
      folder_inode_(folder_.empty() ? 0 : inode_of(folder_)),
      maker_(::getpid()) {
  tell_nursery([&](NurseryLink& nursery) {
    if (!folder_.empty()) nursery.make_name(folder_, folder_inode_);
    nursery.make_name(path_, inode_);
  });
}

SocketFile::~SocketFile() {
  if (path_.empty() || ::getpid() != maker_) return;
  if (inode_of(path_) == inode_) ::unlink(path_.c_str());
  if (!folder_.empty()) ::rmdir(folder_.c_str());
  tell_nursery([&](NurseryLink& nursery) {
    nursery.unlink_name(path_, inode_);
    if (!folder_.empty()) nursery.unlink_name(folder_, folder_inode_);
  });
}

void SocketFile::swap(SocketFile& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(folder_, other.folder_);
  std::swap(inode_, other.inode_);
  std::swap(folder_inode_, other.folder_inode_);
  std::swap(maker_, other.maker_);
}

}  // namespace troupe
