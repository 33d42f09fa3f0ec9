#pragma once

/// \file
/// Shared memory with a name of its own in /dev/shm (shm_open(3)), which programs of any language can open.

#include <troupe/file_descriptor.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace troupe {

/// Whether this can be the name of shared memory: 1..max_memory_name bytes without a slash, not "." nor "..".
bool is_memory_name(std::string_view name) noexcept;
inline constexpr std::size_t max_memory_name = 255;
/// The file that has the name.
std::string memory_path(const std::string& name);

/// One named block, open in this process. The nursery knows who has it open: when the last of those is killed, and at
/// the end of the program, it removes the name and says so on stderr. What another program made, or still has open, it
/// leaves to that, if that uses troupe too.
/// Movable. Thread: caller.
class NamedMemory {
 public:
  /// Makes a block of `bytes` zero bytes, at least 1. The name appears when all of it is there.
  /// Errors: OSError with EEXIST when the name is taken, ENOSPC, EFBIG, ...; ValueError for what cannot be a name;
  /// AssertionError without a Runtime.
  static NamedMemory create(const std::string& name, std::size_t bytes);
  /// Opens the block that has the name. Blocks: a round trip to the nursery.
  /// Errors: OSError with ENOENT when there is none; ValueError for what cannot be a name, or is empty;
  /// AssertionError without a Runtime.
  static NamedMemory open(const std::string& name);
  /// Removes the name; whoever has the block open can go on with it.
  /// Errors: OSError with ENOENT when there is no such name.
  void unlink() const;

  NamedMemory() = default;
  NamedMemory(NamedMemory&& other) noexcept = default;
  NamedMemory& operator=(NamedMemory&& other) noexcept;
  /// Closes it.
  ~NamedMemory() { close(); }

  /// Gives the memory up in this process; the name stays.
  void close() noexcept;
  bool is_open() const noexcept { return memory_.data() != nullptr; }
  const std::string& name() const noexcept { return name_; }
  std::byte* data() const noexcept { return memory_.data(); }
  std::size_t size_bytes() const noexcept { return bytes_; }

 private:
  NamedMemory(std::string name, const FileDescriptor& file, std::size_t bytes);

  std::string name_;
  std::uint64_t inode_ = 0;
  std::size_t bytes_ = 0;
  Mapping memory_;
};

}  // namespace troupe
