#pragma once

/// \file
/// A queue of messages in memory that processes share: a cell with two locks, and a memfd with the messages.
///
///     put lock ─► frame written behind the tail ─► tail moved: the item is in ─► counted
///     get lock ─► frame copied from the head ─► head moved: the item is out ─► counted, its room given back
///
/// The move of the tail or the head is the one step at which an item is in, or out. A process that is killed before it
/// has done nothing, one that is killed behind it has done all but the counting, which whoever takes its lock next
/// does.
///
/// Messages lie in regions, rings of growing size; when the region in which items are put is full, the next one is
/// begun, and who gets follows when it has emptied the last. Large parts lie in an arena of the process that put them.

#include <troupe/arena.hpp>
#include <troupe/bell.hpp>
#include <troupe/file_descriptor.hpp>
#include <troupe/queue_cell.hpp>
#include <troupe/queue_message.hpp>
#include <troupe/store.hpp>
#include <troupe/sync_slab.hpp>

#include "queue_leases.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <set>
#include <span>
#include <vector>

namespace troupe::detail {

/// Starts every message: 32 bytes, then `num_segments` SegmentRefs, then `num_words` words.
struct QueueFrame {
  std::uint32_t num_words;
  std::uint32_t num_segments;
  std::uint64_t number;  // of the item, from 1 on
  std::uint64_t arena;   // store ticket of the arena that the segments lie in
  std::uint64_t unused;
};
static_assert(sizeof(QueueFrame) == 32);

/// One ring. Positions count bytes and only grow.
struct QueueRegion {
  alignas(64) std::atomic<std::uint64_t> tail;     // written with the put lock: all before is in
  std::atomic<std::uint64_t> counted;              // written with the put lock: all before is in Puts::count
  alignas(64) std::atomic<std::uint64_t> head;     // written with the get lock: all before is out
  std::atomic<std::uint64_t> released;             // written with the get lock: all before may be overwritten
};

/// The beginning of a queue's memory. Zero at first.
struct QueueHeader : QueueCounts {
  static constexpr std::size_t num_regions = 9;

  std::atomic<std::uint32_t> num_done_low;  // changes with `done`, for who sleeps until all are
  alignas(64) std::atomic<std::uint32_t> num_deaths_seen;  // of a leasing queue: QueueCell::num_deaths looked into
  std::array<QueueRegion, num_regions> regions;
};

/// An item as it came out: the message, and the arena that its large parts lie in. They are given back with this.
class QueueItem {
 public:
  QueueItem() = default;
  QueueItem(QueueItem&& other) noexcept = default;
  QueueItem& operator=(QueueItem&&) = delete;
  ~QueueItem();

  std::vector<std::uint64_t> words;
  unsigned deliveries = 1;
  bool is_leased = false;  // its large parts are needed until it is done
  std::vector<SegmentRef> segments;
  std::shared_ptr<ArenaView> arena;
};

/// One queue, as this process sees it. Thread: any.
class QueueMemory {
 public:
  /// Errors: AssertionError without a Runtime, OSError without memory.
  static std::shared_ptr<QueueMemory> make(std::uint64_t capacity, QueueKind kind);
  /// The queue that `cell` belongs to. Errors: OSError when its memory is gone.
  static std::shared_ptr<QueueMemory> open(CellHandle cell);
  ~QueueMemory();
  QueueMemory(const QueueMemory&) = delete;
  QueueMemory& operator=(const QueueMemory&) = delete;

  /// Appends a message; the blocks of `segments`, in this process's message arena, belong to it if this returns true.
  /// False: the queue was full until `deadline`. Blocks. Errors: OSError when there is no memory for it.
  [[nodiscard]] bool put(std::span<const std::uint64_t> words, std::span<const SegmentRef> segments, Deadline deadline);
  /// Takes the oldest message; false: there was none until `deadline`. Blocks.
  /// Errors: OSError when the memory of a large one is gone with the process that put it. The item is out then.
  [[nodiscard]] bool get(QueueItem& item, Deadline deadline);

