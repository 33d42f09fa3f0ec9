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
      return;
    }
    case wire::NameNote::What::INHERITING: {
      Entry& entry = entries_[key];
      entry.users.insert(process);
      if (!entry.is_ours && !entry.share) entry.share = share_of(name, inode);
      return;
    }
    case wire::NameNote::What::CLOSING: {
      const auto entry = entries_.find(key);
      if (entry == entries_.end()) return;
      entry->second.users.erase(process);
      if (!entry->second.users.empty()) return;
      entry->second.is_parked = true;
      if (entry->second.is_ours) return;
      std::vector<std::string> removed;
      leave(key, entry->second, removed);
      entries_.erase(entry);
      report(std::move(removed));
      return;
    }
    case wire::NameNote::What::UNLINKING: entries_.erase(key); return;
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
  std::vector<std::string> removed;
  for (const auto entry : left | std::views::reverse) {  // what is in a folder before the folder
    leave(entry->first, entry->second, removed);
    entries_.erase(entry);
  }
  report(std::move(removed));
}

void NurseryNames::remove_all() {
  std::vector<std::string> removed;
  for (auto& [key, entry] : entries_ | std::views::reverse) leave(key, entry, removed);
  entries_.clear();
  report(std::move(removed));
}

// What nobody of this program uses any more. A name that meanwhile means another file is not ours to remove.
void NurseryNames::leave(const Key& key, Entry& entry, std::vector<std::string>& removed) {
  const auto& [name, inode] = key;
  const std::string path = path_of(name);
  if (!entry.is_ours) {
    if (entry.share && entry.share.end(path)) removed.push_back(name);
    return;
  }
  const auto status = status_of(name);
  if (!status || status->st_ino != inode || status->st_uid != entry.maker) return;
  if (!is_path(name)) {
    if (remove_or_leave(path, inode)) removed.push_back(name);
  } else if (S_ISDIR(status->st_mode)) {
    ::rmdir(path.c_str());
  } else {
    ::unlink(path.c_str());
  }
}

void NurseryNames::report(std::vector<std::string> removed) {
  if (removed.empty()) return;
  std::ranges::sort(removed);
  std::string names;
  for (const auto& name : removed) names += (names.empty() ? "" : ", ") + name;
  std::fprintf(stderr,
               "troupe: %zu leaked shared_memory objects were removed: %s; unlink them when they are done with\n",
               removed.size(), names.c_str());
}

}  // namespace troupe
