#pragma once

/// \file
/// What the nursery keeps for the processes of the program: descriptors by ticket, and who holds them.

#include <troupe/file_descriptor.hpp>
#include <troupe/store.hpp>

#include <list>
#include <set>
#include <sys/types.h>
#include <unordered_map>
#include <vector>

namespace troupe {

/// Thread: caller. Trusts nobody: unknown tickets are ignored, or answered by nothing.
class NurseryStore {
 public:
  void hold(Ticket ticket, std::vector<FileDescriptor> descriptors, pid_t holder);
  /// The descriptors, valid until the next call; empty when there are none.
  std::vector<int> take_hold(Ticket ticket, pid_t holder);
  void let_go(Ticket ticket, pid_t holder);
  void deposit(Ticket ticket, std::vector<FileDescriptor> descriptors);
  /// What was deposited; empty when there is nothing.
  std::vector<FileDescriptor> withdraw(Ticket ticket);
  /// Lets go of everything for a process that has ended, and of the locks that it left in what it held.
  void holder_ended(pid_t holder);

 private:
  struct Entry {
    std::vector<FileDescriptor> descriptors;
    std::set<pid_t> holders;
    std::list<Ticket>::iterator loose;  // its place in loose_, if nobody holds it
  };
  using Entries = std::unordered_map<Ticket, Entry>;

  void loosen(Entries::iterator entry);
  void add_holder(Entry& entry, Ticket ticket, pid_t holder);

  Entries entries_;
  std::unordered_map<pid_t, std::set<Ticket>> held_by_;
  std::list<Ticket> loose_;  // held by nobody, oldest first
};

}  // namespace troupe
