#pragma once

/// \file
/// The slabs and cells that this process has.

#include <troupe/file_descriptor.hpp>
#include <troupe/store.hpp>
#include <troupe/sync_slab.hpp>

#include <bitset>
#include <map>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace troupe::detail {

/// Starts every slab, in the place of its first line.
struct SlabHead {
  static constexpr std::uint64_t right_mark = 0x736c6162'74726f75;

  std::uint64_t mark;
  std::atomic<std::uint64_t> forks_arrived;  ///< processes forked by the maker that have counted what they took along
};

/// recover_cells for all slabs that this process has, if it has any. Thread: any. Errors: none.
void recover_mapped_slabs(pid_t dead) noexcept;

/// recover_cells_of_all_dead for them.
void recover_mapped_slabs_of_all_dead() noexcept;

/// Whether the descriptor is one of a slab's memory.
bool is_slab(int descriptor) noexcept;
/// Whether a message is on its way with a cell of that slab.
bool slab_has_messages(int descriptor) noexcept;

/// One slab that is mapped here. Guarded by SlabRegistry's mutex, but for what never changes.
struct Slab {
  /// Maps `descriptor`. Errors: OSError.
  Slab(int descriptor, Ticket name, bool made_here);

  CellHead* line(std::size_t index) const noexcept {
    return reinterpret_cast<CellHead*>(memory.data() + index * cell_bytes);
  }
  SlabHead& head() const noexcept { return *reinterpret_cast<SlabHead*>(memory.data()); }

  const Ticket ticket;
  const Mapping memory;
  bool is_own;
  std::size_t num_records = 0;
  // Of an own one:
  std::bitset<slab_bytes / cell_bytes> used;
  std::uint64_t last_generation = 0;
  std::uint64_t forks_begun = 0;
  struct Freed {
    std::size_t index;
    std::size_t num_lines;
    std::uint64_t generation;
  };
  std::vector<Freed> pending;  // not needed here any more, but perhaps elsewhere
};

/// The one handle that this process has of a cell, however many copies there are. `slab` is null for a local cell.
struct CellRecord {
  CellRecord() = default;
  CellRecord(const CellRecord&) = delete;
  CellRecord& operator=(const CellRecord&) = delete;
  ~CellRecord();
  /// A handle of the cell is on its way in a message.
  bool count_message() noexcept;
  /// It has not arrived.
  bool drop_message() noexcept;

  std::shared_ptr<Slab> slab;
  std::size_t index = 0;
  std::uint64_t generation = 0;
  bool is_counted = false;  // among the users that the cell counts
  std::unique_ptr<SlotLine[]> local;
};

/// Thread: any. `slabs_mutex_` is held while slabs of others come and go, and while the nursery is asked for them;
/// `mutex_` only for what is looked up and counted, also while this process is forked.
class SlabRegistry {
 public:
  static SlabRegistry& instance();

  std::shared_ptr<CellRecord> make(CellKind kind, std::size_t num_lines);
  /// Errors: OSError with ENOENT when the slab or the cell is gone.
  std::shared_ptr<CellRecord> find(Ticket ticket, std::size_t index, std::uint64_t generation);
  void drop(CellRecord& record) noexcept;
  std::size_t num_own_lines();
  /// Recovers the cells of all slabs that are mapped here.
  void recover(pid_t dead) noexcept;
  /// The same for all processes that have ended.
  void recover_of_all_dead() noexcept;

 private:
  SlabRegistry();

  std::shared_ptr<CellRecord> try_make(CellKind kind, std::size_t num_lines);
  std::shared_ptr<CellRecord> list(const std::shared_ptr<Slab>& slab, std::size_t index, std::uint64_t generation);
  std::shared_ptr<Slab> reach(Ticket ticket);
  std::shared_ptr<CellRecord> join(const std::shared_ptr<Slab>& slab, std::size_t index, std::uint64_t generation);
  static void sweep(Slab& slab) noexcept;
  void forget(Ticket ticket) noexcept;

  void before_fork();
  void after_fork_in_child();
  void give_back_at_end();
  void give_back_all() noexcept;

  std::mutex slabs_mutex_;
  std::mutex mutex_;
  // Guarded by mutex_:
  std::map<Ticket, std::shared_ptr<Slab>> slabs_;
  struct Known {
    CellRecord* record;  // there as long as it is listed
    std::weak_ptr<CellRecord> handle;
  };
  std::unordered_map<const CellHead*, Known> records_;
};

}  // namespace troupe::detail
