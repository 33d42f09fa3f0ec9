#pragma once

/// \file
/// Named blocks that several programs use, each with a nursery of its own: the name goes when the last of them is done.
///
/// Each program that has opened what another one made holds a shared lock (flock) on the file. The program that made it
/// marks it when it has no more use for it, and then removes the name if nobody holds such a lock. Whoever gives a lock
/// up looks for the mark afterwards, and does the same. So one of them does it, whatever the order. Programs without
/// troupe hold no lock; the last one of ours sees in /proc that they have the file mapped, and leaves them the name.

#include <troupe/file_descriptor.hpp>

#include <cstdint>
#include <string>
#include <sys/stat.h>
#include <sys/types.h>

namespace troupe {

/// What the kernel says of the file of a named block. Errors: OSError.
struct stat status_of(const FileDescriptor& file);

/// What has become of the name of a block that this program uses no more.
enum class NameEnd {
  kept,    // it is not ours to remove, or other programs of troupe do that later
  removed,
  in_use,  // a program without troupe has the block mapped
};

/// This program's use of a file that another one has made, as far as those know of each other that use troupe.
/// Movable. Thread: caller.
class NameShare {
 public:
  NameShare() = default;
  /// Empty with an errno when the file cannot be opened; ENOENT also when it is just being removed.
  explicit NameShare(const std::string& path) noexcept;

  explicit operator bool() const noexcept { return static_cast<bool>(file_); }
  std::uint64_t inode() const;
  /// Gives it up, and removes the name if its maker has left it to others and this was the last. What `main_process`
  /// has mapped, that of this program, does not count.
  NameEnd end(const std::string& path, pid_t main_process);

 private:
  FileDescriptor file_;
};

/// For the program that made the file `inode` and does not use it any more: removes its name, or leaves that to the
/// others that use it. See NameShare::end.
NameEnd remove_or_leave(const std::string& path, std::uint64_t inode, pid_t main_process);

}  // namespace troupe
