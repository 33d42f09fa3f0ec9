// Layout: Head, a Slot entry per item, then the slots. A slot is a head of 8 bytes (type, length) and its bytes.

#include <troupe/shareable_list.hpp>

#include <troupe/error.hpp>
#include <troupe/raw_value.hpp>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <optional>

namespace troupe {

namespace {

constexpr std::uint64_t list_mark = 0x74726f7570654c31;  // "troupeL1"
constexpr std::size_t unit = 8;

struct Head {
  std::uint64_t mark;
  std::uint64_t count;
};
struct SlotEntry {
  std::uint64_t offset;
  std::uint64_t capacity;
};
struct SlotHead {
  std::uint32_t type;  // index in ShareableItem::Variant
  std::uint32_t bytes;
};

std::span<const std::byte> payload_of(const ShareableItem& item, std::uint64_t& number) {
  return std::visit(
      [&]<class T>(const T& value) -> std::span<const std::byte> {
        if constexpr (std::is_same_v<T, std::monostate>) {
          return {};
        } else if constexpr (std::is_arithmetic_v<T>) {
          number = 0;
          std::memcpy(&number, &value, sizeof value);
          return std::as_bytes(std::span{&number, 1});
        } else {
          return std::as_bytes(std::span{value.data(), value.size()});
        }
      },
      item.value());
}

bool is_text(const ShareableItem& item) { return item.value().index() >= 4; }

std::size_t capacity_for(const ShareableItem& item) {
  std::uint64_t number = 0;
  return is_text(item) ? unit * (payload_of(item, number).size() / unit + 1) : unit;
}

void write(std::byte* slot, const ShareableItem& item) {
  std::uint64_t number = 0;
  const auto bytes = payload_of(item, number);
  const SlotHead head{.type = static_cast<std::uint32_t>(item.value().index()),
                      .bytes = static_cast<std::uint32_t>(bytes.size())};
  std::memcpy(slot, &head, sizeof head);
  if (!bytes.empty()) std::memcpy(slot + sizeof head, bytes.data(), bytes.size());
}

template <class T>
T number_in(const std::byte* bytes) {
  T value{};
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

ShareableItem read(const std::byte* slot, std::size_t capacity) {
  SlotHead head{};
  std::memcpy(&head, slot, sizeof head);
  const std::byte* bytes = slot + sizeof head;
  switch (head.type) {
    case 0: return {};
    case 1: return bytes[0] != std::byte{0};
    case 2: return number_in<std::int64_t>(bytes);
    case 3: return number_in<double>(bytes);
    default: break;
  }
  std::size_t size = std::min<std::size_t>(head.bytes, capacity);
  while (size > 0 && bytes[size - 1] == std::byte{0}) --size;
  if (head.type == 4) return std::string(reinterpret_cast<const char*>(bytes), size);
  return ShareableItem::Bytes(bytes, bytes + size);
}

SharedMemory make_memory(std::span<const ShareableItem> items, std::string_view name) {
  std::size_t offset = sizeof(Head) + items.size() * sizeof(SlotEntry);
  std::vector<SlotEntry> entries;
  for (const ShareableItem& item : items) {
    entries.push_back({.offset = offset, .capacity = capacity_for(item)});
    offset += sizeof(SlotHead) + entries.back().capacity;
  }
  SharedMemory memory = SharedMemory::create(static_cast<std::ptrdiff_t>(offset), name);
  std::byte* data = memory.buf().data();
  const Head head{.mark = list_mark, .count = items.size()};
  std::memcpy(data, &head, sizeof head);
  if (!entries.empty()) std::memcpy(data + sizeof head, entries.data(), entries.size() * sizeof(SlotEntry));
  for (std::size_t i = 0; i < items.size(); ++i) write(data + entries[i].offset, items[i]);
  return memory;
}

std::optional<double> number_of(const ShareableItem& item) {
  return std::visit(
      []<class T>(const T& value) -> std::optional<double> {
        if constexpr (std::is_arithmetic_v<T>) return static_cast<double>(value);
        return std::nullopt;
      },
      item.value());
}

}  // namespace

// --- Items ---

std::string ShareableItem::to_string() const {
  return std::visit(
      []<class T>(const T& value) -> std::string {
        if constexpr (std::is_same_v<T, std::monostate>) {
          return "None";
        } else if constexpr (std::is_same_v<T, bool>) {
          return value ? "True" : "False";
        } else if constexpr (std::is_same_v<T, double>) {
          char text[32];
          std::snprintf(text, sizeof text, "%.17g", value);
          return text;
        } else if constexpr (std::is_arithmetic_v<T>) {
          return std::to_string(value);
        } else if constexpr (std::is_same_v<T, std::string>) {
          return "'" + value + "'";
        } else {
          std::string text = "b'";
          for (const std::byte byte : value) {
            char digits[8];
            std::snprintf(digits, sizeof digits, "\\x%02x", std::to_integer<unsigned>(byte));
            text += digits;
          }
          return text + "'";
        }
      },
      value_);
}

bool operator==(const ShareableItem& a, const ShareableItem& b) {
  if (a.value_.index() == b.value_.index()) return a.value_ == b.value_;
  const auto x = number_of(a);
  return x.has_value() && x == number_of(b);
}

void ShareableItem::fail_type() const {
  throw TypeError("the item of a ShareableList is " + to_string() + ", which is not of the type asked for");
}

void ShareableItem::fail_range(const std::string& number) {
  throw ValueError(number + " is out of range: integers in a ShareableList have 64 bits, and are read as another type "
                            "only if that has room for them");
}

// --- The list ---

ShareableList::ShareableList(std::span<const ShareableItem> items, std::string_view name)
    : ShareableList(make_memory(items, name)) {}

ShareableList::ShareableList(SharedMemory memory) : memory_(std::move(memory)) {
  const auto all = memory_.buf();
  const auto refuse = [&] { throw ValueError(memory_.to_string() + " holds no ShareableList"); };
  Head head{};
  if (all.size() < sizeof head) refuse();
  std::memcpy(&head, all.data(), sizeof head);
  if (head.mark != list_mark || head.count > (all.size() - sizeof head) / sizeof(SlotEntry)) refuse();
  std::vector<Slot> slots;
  for (std::size_t i = 0; i < head.count; ++i) {
    SlotEntry entry{};
    std::memcpy(&entry, all.data() + sizeof head + i * sizeof entry, sizeof entry);
    if (entry.offset % unit != 0 || entry.capacity < unit || entry.offset > all.size() ||
        all.size() - entry.offset < sizeof(SlotHead) || entry.capacity > all.size() - entry.offset - sizeof(SlotHead))
      refuse();
    slots.push_back({.offset = entry.offset, .capacity = entry.capacity});
  }
  slots_ = std::make_shared<const std::vector<Slot>>(std::move(slots));
}

ShareableList ShareableList::copy_of(const ShareableList& other, std::string_view name) {
  return ShareableList{other.items(), name};
}

ShareableList ShareableList::attach(std::string_view name) { return ShareableList{SharedMemory::attach(name)}; }

std::size_t ShareableList::size() const noexcept { return slots_->size(); }

std::byte* ShareableList::head_of(std::ptrdiff_t index, Slot& slot) const {
  slot = (*slots_)[detail::checked_index(index, slots_->size())];
  const auto all = memory_.buf();
  if (all.empty()) throw ValueError(memory_.to_string() + " is closed");
  return all.data() + slot.offset;
}

ShareableItem ShareableList::get(std::ptrdiff_t index) const {
  Slot slot;
  const std::byte* head = head_of(index, slot);
  return read(head, slot.capacity);
}

void ShareableList::set(std::ptrdiff_t index, const ShareableItem& item) const {
  Slot slot;
  std::byte* head = head_of(index, slot);
  std::uint64_t number = 0;
  const std::size_t bytes = payload_of(item, number).size();
  if (bytes > slot.capacity)
    throw ValueError(std::to_string(bytes) + " bytes for item " + std::to_string(index) +
                     " of a ShareableList: it exceeds available storage, which is " + std::to_string(slot.capacity) +
                     " bytes since the list was made");
  write(head, item);
}

std::vector<ShareableItem> ShareableList::items() const {
  std::vector<ShareableItem> all;
  for (std::size_t i = 0; i < size(); ++i) all.push_back(get(static_cast<std::ptrdiff_t>(i)));
  return all;
}

std::size_t ShareableList::count(const ShareableItem& item) const {
  return static_cast<std::size_t>(std::ranges::count(items(), item));
}

std::size_t ShareableList::index(const ShareableItem& item) const {
  const auto all = items();
  const auto found = std::ranges::find(all, item);
  if (found == all.end()) throw ValueError(item.to_string() + " is not in the ShareableList");
  return static_cast<std::size_t>(found - all.begin());
}

std::string ShareableList::to_string() const {
  std::string text;
  for (const auto& item : items()) text += (text.empty() ? "" : ", ") + item.to_string();
  return "ShareableList([" + text + "], name='" + memory_.name() + "')";
}

}  // namespace troupe
