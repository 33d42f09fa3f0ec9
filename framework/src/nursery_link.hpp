#pragma once

/// \file
/// A process's connection to the nursery: requests, replies, and for the main process a new nursery when the old one
/// has died.

#include <troupe/callable.hpp>
#include <troupe/file_descriptor.hpp>
#include <troupe/store.hpp>
#include <troupe/wire/control.capnp.h>

#include <capnp/message.h>

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace troupe {

class Lifeline;
struct Datagram;
struct NurseryAnswer;

/// Thread: caller.
class NurseryLink {
 public:
  struct Started {
    pid_t pid = 0;
    FileDescriptor pidfd;
  };

  /// For the main process: starts the nursery. Errors: OSError.
  void open(Lifeline& lifeline, const std::string& program_name);
  /// For all other processes: where they introduce a connection of their own when they need one, and
  /// environment_hash() of the nursery.
  void use_door(FileDescriptor door, std::uint64_t nursery_environment) {
    connection_ = {};
    door_ = std::move(door);
    nursery_environment_ = nursery_environment;
  }
  /// Where a process forked by this one may introduce itself; -1: nowhere.
  int door() const noexcept { return door_ ? door_.get() : connection_.get(); }
  /// environment_hash() of the nursery.
  std::uint64_t nursery_environment() const noexcept { return nursery_environment_; }

  /// Sends a start request. Errors: OSError naming the step that failed.
  Started start(capnp::MessageBuilder& request, std::span<const int> descriptors);
  /// What store::hold and its kin do.
  void hold(Ticket ticket, std::span<const int> descriptors);
  std::vector<FileDescriptor> take_hold(Ticket ticket);
  void let_go(Ticket ticket);
  void attach(Ticket carrier, Ticket ticket);
  void deposit(Ticket ticket, std::span<const int> descriptors);
  std::vector<FileDescriptor> withdraw(Ticket ticket);
  /// This process makes a named block, opens one (returns its inode), closes one, or has unlinked one. Names that it
  /// makes and opens several times are closed as often. Errors: OSError, with ENOENT when there is no such name.
  void make_name(const std::string& name, std::uint64_t inode);
  std::uint64_t open_name(const std::string& name);
  void close_name(const std::string& name, std::uint64_t inode);
  void unlink_name(const std::string& name, std::uint64_t inode);
  /// The end of this process: it closes all of them.
  void close_names() noexcept;
  /// In a process that was just forked by the one that `parent` belongs to: holds what that one holds, and has open
  /// what that one has.
  void hold_like(const NurseryLink& parent) noexcept;
  /// Errors: OSError.
  void preload(CodeRef function);
  /// Gives back, in the cells that are mapped here, what processes left that have ended, if no nursery does it any
  /// more.
  void recover_if_dead() const noexcept;
  /// Closes the connection and waits for the nursery to end; kills it if it does not. Main process only, at its end.
  void close(Lifeline& lifeline) noexcept;

 private:
  [[nodiscard]] int exchange(capnp::MessageBuilder& request, std::span<const int> descriptors, Datagram& reply) const;
  template <class Send>
  void reach(Send send);
  NurseryAnswer ask(capnp::MessageBuilder& request, std::span<const int> descriptors, Datagram& reply);
  void tell(capnp::MessageBuilder& request, std::span<const int> descriptors);
  void send_hold(Ticket ticket, std::span<const int> descriptors);
  void note_hold(Ticket ticket, std::span<const int> descriptors);
  void send_note(const std::string& name, std::uint64_t inode, wire::NameNote::What what);
  void introduce();
  void start_nursery(bool is_first);
  bool is_dead() const noexcept;
  bool reopen_if_dead();
  void end_nursery() noexcept;
  void send_preload(CodeRef function);

  FileDescriptor connection_;
  FileDescriptor door_;  // empty in the main process
  std::uint64_t nursery_environment_ = 0;
  std::vector<CodeRef> preloads_;
  // What this process holds; in the main process with copies, for the nursery that has to replace another.
  std::map<Ticket, std::vector<FileDescriptor>> held_;
  std::map<std::pair<std::string, std::uint64_t>, std::size_t> names_;  // by name and inode: how often it is open
  // Main process only:
  Lifeline* lifeline_ = nullptr;
  std::string program_name_;
  pid_t nursery_ = 0;
  FileDescriptor nursery_pidfd_;
  FileDescriptor journal_;  // of a NameJournal
};

}  // namespace troupe
