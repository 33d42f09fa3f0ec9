#pragma once

/// \file
/// One end of a Pipe: a lane to read from, a lane to write to, or both.

#include "lane.hpp"
#include "link.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace troupe {

class PipeLink final : public Link {
 public:
  /// Both ends of a new pipe: the first reads, and writes if `duplex`; the second writes, and reads if `duplex`.
  /// Errors: OSError.
  static std::pair<std::unique_ptr<Link>, std::unique_ptr<Link>> make(bool duplex);
  /// One end from what its address said. Errors: CodecError.
  static std::unique_ptr<Link> from_address(std::uint64_t form, std::vector<FileDescriptor> descriptors);
  static std::size_t num_descriptors(std::uint64_t form);

  ~PipeLink() override;
  PipeLink(const PipeLink&) = delete;
  PipeLink& operator=(const PipeLink&) = delete;

  bool readable() const noexcept override { return reader_.has_value(); }
  bool writable() const noexcept override { return writer_.has_value(); }
  void send(std::span<const Piece> pieces, std::span<const int> descriptors) override;
  bool carries_descriptors() const noexcept override { return true; }
  bool receive(std::vector<std::byte>& out, std::optional<std::size_t> max_bytes,
               std::vector<FileDescriptor>& descriptors) override;
  bool poll(Deadline deadline) override;
  void send_handle(int number) override;
  FileDescriptor receive_handle() override;
  bool has_data() const noexcept override { return reader_->has_data(); }
  int begin_wait() override;
  void end_wait() noexcept override;
  int fileno() override;
  LinkAddress address() const override;
  std::unique_ptr<Link> copy() const override;
  std::unique_ptr<Link> without_reading(std::unique_ptr<Link> self) override;

 private:
  struct Memory;
  struct Watch;

  explicit PipeLink(std::shared_ptr<const Memory> memory);
  void read_from(unsigned lane, FileDescriptor socket);
  void write_to(unsigned lane, FileDescriptor socket);
  void close_reader() noexcept;
  void refresh_watch() noexcept;

  std::shared_ptr<const Memory> memory_;
  unsigned reader_lane_ = 0;
  unsigned writer_lane_ = 0;
  std::optional<LaneReader> reader_;
  std::optional<LaneWriter> writer_;
  Presence presence_;
  std::unique_ptr<Watch> watch_;  // since somebody has asked for fileno
};

}  // namespace troupe
