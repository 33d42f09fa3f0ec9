#include "queue_leases.hpp"

#include <troupe/cell.hpp>
#include <troupe/error.hpp>

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <string>

namespace troupe::detail {

bool has_ended(pid_t pid) noexcept {
  const FileDescriptor pidfd{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))};
  if (!pidfd) return errno == ESRCH;
  pollfd end{.fd = pidfd.get(), .events = POLLIN, .revents = 0};
  return ::poll(&end, 1, 0) > 0;
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
  place->owner.store(own_pid());
}

Lease* QueueLeases::find_orphan(std::uint64_t last_out) {
  std::map<std::uint32_t, bool> ended;
  for (Lease& lease : places_) {
    std::uint32_t owner = lease.owner.load();
    if (owner == 0 || owner == own_pid()) continue;
    if (!ended.contains(owner)) ended[owner] = has_ended(static_cast<pid_t>(owner));
    if (!ended[owner]) continue;
    if (lease.number <= last_out) return &lease;
    lease.owner.store(0);  // killed before it was out
  }
  return nullptr;
}

void QueueLeases::take_over(Lease& lease) noexcept {
  lease.owner_thread = own_tid();
  ++lease.deliveries;
  lease.owner.store(own_pid());
}

std::span<const std::byte> QueueLeases::message_of(const Lease& lease) const {
  const auto place = static_cast<std::size_t>(&lease - places_.data());
  return {messages_ + place * place_bytes, std::min<std::size_t>(lease.num_bytes, place_bytes)};
}

Lease* QueueLeases::oldest_taken() noexcept {
  Lease* oldest = nullptr;
  const auto is_better = [](const Lease& a, const Lease& b) {
    const bool a_is_mine = a.owner_thread == own_tid();
    return a_is_mine != (b.owner_thread == own_tid()) ? a_is_mine : a.number < b.number;
  };
  for (Lease& lease : places_)
    if (lease.owner.load() == own_pid() && (oldest == nullptr || is_better(lease, *oldest))) oldest = &lease;
  return oldest;
}

bool QueueLeases::end(Lease& lease) noexcept {
  std::uint32_t owner = own_pid();
  return lease.owner.compare_exchange_strong(owner, 0);
}

std::size_t QueueLeases::size() const noexcept {
  return static_cast<std::size_t>(
      std::ranges::count_if(places_, [](const Lease& lease) { return lease.owner.load() != 0; }));
}

}  // namespace troupe::detail
