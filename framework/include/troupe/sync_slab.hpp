#pragma once

/// \file
/// Cells in memory that processes share, and handles of them that travel. A slab is a memfd of cells; a process makes
/// one when it needs a cell and its own slabs are full, and only that process gives cells of it out. The nursery keeps
/// the slab by a ticket (store.hpp) for whoever receives a handle, and looks after the cells when a process has ended.
///
/// A cell is free again when its maker has no handle left, no other process has one, and no message is on its way with
/// one. A process that is killed leaves its count behind: the cells that it had are then not used again before their
/// maker has ended.

#include <troupe/cell.hpp>
#include <troupe/codec_core.hpp>

#include <cstddef>
#include <initializer_list>
#include <memory>
#include <span>
#include <utility>

namespace troupe {

namespace detail {
struct CellRecord;
}

/// Names a cell. Copies name the same one. Thread: any.
class CellHandle {
 public:
  /// Names none.
  CellHandle() = default;
  CellHandle(const CellHandle&) = default;
  CellHandle& operator=(const CellHandle&) = default;
  CellHandle(CellHandle&& other) noexcept
      : head_(std::exchange(other.head_, nullptr)), record_(std::move(other.record_)) {}
  CellHandle& operator=(CellHandle&& other) noexcept {
    head_ = std::exchange(other.head_, nullptr);
    record_ = std::move(other.record_);
    return *this;
  }
  ~CellHandle() = default;
  /// A new cell of `num_lines` lines, all zero but for its head.
  /// Errors: AssertionError without a Runtime, OSError without memory; ValueError if no slab has so many lines.
  static CellHandle make(CellKind kind, std::size_t num_lines = 1);
  /// The same for threads of this process only: needs no Runtime, and cannot travel.
  static CellHandle make_local(CellKind kind, std::size_t num_lines = 1);

  explicit operator bool() const noexcept { return head_ != nullptr; }
  /// Whether it is for this process only.
  bool is_local() const noexcept;
  CellHead& head() const noexcept { return *head_; }
  /// The cell as what it is.
  template <class Layout>
  Layout& as() const noexcept {
    return *reinterpret_cast<Layout*>(head_);
  }

  /// Writes a handle; the cell is kept until somebody has read it. Errors: CodecError for an empty or local one.
  void encode(wire::Value::Builder out, const char* kind) const;
  /// Errors: CodecError if `in` is no handle of this kind; OSError with ENOENT if all who had it are gone.
  static CellHandle decode(wire::Value::Reader in, const char* kind, std::initializer_list<CellKind> kinds);

  /// Whether both name the same cell.
  friend bool operator==(const CellHandle& a, const CellHandle& b) noexcept { return a.head_ == b.head_; }

 private:
  explicit CellHandle(std::shared_ptr<detail::CellRecord> record) noexcept;

  CellHead* head_ = nullptr;
  std::shared_ptr<detail::CellRecord> record_;
};

/// Bytes of a slab.
inline constexpr std::size_t slab_bytes = 64 * 1024;
/// Most lines that a cell can have: all but the slab's own.
inline constexpr std::size_t max_cell_lines = slab_bytes / cell_bytes - 1;

/// Most slots that a cell can have.
inline constexpr std::size_t max_cell_slots = (max_cell_lines - 1) * SlotLine::num_slots;

/// recover_cells for a slab by its descriptor; nothing happens if it is something else. Thread: any. Errors: none.
void recover_slab(int descriptor, pid_t dead) noexcept;

namespace detail {

/// How many lines this process has given out in its own slabs and not taken back.
std::size_t num_own_lines();

}  // namespace detail

}  // namespace troupe