  /// How many items are in. If a process is killed right after the step, one more or less until somebody next does the
  /// same; is_empty and is_full are right at once.
  std::size_t size() const noexcept;
  bool is_empty() const noexcept;
  bool is_full() const noexcept { return !has_capacity() && !shared().get.lock.is_left_behind(); }
  QueueKind kind() const noexcept { return kind_; }
  /// Whether this process has said that it will not use the queue any more.
  std::atomic<bool> is_closed{false};
  const CellHandle& cell() const noexcept { return cell_; }
  /// Under which the store keeps its memory.
  Ticket ticket() const noexcept { return ticket_; }
  /// An item that is put next names `ticket`: the store keeps what that names for as long as the queue. Blocks: no.
  void keep(Ticket ticket);

  /// Whether get would find something at once. Thread: any.
  bool is_ready();
  /// For `wait`: a descriptor of the caller's that becomes readable when is_ready may have become true from now on;
  /// look once more after this. Empty if it is true already. Errors: OSError, with EBADF after close.
  FileDescriptor watch();

  /// One item is done. False: more than were put.
  [[nodiscard]] bool task_done();
  /// Waits until all items are done; false: they were not until `deadline`. Blocks.
  [[nodiscard]] bool wait_done(Deadline deadline);
  /// In a process that was just forked: threads that held the mutex of this queue did not come along.
  void forget_threads() { new (&mutex_) std::mutex; }

 private:
  /// `files`: the memory, and the eventfd for event loops that wait for items.
  QueueMemory(CellHandle cell, Ticket ticket, std::vector<FileDescriptor> files);

  enum class End : bool { put, get };
  class Guard;
  /// A position of one region as it was when this process last read it. It only grows; the line it lies on is written
  /// by the other side for every item, so nobody looks again before he must.
  struct Seen {
    std::size_t region = 0;
    std::uint64_t position = 0;
    std::uint64_t in(std::size_t index) const noexcept { return index == region ? position : 0; }
  };
  QueueCell& shared() const noexcept { return cell_.as<QueueCell>(); }
  QueueCell::Line& line(End end) const noexcept { return end == End::put ? shared().put : shared().get; }
  std::byte* region_data(std::size_t index);
  void back_with_memory(std::size_t region, std::uint64_t tail, std::size_t bytes);
  bool has_capacity() const noexcept;
  bool wait_for_capacity(Deadline deadline);
  std::byte* room_for(std::size_t bytes, std::size_t& region);
  void write(std::span<const std::uint64_t> words, std::span<const SegmentRef> segments);
  bool has_item() noexcept;
  bool has_orphans() const noexcept;
  bool is_all_done() const noexcept;
  bool count_done() noexcept;
  bool end_lease();
  Lease* find_orphan();
  bool take_over(QueueItem& item, QueueFrame& frame);
  void take(QueueItem& item, QueueFrame& frame);
  static std::size_t read(std::span<const std::byte> memory, QueueFrame& frame, QueueItem& item);
  void settle(End end);
  void settle_left_behind(End end);
  static std::shared_ptr<ArenaView> find_view(Ticket arena);

  CellHandle cell_;
  Ticket ticket_;
  FileDescriptor file_;
  FileDescriptor eventfd_;  // never read: whoever watches sees it written (watch)
  Mapping header_map_;
  QueueHeader& header_;
  QueueKind kind_;
  std::optional<QueueLeases> leases_;

  std::array<std::atomic<std::byte*>, QueueHeader::num_regions> region_data_{};  // null: not mapped yet
  // Of the put lock's holder:
  alignas(64) Seen released_seen_;
  std::uint64_t num_got_seen_ = 0;
  // Of the get lock's holder:
  alignas(64) Seen tail_seen_;
  std::mutex mutex_;
  // Guarded by mutex_:
  std::array<Mapping, QueueHeader::num_regions> regions_;
  std::set<Ticket> kept_;           // the latest that the store was told of
  std::uint64_t num_let_go_ = 0;  // store::num_let_go then
  std::map<std::uint64_t, std::shared_ptr<ArenaView>> leased_views_;  // by number of an item that was taken here
};

}  // namespace troupe::detail
