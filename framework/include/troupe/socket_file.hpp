#pragma once

/// \file
/// The file by which others find a Unix socket.

#include <string>
#include <sys/types.h>

namespace troupe {

/// Removes a socket's file when it goes, and the folder that was made for it. When the process is killed, and in the
/// end of the program, the nursery does. Only in the process that made it; a file that has taken its place is left alone.
/// Movable. Thread: caller.
class SocketFile {
 public:
  SocketFile() = default;
  /// Of a socket that this process has just bound to `path`, in `folder` if that is to go as well. Without a Runtime
  /// nobody removes it after a kill.
  explicit SocketFile(const std::string& path, const std::string& folder = {});
  SocketFile(SocketFile&& other) noexcept { swap(other); }
  SocketFile& operator=(SocketFile other) noexcept {
    swap(other);
    return *this;
  }
  ~SocketFile();

 private:
  void swap(SocketFile& other) noexcept;

  std::string path_;    // absolute; empty: none
  std::string folder_;  // absolute; empty: none
  ino_t inode_ = 0;     // of the socket
  ino_t folder_inode_ = 0;
  pid_t maker_ = 0;
};

}  // namespace troupe
