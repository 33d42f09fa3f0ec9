#pragma once

/// \file
/// Finds the regular files of a directory tree.

#include <cstdint>
#include <string>
#include <vector>

namespace tree_digest {

/// A regular file as it was found.
struct File {
  std::string path;
  std::uint64_t bytes = 0;
};

/// A file or directory that could not be read, and why.
struct Unreadable {
  std::string path;
  std::string reason;
};

struct Tree {
  std::vector<File> files;
  std::vector<Unreadable> unreadable;
};

/// Every regular file under `root`, in no particular order. Symbolic links are not followed, but `root` may be one.
/// Names are bytes: any encoding will do. A hard-linked file is found under each of its names.
/// Errors: std::system_error naming `root` when it is no directory that can be read; what cannot be read below it is
/// listed in `unreadable`.
Tree walk(const std::string& root);

}  // namespace tree_digest
