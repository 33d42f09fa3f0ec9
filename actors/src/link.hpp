#pragma once

/// \file
/// What a Connection stands on: shared memory between processes of one program, or a stream of frames.

#include <troupe/bell.hpp>
#include <troupe/file_descriptor.hpp>

#include "lane.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace troupe {

/// How a link is written down for another process.
struct LinkAddress {
  std::uint64_t form = 0;        // what kind of link, and which parts of it there are
  std::vector<int> descriptors;  // borrowed from the link
};

/// One end. Thread: caller; one thread may send while another one receives.
class Link {
 public:
  virtual ~Link() = default;

  virtual bool readable() const noexcept = 0;
  virtual bool writable() const noexcept = 0;

  /// Sends one message. Blocks: while the other side is there and has no room. Errors: OSError.
  virtual void send(std::span<const Piece> pieces, std::span<const int> descriptors) = 0;
  /// Whether messages carry descriptors.
  virtual bool carries_descriptors() const noexcept = 0;
  /// Receives one message into `out`. False: it is longer than `max_bytes`, and nothing can be read any more.
  /// Blocks: until it is there. Errors: EOFError, OSError.
  [[nodiscard]] virtual bool receive(std::vector<std::byte>& out, std::optional<std::size_t> max_bytes,
                                     std::vector<FileDescriptor>& descriptors) = 0;
  /// Whether a message, a part of one, or the end is there. Blocks: until then or `deadline`.
  virtual bool poll(Deadline deadline) = 0;

  /// A single descriptor, beside the messages. Errors: OSError where that is not possible.
  virtual void send_handle(int number) = 0;
  virtual FileDescriptor receive_handle() = 0;

  /// Whether something can be received, as far as can be seen without a system call.
  virtual bool has_data() const noexcept = 0;
  /// What becomes readable when something can be received, until end_wait. Look at has_data once more after it.
  virtual int begin_wait() = 0;
  virtual void end_wait() noexcept = 0;
  /// What is readable while something can be received, from now on.
  virtual int fileno() = 0;

  virtual LinkAddress address() const = 0;
  virtual std::unique_ptr<Link> copy() const = 0;
  /// The end without its reading side; null when nothing is left.
  virtual std::unique_ptr<Link> without_reading(std::unique_ptr<Link> self) = 0;
};

/// Rebuilds what `address` wrote down; `descriptors` are copies of the ones it named.
/// Errors: CodecError when they do not fit `form`.
std::unique_ptr<Link> make_link(std::uint64_t form, std::vector<FileDescriptor> descriptors);
/// How many descriptors an address of that form has. Errors: CodecError for an unknown one.
std::size_t num_link_descriptors(std::uint64_t form);

}  // namespace troupe
