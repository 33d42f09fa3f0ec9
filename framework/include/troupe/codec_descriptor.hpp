#pragma once

/// \file
/// Descriptors as parts of messages. The number of a descriptor means nothing in another process, so the kernel has to
/// carry it: beside the start of a process, beside a message, or by way of the nursery's store for all other messages.

#include <troupe/codec_core.hpp>
#include <troupe/file_descriptor.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace troupe {

/// The descriptors of one message that carries them itself. While one lives on this thread, codecs add theirs to it.
/// Thread: caller.
class OutgoingDescriptors {
 public:
  OutgoingDescriptors() noexcept : outer_(std::exchange(current_, this)) {}
  ~OutgoingDescriptors() { current_ = outer_; }
  OutgoingDescriptors(const OutgoingDescriptors&) = delete;
  OutgoingDescriptors& operator=(const OutgoingDescriptors&) = delete;
  /// Null outside.
  static OutgoingDescriptors* current() noexcept { return current_; }

  /// Borrows them until the message is sent; returns the place of the first.
  std::size_t add(std::span<const int> numbers);
  std::span<const int> numbers() const noexcept { return numbers_; }

 private:
  static inline constinit thread_local OutgoingDescriptors* current_ = nullptr;
  OutgoingDescriptors* outer_;
  std::vector<int> numbers_;
};

/// The descriptors that came with one message. While one lives on this thread, codecs take theirs from it; what nobody
/// takes is closed. Thread: caller.
class IncomingDescriptors {
 public:
  explicit IncomingDescriptors(std::vector<FileDescriptor> descriptors) noexcept
      : descriptors_(std::move(descriptors)), outer_(std::exchange(current_, this)) {}
  ~IncomingDescriptors() { current_ = outer_; }
  IncomingDescriptors(const IncomingDescriptors&) = delete;
  IncomingDescriptors& operator=(const IncomingDescriptors&) = delete;
  /// Null outside.
  static IncomingDescriptors* current() noexcept { return current_; }

  std::vector<FileDescriptor>& descriptors() noexcept { return descriptors_; }

 private:
  static inline constinit thread_local IncomingDescriptors* current_ = nullptr;
  std::vector<FileDescriptor> descriptors_;
  IncomingDescriptors* outer_;
};

/// Sends copies of `numbers` along with the message that `out` belongs to. One message carries them itself if it can;
/// else they are left in the store, from where they can be taken once.
/// Thread: any. Shape: 1..store::max_descriptors. Errors: those of store::deposit.
void encode_descriptors(std::span<const int> numbers, wire::Value::Builder out);
/// Takes what encode_descriptors sent, in its order. Thread: any.
/// Errors: CodecError when `in` does not tell of `count` descriptors that came along; OSError when the store has none.
std::vector<FileDescriptor> decode_descriptors(wire::Value::Reader in, std::size_t count);

/// A descriptor can be an argument of a process or task, be sent over connections, and be a part of what is: the
/// receiver gets a copy of it. Errors: ValueError for an empty one.
template <>
struct Codec<FileDescriptor> {
  static void encode(const FileDescriptor& descriptor, wire::Value::Builder out);
  static FileDescriptor decode(wire::Value::Reader in);
};

}  // namespace troupe
