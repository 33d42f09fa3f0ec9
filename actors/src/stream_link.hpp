#pragma once

/// \file
/// A connection through a socket or another descriptor: frames of bytes, as Python's multiprocessing sends them.

#include <troupe/connection.hpp>

#include "link.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace troupe {

class StreamLink final : public Link {
 public:
  /// Errors: OSError when `descriptor` is not open.
  static std::unique_ptr<Link> make(FileDescriptor descriptor, Connection::Direction direction);
  static std::unique_ptr<Link> from_address(std::uint64_t form, std::vector<FileDescriptor> descriptors);
  static std::size_t num_descriptors(std::uint64_t form);
  /// Whether an address is one of a stream and not of a pipe.
  static bool is_form(std::uint64_t form) noexcept { return (form & 32) != 0; }

  bool readable() const noexcept override { return readable_; }
  bool writable() const noexcept override { return writable_; }
  void send(std::span<const Piece> pieces, std::span<const int> descriptors) override;
  bool carries_descriptors() const noexcept override { return false; }
  bool receive(std::vector<std::byte>& out, std::optional<std::size_t> max_bytes,
               std::vector<FileDescriptor>& descriptors) override;
  bool poll(Deadline deadline) override;
  void send_handle(int number) override;
  FileDescriptor receive_handle() override;
  bool has_data() const noexcept override { return false; }
  int begin_wait() override { return descriptor_.get(); }
  void end_wait() noexcept override {}
  int fileno() override { return descriptor_.get(); }
  LinkAddress address() const override;
  std::unique_ptr<Link> copy() const override;
  std::unique_ptr<Link> without_reading(std::unique_ptr<Link> self) override;

 private:
  StreamLink(FileDescriptor descriptor, bool readable, bool writable, bool is_socket) noexcept;
  void write_all(std::span<const Piece> pieces);
  void wait_for(short events) const;

  FileDescriptor descriptor_;
  bool readable_;
  bool writable_;
  bool is_socket_;
};

}  // namespace troupe
