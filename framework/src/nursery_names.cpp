#include "nursery_names.hpp"

#include <troupe/named_memory.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <ranges>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace troupe {

namespace {

bool is_path(const std::string& name) { return name.starts_with('/'); }

std::string path_of(const std::string& name) { return is_path(name) ? name : memory_path(name); }

std::optional<struct stat> status_of(const std::string& name) {
  struct stat status{};
  if (::lstat(path_of(name).c_str(), &status) != 0) return std::nullopt;
  const bool fits = !is_path(name) || S_ISSOCK(status.st_mode) || S_ISDIR(status.st_mode);
  return fits ? std::optional(status) : std::nullopt;
}

// For a nursery that has taken the place of another one; none if the name is gone.
NameShare share_of(const std::string& name, std::uint64_t inode) {
  if (is_path(name)) return {};
  NameShare share{memory_path(name)};
  return share && share.inode() == inode ? std::move(share) : NameShare{};
}

}  // namespace

NurseryNames::NurseryNames(pid_t main_process, FileDescriptor journal)
    : main_process_(main_process), journal_(std::move(journal)) {
  for (auto& [name, inode, is_ours, maker, slot] : journal_.read()) {
    Entry& entry = entries_[{name, inode}];
    entry.is_ours = is_ours;
    entry.is_parked = true;
    entry.maker = maker;
    entry.slot = slot;
    if (!is_ours) entry.share = share_of(name, inode);
  }
}

void NurseryNames::note(const std::string& name, std::uint64_t inode, wire::NameNote::What what, pid_t process,
                        uid_t user) {
  if (!is_memory_name(name) && !is_path(name)) return;
  const Key key{name, inode};
  switch (what) {
    case wire::NameNote::What::OPENING: return;
    case wire::NameNote::What::MAKING: {
      Entry& entry = entries_[key];
      entry.is_ours = true;
      entry.maker = user;
      entry.users.insert(process);
      entry.share = {};
      return write_down(key, entry);
    }
    case wire::NameNote::What::INHERITING: {
      Entry& entry = entries_[key];
      entry.users.insert(process);
      if (!entry.is_ours && !entry.share) entry.share = share_of(name, inode);
      return write_down(key, entry);
    }
    case wire::NameNote::What::CLOSING: {
      const auto entry = entries_.find(key);
      if (entry == entries_.end()) return;
      entry->second.users.erase(process);
      if (!entry->second.users.empty()) return;
      entry->second.is_parked = true;
      if (entry->second.is_ours) return;
      Leaks leaks;
      leaks.note(name, leave(key, entry->second));
      erase(entry);
      report(std::move(leaks));
      return;
    }
    case wire::NameNote::What::UNLINKING:
      if (const auto entry = entries_.find(key); entry != entries_.end()) erase(entry);
      return;
  }
}

std::optional<std::uint64_t> NurseryNames::open(const std::string& name, pid_t process) {
  errno = ENOENT;
  NameShare share = is_memory_name(name) ? NameShare{memory_path(name)} : NameShare{};
  if (!share) return std::nullopt;
  const std::uint64_t inode = share.inode();
  Entry& entry = entries_[{name, inode}];
  entry.users.insert(process);
  if (!entry.is_ours && !entry.share) entry.share = std::move(share);
  write_down({name, inode}, entry);
  return inode;
}

void NurseryNames::holder_ended(pid_t process) {
  if (!entries_.empty()) ended_.push_back(process);
}

void NurseryNames::settle() {
  std::vector<Entries::iterator> left;
  for (const pid_t process : std::exchange(ended_, {}))
    for (auto entry = entries_.begin(); entry != entries_.end(); ++entry)
      if (entry->second.users.erase(process) > 0 && entry->second.users.empty() &&
          !(entry->second.is_ours && entry->second.is_parked))
        left.push_back(entry);
  Leaks leaks;
  for (const auto entry : left | std::views::reverse) {  // what is in a folder before the folder
    const NameEnd end = leave(entry->first, entry->second);
    if (end == NameEnd::in_use && entry->second.is_ours) {
      entry->second.is_parked = true;  // those others may be done with it when this program ends
      continue;
    }
    leaks.note(entry->first.first, end);
    erase(entry);
  }
  report(std::move(leaks));
}

void NurseryNames::remove_all() {
  Leaks leaks;
  for (auto& [key, entry] : entries_ | std::views::reverse) leaks.note(key.first, leave(key, entry));
  entries_.clear();
  report(std::move(leaks));
}

// For the nursery that may have to take the place of this one.
void NurseryNames::write_down(const Key& key, Entry& entry) {
  if (!entry.slot) entry.slot = journal_.add(key.first, key.second, entry.is_ours, entry.maker);
}

void NurseryNames::erase(Entries::iterator entry) {
  if (entry->second.slot) journal_.erase(*entry->second.slot);
  entries_.erase(entry);
}

void NurseryNames::Leaks::note(const std::string& name, NameEnd end) {
  if (end == NameEnd::removed) removed.push_back(name);
  if (end == NameEnd::in_use) in_use.push_back(name);
}

// What nobody of this program uses any more. A name that meanwhile means another file is not ours to remove.
NameEnd NurseryNames::leave(const Key& key, Entry& entry) const {
  const auto& [name, inode] = key;
  const std::string path = path_of(name);
  if (!entry.is_ours) return entry.share ? entry.share.end(path, main_process_) : NameEnd::kept;
  const auto status = status_of(name);
  if (!status || status->st_ino != inode || status->st_uid != entry.maker) return NameEnd::kept;
  if (!is_path(name)) return remove_or_leave(path, inode, main_process_);
  S_ISDIR(status->st_mode) ? ::rmdir(path.c_str()) : ::unlink(path.c_str());
  return NameEnd::kept;
}

void NurseryNames::report(Leaks leaks) {
  const auto say = [](std::vector<std::string>& names, const char* fate) {
    if (names.empty()) return;
    std::ranges::sort(names);
    std::string list;
    for (const auto& name : names) list += (list.empty() ? "" : ", ") + name;
    std::fprintf(stderr, "troupe: %zu leaked shared_memory objects %s: %s; unlink them when they are done with\n",
                 names.size(), fate, list.c_str());
  };
  say(leaks.removed, "were removed");
  say(leaks.in_use, "stay, because other programs use them");
}

}  // namespace troupe
