#pragma once

/// \file
/// Which blocks of other processes' memory this process uses, written down where the nursery reads it when this process
/// was killed: so the counts of the blocks become right again.

#include <troupe/file_descriptor.hpp>
#include <troupe/store.hpp>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

namespace troupe {

/// Thread: any. A use is written down after it was counted and crossed out before it is counted no more: whoever is
/// killed in between leaves one count too many, never one too few.
class UseLedger {
 public:
  /// The first word of its memory.
  static constexpr std::uint64_t right_mark = 0x747270'6c65646772;

  struct Use {
    Ticket arena = 0;
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
    std::uint64_t serial = 0;  // of a block; 0: nothing is written here
  };
  /// The place of a use that is not written down.
  static constexpr std::size_t nowhere = 0;

  /// This process's. A forked process has one of its own.
  static UseLedger& current();

  /// Returns its place; nowhere if there is no room or no nursery. Blocks: the first time a message to the nursery.
  std::size_t add(const Use& use) noexcept;
  void remove(std::size_t place) noexcept;

  /// What is written in a ledger's memory file.
  static std::vector<Use> read(int file);

 private:
  explicit UseLedger(unsigned fork_depth) : fork_depth_(fork_depth) {}
  void open();
  bool back_with_memory(std::size_t place) noexcept;

  const unsigned fork_depth_;
  std::mutex mutex_;
  // Guarded by mutex_:
  FileDescriptor file_;
  Mapping memory_;
  std::size_t num_backed_ = 0;
  std::size_t num_places_ = 1;  // the first one holds the mark
  std::vector<std::size_t> free_;
};

}  // namespace troupe
