#pragma once

/// \file
/// Named shared memory, as multiprocessing.shared_memory has it; the two can open each other's blocks.
///
///     auto memory = troupe::SharedMemory::create(1000);
///     memory.buf()[0] = std::byte{42};
///     send(memory.name());                                        // anybody: troupe::SharedMemory::attach(name)
///     ...
///     memory.close();                                             // in every process
///     memory.unlink();                                            // in one

#include <troupe/codec_core.hpp>

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// A block of memory with a name. Copies are handles to the same opening of it, and close together; what arrives in
/// another process has opened it there by its name. The destructor of the last copy closes; the name stays until
/// `unlink`, or until the nursery removes it: at the end of the program, or when the last process that has it open is
/// killed. Thread: any, as far as the handle goes; what is in the memory is the users' to guard.
class SharedMemory {
 public:
  /// Makes a block of `bytes` zero bytes; without a name under one that nobody has ("psm_" and some random digits).
  /// Errors: ValueError if `bytes` is not positive, or for what cannot be a name; OSError with EEXIST when the name is
  /// taken, ENOSPC and the like; AssertionError without a Runtime.
  static SharedMemory create(std::ptrdiff_t bytes, std::string_view name = {});
  /// Opens the block that has this name. Blocks: a round trip to the nursery.
  /// Errors: ValueError for what cannot be a name; OSError with ENOENT when there is none.
  static SharedMemory attach(std::string_view name);
  /// Opens the block that has this name, with the size that it has, or makes one of `bytes`. Errors: as both.
  static SharedMemory open_or_create(std::string_view name, std::ptrdiff_t bytes);

  /// As given or made up, without the slash that shm_open(3) wants.
  const std::string& name() const;
  std::size_t size() const;
  /// The memory; empty after `close`. Valid until then.
  std::span<std::byte> buf() const;
  /// Gives the memory up in this process. May be repeated.
  void close() const;
  /// Removes the name; once for all processes. What is open stays. Errors: OSError with ENOENT the second time.
  void unlink() const;
  /// "SharedMemory('psm_1a2b', size=1000)".
  std::string to_string() const;

 private:
  struct State;
  friend struct Codec<SharedMemory>;
  explicit SharedMemory(std::shared_ptr<State> state) noexcept : state_(std::move(state)) {}

  std::shared_ptr<State> state_;
};

/// The name travels. Errors: OSError with ENOENT when it is gone.
template <>
struct Codec<SharedMemory> {
  static void encode(const SharedMemory& memory, wire::Value::Builder out);
  static SharedMemory decode(wire::Value::Reader in);
};

namespace detail {

/// Makes a block under the first of the names from `make_name` that is not taken. Errors: as SharedMemory::create.
SharedMemory create_unnamed(std::ptrdiff_t bytes, const std::function<std::string()>& make_name);

}  // namespace detail

}  // namespace troupe
