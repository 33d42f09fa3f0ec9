#pragma once

/// \file
/// What the nursery keeps for the processes of the program: descriptors by ticket, who holds them, and what carries a
/// message that names them.

#include <troupe/file_descriptor.hpp>
#include <troupe/store.hpp>

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <sys/types.h>
#include <unordered_map>
#include <vector>

namespace troupe {

/// Thread: caller. Trusts nobody: unknown tickets are ignored, or answered by nothing.
class NurseryStore {
 public:
  explicit NurseryStore(std::size_t max_loose) : max_loose_(max_loose) {}

  /// Without `descriptors` they were lost on their way, and the ticket is known for that.
  void hold(Ticket ticket, std::optional<std::vector<FileDescriptor>> descriptors, pid_t holder);
  /// The descriptors, valid until the next call; empty when there are none.
  std::vector<int> take_hold(Ticket ticket, pid_t holder);
  void let_go(Ticket ticket, pid_t holder);
  void attach(Ticket carrier, Ticket ticket);
  /// See hold.
  void deposit(Ticket ticket, std::optional<std::vector<FileDescriptor>> descriptors);
  /// What was deposited; empty when there is nothing.
  std::vector<FileDescriptor> withdraw(Ticket ticket);
  /// Whether the descriptors under `ticket` did not arrive here.
  bool has_lost(Ticket ticket) const;
  /// Lets go of everything for a process that has ended, and of the locks that it left in what it held; then writes
  /// the eventfds that it held.
  void holder_ended(pid_t holder);

 private:
  struct Entry {
    std::vector<FileDescriptor> descriptors;
    bool is_lost = false;
    bool is_deposit = false;
    std::set<pid_t> holders;
    std::map<Ticket, std::uint64_t> carriers;  // with the number of the last item of a queue that may name this
    std::set<Ticket> carried;
    std::optional<std::list<Ticket>::iterator> loose;  // its place in loose_
  };
  using Entries = std::unordered_map<Ticket, Entry>;

  static std::size_t num_descriptors(const Entry& entry) { return entry.is_lost ? 1 : entry.descriptors.size(); }
  Entries::iterator add(Ticket ticket, std::optional<std::vector<FileDescriptor>> descriptors);
  void add_holder(Entry& entry, Ticket ticket, pid_t holder);
  void settle(Entries::iterator entry);
  void leave_carriers(Entries::iterator entry);
  std::uint64_t last_item_in(Ticket carrier) const;
  void drop_what_has_gone(Ticket carrier);
  bool is_kept(const Entry& entry) const;
  void loosen(Entries::iterator entry);
  void note_loose(Entries::iterator entry);
  void tighten(Entry& entry);
  void forget_loose(Entry& entry);
  void erase(Entries::iterator entry);
  void settle_orphans();
  void drop_uses(int descriptor) const;

  const std::size_t max_loose_;
  Entries entries_;
  std::unordered_map<pid_t, std::set<Ticket>> held_by_;
  std::list<Ticket> loose_;  // kept by nobody, oldest first
  std::vector<Ticket> orphans_;  // what carried them has gone; empty between calls
  std::size_t num_loose_descriptors_ = 0;
};

}  // namespace troupe
