#pragma once

/// \file
/// Owners of what the kernel hands out: descriptors and mapped memory.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

namespace troupe {

/// Owns one file descriptor and closes it. Thread: caller.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int number) noexcept : number_(number) {}
  FileDescriptor(FileDescriptor&& other) noexcept : number_(other.release()) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  ~FileDescriptor() { reset(); }

  /// The number, -1 when empty.
  int get() const noexcept { return number_; }
  explicit operator bool() const noexcept { return number_ >= 0; }
  /// Gives the descriptor away; this object is empty afterwards.
  int release() noexcept { return std::exchange(number_, -1); }
  /// Closes what is held and takes `number`.
  void reset(int number = -1) noexcept;

 private:
  int number_ = -1;
};

/// Moves a descriptor that landed on 0, 1 or 2, because the program had closed that, to a higher number: what is
/// printed must never end up in it. An empty one stays empty, and errno stays as it is. Thread: any.
FileDescriptor above_standard(FileDescriptor descriptor) noexcept;

/// Two connected SOCK_SEQPACKET sockets, closed on exec. Thread: any. Errors: OSError naming `purpose`.
std::pair<FileDescriptor, FileDescriptor> make_socket_pair(const char* purpose);

/// A new memfd of `bytes` zero bytes, closed on exec. `name`, as much of it as the system takes,
/// shows in /proc/<pid>/fd. Nothing appears in /dev/shm.
/// Thread: any. Errors: OSError naming the step.
FileDescriptor create_memory_file(const std::string& name, std::size_t bytes);

inline constexpr std::size_t memory_page_bytes = 4096;
constexpr std::size_t round_to_pages(std::size_t bytes) {
  return (bytes + memory_page_bytes - 1) / memory_page_bytes * memory_page_bytes;
}

/// Gets memory for a part of a memory file before it is touched: running out is an error here, and would be SIGBUS
/// later. 0, or the errno. Thread: any.
[[nodiscard]] int back_with_memory(int file, std::size_t offset, std::size_t bytes) noexcept;
/// Gives the memory of a part of a memory file back; it reads as zeros then. 0, or the errno. Thread: any.
int give_memory_back(int file, std::size_t offset, std::size_t bytes) noexcept;

/// Owns one mapping of memory and unmaps it. Thread: caller.
class Mapping {
 public:
  enum class Access : std::uint8_t { read_only, read_write };

  Mapping() = default;
  /// Maps `bytes` of `file` from `offset` on, shared. Both are multiples of the page size.
  /// Errors: OSError naming `purpose`.
  Mapping(int file, std::size_t offset, std::size_t bytes, Access access, const std::string& purpose);
  /// Maps the same `bytes` of `file` twice in a row, so that what wraps around the end can be read in one piece.
  static Mapping twice_in_a_row(int file, std::size_t offset, std::size_t bytes, const std::string& purpose);

  Mapping(Mapping&& other) noexcept
      : address_(std::exchange(other.address_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Mapping& operator=(Mapping&& other) noexcept;
  ~Mapping() { unmap(); }

  std::byte* data() const noexcept { return address_; }
  /// Size of the address range; twice the file's part for twice_in_a_row.
  std::size_t size_bytes() const noexcept { return bytes_; }

 private:
  void unmap() noexcept;

  std::byte* address_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace troupe
