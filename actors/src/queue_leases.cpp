#include "queue_leases.hpp"

#include <troupe/cell.hpp>
#include <troupe/error.hpp>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

namespace troupe::detail {

namespace {

pid_t pid_of(std::uint64_t key) { return static_cast<pid_t>(key & ((std::uint64_t{1} << pid_bits) - 1)); }

std::uint64_t own_key() {
  static std::atomic<std::uint64_t> known{0};
  std::uint64_t key = known;
  if (pid_of(key) != static_cast<pid_t>(own_pid())) known = key = process_key(static_cast<pid_t>(own_pid()));
  return key;
}

bool has_start(std::uint64_t key) { return key >> pid_bits != 0; }

bool is_dead(std::uint64_t key) {
  if (has_ended(pid_of(key))) return true;
  const std::uint64_t now = process_key(pid_of(key));
  return has_start(key) && has_start(now) && now != key;
}

}  // namespace

std::uint64_t process_key(pid_t pid) {
  constexpr int num_fields_before = 19;  // from the state on, which follows the name
  std::ifstream file{"/proc/" + std::to_string(pid) + "/stat"};
  std::string text;
  std::getline(file, text);
  std::istringstream fields{text.substr(text.rfind(')') + 1)};
  std::string field;
  for (int i = 0; i < num_fields_before; ++i) fields >> field;
  std::uint64_t start = 0;
  fields >> start;
  return start << pid_bits | static_cast<std::uint64_t>(pid);
}

QueueLeases::QueueLeases(int file, std::size_t offset)
    : memory_(file, offset, bytes, Mapping::Access::read_write, "what was taken from a queue"),
      places_(reinterpret_cast<Lease*>(memory_.data()), num_places),
      messages_(memory_.data() + num_places * sizeof(Lease)),
      file_(file),
      messages_offset_(offset + num_places * sizeof(Lease)) {}

void QueueLeases::keep(std::uint64_t number, std::span<const std::byte> message) {
  const auto place = std::ranges::find_if(places_, [](const Lease& lease) { return lease.owner.load() == 0; });
  if (place == places_.end())
    throw Full(std::to_string(num_places) + " items of a queue were taken and are not done: call task_done()");
  const auto offset = static_cast<std::size_t>(place - places_.begin()) * place_bytes;
  if (const int error = back_with_memory(file_, messages_offset_ + offset, message.size()); error != 0)
    throw OSError(error, "getting memory for an item of a queue");
  std::memcpy(messages_ + offset, message.data(), message.size());
  place->num_bytes = static_cast<std::uint32_t>(message.size());
  place->number = number;
  place->deliveries = 1;
  place->owner_thread = own_tid();
  place->owner.store(own_key());
}

Lease* QueueLeases::find_orphan(std::uint64_t last_out) {
  std::map<std::uint64_t, bool> dead{{0, false}, {own_key(), false}};
  for (Lease& lease : places_) {
    const std::uint64_t owner = lease.owner.load();
    if (!dead.contains(owner)) dead[owner] = is_dead(owner);
    if (!dead[owner]) continue;
    if (lease.number <= last_out) return &lease;
    lease.owner.store(0);  // killed before it was out
  }
  return nullptr;
}

void QueueLeases::take_over(Lease& lease) {
  lease.owner_thread = own_tid();
  ++lease.deliveries;
  lease.owner.store(own_key());
}

std::span<const std::byte> QueueLeases::message_of(const Lease& lease) const {
  const auto place = static_cast<std::size_t>(&lease - places_.data());
  return {messages_ + place * place_bytes, std::min<std::size_t>(lease.num_bytes, place_bytes)};
}

Lease* QueueLeases::oldest_taken() {
  const std::uint64_t own = own_key();
  Lease* oldest = nullptr;
  const auto is_better = [](const Lease& a, const Lease& b) {
    const bool a_is_mine = a.owner_thread == own_tid();
    return a_is_mine != (b.owner_thread == own_tid()) ? a_is_mine : a.number < b.number;
  };
  for (Lease& lease : places_)
    if (lease.owner.load() == own && (oldest == nullptr || is_better(lease, *oldest))) oldest = &lease;
  return oldest;
}

bool QueueLeases::end(Lease& lease) {
  std::uint64_t owner = own_key();
  return lease.owner.compare_exchange_strong(owner, 0);
}

std::size_t QueueLeases::size() const noexcept {
  return static_cast<std::size_t>(
      std::ranges::count_if(places_, [](const Lease& lease) { return lease.owner.load() != 0; }));
}

}  // namespace troupe::detail
