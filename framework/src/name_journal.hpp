#pragma once

/// \file
/// What the nursery knows of names, in memory that outlives it: a nursery that takes the place of one that was killed
/// reads there which names the processes had made or opened that died with it.

#include <troupe/file_descriptor.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <sys/types.h>
#include <vector>

namespace troupe {

/// Entries in slots of a memory file. Each is written by one call and lies within a page, so that it is there or not,
/// whenever the writer is killed. Thread: caller.
class NameJournal {
 public:
  struct Entry {
    std::string name;
    std::uint64_t inode = 0;
    bool is_ours = false;  // a process of the program made it
    uid_t maker = 0;       // who ran that process
    std::size_t slot = 0;
  };

  /// A new memory file for one. Errors: OSError.
  static FileDescriptor create();
  /// Whether anything was ever written.
  static bool is_used(const FileDescriptor& file) noexcept;

  explicit NameJournal(FileDescriptor file) : file_(std::move(file)) {}

  /// All entries that were written and not erased; to be read before anything is added.
  std::vector<Entry> read();
  /// Returns the slot. What does not fit, or finds no memory, is not kept: it is missed only if the nursery is killed.
  std::size_t add(const std::string& name, std::uint64_t inode, bool is_ours, uid_t maker) noexcept;
  void erase(std::size_t slot) noexcept;

 private:
  FileDescriptor file_;
  std::vector<std::size_t> free_;
  std::size_t num_slots_ = 0;
};

}  // namespace troupe
