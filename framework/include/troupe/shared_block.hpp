#pragma once

/// \file
/// Memory that several processes use: what shared values and arrays are made of.
///
///     troupe::SharedBlock block{1000};
///     pool.apply([](const troupe::SharedBlock& b) { b.data()[3] = std::byte{7}; }, block);   // the handle travels

#include <troupe/codec_core.hpp>
#include <troupe/shared_heap.hpp>

#include <cstddef>
#include <memory>

namespace troupe {

namespace detail {
class BlockHandle;
}

/// A handle to a block of shared memory from the heap of the process that made it. Copies are handles to the same
/// block, and so is what arrives when one is sent to another process; the memory does not travel. The block is free
/// when the last handle of all processes is gone and no message with one is on its way.
///
/// Every process counts for itself, and the nursery for one that is killed. A task that no worker begins counts for
/// nothing; any other message that is never read keeps the block taken until the process that made the block ends.
/// Whoever may be asked again for the same message (the initializer of replaced workers) needs a handle somewhere that
/// lives until then; else the block is gone, which is an error there, never another block's memory.
/// Thread: any, as far as the handle goes; what is in the block is the users' to guard. A const handle gives write
/// access, as a pointer does.
class SharedBlock {
 public:
  /// No block.
  SharedBlock() = default;
  /// A new block of `bytes` zero bytes, aligned to 16; 0 is legal.
  /// Errors: ValueError for a negative size; OSError without memory; AssertionError without a Runtime.
  explicit SharedBlock(std::ptrdiff_t bytes);

  explicit operator bool() const noexcept { return handle_ != nullptr; }
  /// Valid as long as a handle to the block is there; null without a block.
  std::byte* data() const noexcept { return data_; }
  std::size_t size_bytes() const noexcept { return bytes_; }
  /// Whether both are handles to the same block, or to none.
  friend bool operator==(const SharedBlock& a, const SharedBlock& b) noexcept { return a.is_same(b); }

 private:
  friend struct Codec<SharedBlock>;
  explicit SharedBlock(std::shared_ptr<const detail::BlockHandle> handle) noexcept;
  bool is_same(const SharedBlock& other) const noexcept;

  std::shared_ptr<const detail::BlockHandle> handle_;
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

/// The shared-memory heap of this process, for those who want to know how much there is. Thread: any.
SharedHeap& shared_heap();

/// The handle travels, and keeps the block until it is read.
/// Errors: ValueError for a handle without a block; CodecError for what is no handle or reaches outside its arena;
/// OSError with ENOENT when the block is gone.
template <>
struct Codec<SharedBlock> {
  static void encode(const SharedBlock& block, wire::Value::Builder out);
  static SharedBlock decode(wire::Value::Reader in);
};

}  // namespace troupe
