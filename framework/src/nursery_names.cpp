#include "nursery_names.hpp"

#include <troupe/named_memory.hpp>

#include <algorithm>
#include <cstdio>
#include <ranges>
#include <sys/stat.h>
#include <unistd.h>

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
      return;
    }
    case wire::NameNote::What::INHERITING: entries_[key].users.insert(process); return;
    case wire::NameNote::What::CLOSING: {
      const auto entry = entries_.find(key);
      if (entry == entries_.end()) return;
      entry->second.users.erase(process);
      if (!entry->second.users.empty()) return;
      entry->second.is_parked = true;
      if (!entry->second.is_ours) entries_.erase(entry);
      return;
    }
    case wire::NameNote::What::UNLINKING: entries_.erase(key); return;
  }
}

std::optional<std::uint64_t> NurseryNames::open(const std::string& name, pid_t process) {
  const auto status = is_memory_name(name) ? status_of(name) : std::nullopt;
  if (!status) return std::nullopt;
  entries_[{name, status->st_ino}].users.insert(process);
  return status->st_ino;
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
    remove(entry->first, entry->second, removed);
    entries_.erase(entry);
  }
  report(std::move(removed));
}

void NurseryNames::remove_all() {
  std::vector<std::string> removed;
  for (const auto& [key, entry] : entries_ | std::views::reverse) remove(key, entry, removed);
  entries_.clear();
  report(std::move(removed));
}

// A name that meanwhile means another file is not ours to remove.
void NurseryNames::remove(const Key& key, const Entry& entry, std::vector<std::string>& removed) {
  const auto& [name, inode] = key;
  if (!entry.is_ours) return;
  const auto status = status_of(name);
  if (!status || status->st_ino != inode || status->st_uid != entry.maker) return;
  const std::string path = path_of(name);
  const bool is_gone = (S_ISDIR(status->st_mode) ? ::rmdir(path.c_str()) : ::unlink(path.c_str())) == 0;
  if (is_gone && !is_path(name)) removed.push_back(name);
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
