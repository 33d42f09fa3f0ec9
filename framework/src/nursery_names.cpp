#include "nursery_names.hpp"

#include <troupe/named_memory.hpp>

#include <cstdio>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe {

namespace {

std::optional<struct stat> status_of(const std::string& name) {
  struct stat status{};
  if (!is_memory_name(name) || ::lstat(memory_path(name).c_str(), &status) != 0) return std::nullopt;
  return status;
}

}  // namespace

void NurseryNames::note(const std::string& name, std::uint64_t inode, wire::NameNote::What what, pid_t process,
                        uid_t user) {
  if (!is_memory_name(name)) return;
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
  const auto status = status_of(name);
  if (!status) return std::nullopt;
  entries_[{name, status->st_ino}].users.insert(process);
  return status->st_ino;
}

void NurseryNames::holder_ended(pid_t process) {
  if (!entries_.empty()) ended_.push_back(process);
}

void NurseryNames::settle() {
  std::vector<std::string> removed;
  for (const pid_t process : std::exchange(ended_, {})) {
    for (auto entry = entries_.begin(); entry != entries_.end();) {
      auto& [key, its] = *entry;
      if (its.users.erase(process) == 0 || !its.users.empty() || (its.is_ours && its.is_parked)) {
        ++entry;
        continue;
      }
      remove(key, its, removed);
      entry = entries_.erase(entry);
    }
  }
  report(removed);
}

void NurseryNames::remove_all() {
  std::vector<std::string> removed;
  for (const auto& [key, entry] : entries_) remove(key, entry, removed);
  entries_.clear();
  report(removed);
}

// A name that meanwhile means another file is not ours to remove.
void NurseryNames::remove(const Key& key, const Entry& entry, std::vector<std::string>& removed) {
  const auto& [name, inode] = key;
  if (!entry.is_ours) return;
  const auto status = status_of(name);
  if (!status || status->st_ino != inode || status->st_uid != entry.maker) return;
  if (::unlink(memory_path(name).c_str()) == 0) removed.push_back(name);
}

void NurseryNames::report(const std::vector<std::string>& removed) {
  if (removed.empty()) return;
  std::string names;
  for (const auto& name : removed) names += (names.empty() ? "" : ", ") + name;
  std::fprintf(stderr,
               "troupe: %zu leaked shared_memory objects were removed: %s; unlink them when they are done with\n",
               removed.size(), names.c_str());
}

}  // namespace troupe
