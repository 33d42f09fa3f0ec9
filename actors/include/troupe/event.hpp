#pragma once

/// \file
/// A flag that processes wait for.

#include <troupe/bell.hpp>
#include <troupe/event_cell.hpp>
#include <troupe/sync_slab.hpp>

#include <chrono>
#include <ostream>
#include <string>

namespace troupe {

/// A flag, unset at first. Copies are the same event. Thread: any.
class Event {
 public:
  /// Errors: AssertionError without a Runtime, OSError without memory.
  Event() : cell_(CellHandle::make(CellKind::event)) {}

  /// Whether the flag is set, at some moment during the call. Never blocks.
  bool is_set() const { return cell().is_set(); }
  /// Sets the flag and wakes all who wait. Never blocks.
  void set() const { cell().set(); }
  /// Takes the flag back; who was woken by set goes on all the same. Never blocks.
  void clear() const { cell().clear(); }
  /// Waits until the flag is set; true at once if it is. Returns the flag as read again after waking: false if it was
  /// cleared as soon as it was set. Blocks.
  bool wait() const { return cell().wait(no_deadline); }
  /// The same for at most `timeout`, a negative one is zero; false when that was too short.
  template <class Rep, class Period>
  bool wait(std::chrono::duration<Rep, Period> timeout) const {
    return cell().wait(deadline_after(timeout));
  }

  /// "<Event at 0x7f0000001040 unset>".
  std::string to_string() const;
  friend std::ostream& operator<<(std::ostream& out, const Event& event) { return out << event.to_string(); }
  /// Whether both name the same event.
  friend bool operator==(const Event& a, const Event& b) noexcept { return a.cell_ == b.cell_; }

 protected:
  explicit Event(CellHandle cell) noexcept : cell_(std::move(cell)) {}

 private:
  friend struct Codec<Event>;

  EventCell& cell() const;

  CellHandle cell_;
};

template <>
struct Codec<Event> {
  static void encode(const Event& event, wire::Value::Builder out);
  static Event decode(wire::Value::Reader in);
};

}  // namespace troupe
