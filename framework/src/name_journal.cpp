#include "name_journal.hpp"

#include <array>
#include <cstring>
#include <sys/stat.h>
#include <type_traits>
#include <unistd.h>
#include <utility>

namespace troupe {

namespace {

struct Slot {
  std::uint64_t inode = 0;
  uid_t maker = 0;
  std::uint32_t is_ours = 0;
  std::array<char, 496> name{};  // empty: the slot is free
};
static_assert(memory_page_bytes % sizeof(Slot) == 0 && std::is_trivially_copyable_v<Slot>);

off_t place_of(std::size_t slot) { return static_cast<off_t>(slot * sizeof(Slot)); }

bool read_slot(const FileDescriptor& file, std::size_t slot, Slot& content) noexcept {
  return ::pread(file.get(), &content, sizeof content, place_of(slot)) == ssize_t{sizeof content};
}

bool write_slot(const FileDescriptor& file, std::size_t slot, const Slot& content) noexcept {
  return ::pwrite(file.get(), &content, sizeof content, place_of(slot)) == ssize_t{sizeof content};
}

}  // namespace

FileDescriptor NameJournal::create() { return create_memory_file("nursery-names", 0); }

bool NameJournal::is_used(const FileDescriptor& file) noexcept {
  struct stat status{};
  return ::fstat(file.get(), &status) == 0 && status.st_size > 0;
}

std::vector<NameJournal::Entry> NameJournal::read() {
  std::vector<Entry> entries;
  for (Slot slot; read_slot(file_, num_slots_, slot); ++num_slots_) {
    slot.name.back() = '\0';
    if (slot.name.front() == '\0') {
      free_.push_back(num_slots_);
    } else {
      entries.push_back({.name = slot.name.data(),
                         .inode = slot.inode,
                         .is_ours = slot.is_ours != 0,
                         .maker = slot.maker,
                         .slot = num_slots_});
    }
  }
  return entries;
}

std::size_t NameJournal::add(const std::string& name, std::uint64_t inode, bool is_ours, uid_t maker) noexcept {
  if (free_.empty()) free_.push_back(num_slots_++);
  const std::size_t slot = free_.back();
  free_.pop_back();
  Slot content{.inode = inode, .maker = maker, .is_ours = is_ours ? 1U : 0U};
  if (name.size() < content.name.size()) {
    std::memcpy(content.name.data(), name.data(), name.size());
    [[maybe_unused]] const bool is_written = write_slot(file_, slot, content);
  }
  return slot;
}

void NameJournal::erase(std::size_t slot) noexcept {
  [[maybe_unused]] const bool is_written = write_slot(file_, slot, {});
  free_.push_back(slot);
}

}  // namespace troupe
