#pragma once

/// \file
/// The names in /dev/shm and the sockets that the processes of the program have made, and who has them open: the
/// nursery removes what they leave behind.

#include <troupe/wire/control.capnp.h>

#include "name_journal.hpp"
#include "name_share.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace troupe {

/// Thread: caller. A name goes when the last process that has it open is killed, and at the end of the program; one
/// that its last user closed stays until then, because somebody may open it again. Only names that a process of the
/// program made are removed, and only while they still name the same file. What other programs use stays for them, see
/// name_share.hpp. The name of a socket, or of the folder that was made for one, is its absolute path.
class NurseryNames {
 public:
  /// `journal` is the file of a NameJournal. What a nursery has written there that this one takes the place of stays
  /// until the program ends: who had it open has died with that nursery, but for the main process.
  NurseryNames(pid_t main_process, FileDescriptor journal);

  /// `user` is who runs the process: only a file of that user is removed for it.
  void note(const std::string& name, std::uint64_t inode, wire::NameNote::What what, pid_t process, uid_t user);
  /// The process is about to open this name; the inode, or empty with an errno: ENOENT if there is no such name.
  std::optional<std::uint64_t> open(const std::string& name, pid_t process);

  /// The process has ended. What it said before may still be on its way, so nothing is removed until `settle`.
  void holder_ended(pid_t process);
  bool has_unsettled() const noexcept { return !ended_.empty(); }
  /// Everything that was said has been read: removes what those have left that have ended, and says so on stderr.
  void settle();
  /// The program has ended.
  void remove_all();

 private:
  struct Entry {
    bool is_ours = false;    // a process of the program made it
    bool is_parked = false;  // its last user has closed it
    uid_t maker = 0;         // who ran the process that made it
    std::set<pid_t> users;
    NameShare share;  // none if the program made it
    std::optional<std::size_t> slot;  // in the journal
  };
  using Key = std::pair<std::string, std::uint64_t>;  // name and inode
  using Entries = std::map<Key, Entry>;

  /// What was not unlinked, to be told of.
  struct Leaks {
    std::vector<std::string> removed;
    std::vector<std::string> in_use;

    void note(const std::string& name, NameEnd end);
  };

  void write_down(const Key& key, Entry& entry);
  void erase(Entries::iterator entry);
  NameEnd leave(const Key& key, Entry& entry) const;
  static void report(Leaks leaks);

  const pid_t main_process_;
  NameJournal journal_;
  Entries entries_;
  std::vector<pid_t> ended_;
};

}  // namespace troupe
