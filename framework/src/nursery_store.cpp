// An entry is held by processes, or carried by another entry that a message lies in, or loose: then a message may be
// on its way that names it, and it stays until there is too much that is younger. What only loose entries carry is
// loose with them.

#include "nursery_store.hpp"

#include <troupe/shared_arena.hpp>
#include <troupe/sync_slab.hpp>

#include "stored_memory.hpp"
#include "use_ledger.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <poll.h>
#include <string>
#include <string_view>
#include <unistd.h>
#include <utility>

namespace troupe {

namespace {

/// Memory that no message names stays for a while if it is so little: a process that was just forked, or a task that is
/// run again, may come to ask for it.
constexpr std::uint64_t linger_bytes = 64 * 1024;
/// While somebody may put more that names an entry, or for a carrier that is no queue.
constexpr std::uint64_t any_item = ~std::uint64_t{0};

// Whether it is memory whose own counts say that no message names anything in it.
bool is_unnamed(const std::vector<FileDescriptor>& descriptors) {
  return descriptors.size() == 1 && is_named_by_messages(descriptors.front().get()) == false;
}

bool is_ledger(const std::vector<FileDescriptor>& descriptors) {
  return descriptors.size() == 1 && mark_of(descriptors.front().get()) == UseLedger::right_mark;
}

bool is_eventfd(int descriptor) {
  constexpr std::string_view kind = "anon_inode:[eventfd]";
  std::array<char, kind.size()> text{};
  const std::string link = "/proc/self/fd/" + std::to_string(descriptor);
  return ::readlink(link.c_str(), text.data(), text.size()) == static_cast<ssize_t>(kind.size()) &&
         std::string_view(text.data(), text.size()) == kind;
}

// One that is full has been written anyhow, and would block.
void write_eventfd(int descriptor) {
  pollfd event{.fd = descriptor, .events = POLLOUT, .revents = 0};
  if (!is_eventfd(descriptor) || ::poll(&event, 1, 0) <= 0) return;
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(descriptor, &one, sizeof one);
}

}  // namespace

NurseryStore::Entries::iterator NurseryStore::add(Ticket ticket,
                                                  std::optional<std::vector<FileDescriptor>> descriptors) {
  const auto entry = entries_.try_emplace(ticket).first;
  entry->second.is_lost = !descriptors;
  if (descriptors) entry->second.descriptors = std::move(*descriptors);
  return entry;
}

void NurseryStore::add_holder(Entry& entry, Ticket ticket, pid_t holder) {
  tighten(entry);
  entry.holders.insert(holder);
  held_by_[holder].insert(ticket);
}

// What becomes of an entry that nobody holds.
void NurseryStore::settle(Entries::iterator entry) {
  if (!entry->second.holders.empty()) return;
  if (is_ledger(entry->second.descriptors)) return erase(entry);  // nobody else asks for it
  if (is_unnamed(entry->second.descriptors)) {
    if (memory_taken(entry->second.descriptors.front().get()) > linger_bytes) return erase(entry);
    leave_carriers(entry);
  }
  for (auto& [carrier, last_item] : entry->second.carriers) last_item = last_item_in(carrier);
  loosen(entry);
}

void NurseryStore::leave_carriers(Entries::iterator entry) {
  for (const auto& [carrier, last_item] : std::exchange(entry->second.carriers, {}))
    if (const auto other = entries_.find(carrier); other != entries_.end()) other->second.carried.erase(entry->first);
}

// Of a carrier that nobody will put more into that names what is asked for.
std::uint64_t NurseryStore::last_item_in(Ticket carrier) const {
  const auto entry = entries_.find(carrier);
  if (entry == entries_.end() || entry->second.descriptors.empty()) return any_item;
  const auto progress = queue_progress(entry->second.descriptors.front().get());
  return progress ? progress->num_put + 1 : any_item;  // who has just ended may have put one and not counted it
}

// What only items named that have gone is not carried any more. A process that was killed with such an item in its
// hands cannot say so.
void NurseryStore::drop_what_has_gone(Ticket carrier) {
  const auto queue = entries_.find(carrier);
  if (queue == entries_.end() || queue->second.holders.empty() || queue->second.carried.empty() ||
      queue->second.descriptors.empty())
    return;
  const auto progress = queue_progress(queue->second.descriptors.front().get());
  if (!progress) return;
  const std::set<Ticket> tickets = queue->second.carried;
  for (const Ticket ticket : tickets) {
    const auto entry = entries_.find(ticket);
    if (entry == entries_.end() || !entry->second.holders.empty()) continue;
    const auto place = entry->second.carriers.find(carrier);
    if (place == entry->second.carriers.end() || place->second > progress->num_gone) continue;
    entry->second.carriers.erase(place);
    queue->second.carried.erase(ticket);
    loosen(entry);
  }
}

// Whether a process holds it, or what it lies in, or what that lies in: in a circle of queues nobody may.
bool NurseryStore::is_kept(const Entry& first) const {
  std::set<Ticket> seen;
  for (std::vector<const Entry*> entries{&first}; !entries.empty();) {
    const Entry& entry = *entries.back();
    entries.pop_back();
    if (!entry.holders.empty()) return true;
    for (const auto& [carrier, last_item] : entry.carriers) {
      const auto other = entries_.find(carrier);
      if (other != entries_.end() && !other->second.loose && seen.insert(carrier).second)
        entries.push_back(&other->second);
    }
  }
  return false;
}

void NurseryStore::loosen(Entries::iterator entry) {
  note_loose(entry);
  while (num_loose_descriptors_ > max_loose_) erase(entries_.find(loose_.front()));
}

// An entry that nobody keeps, and those that it has kept.
void NurseryStore::note_loose(Entries::iterator place) {
  for (std::vector<Ticket> tickets{place->first}; !tickets.empty();) {
    const Ticket ticket = tickets.back();
    tickets.pop_back();
    Entry& entry = entries_.at(ticket);
    if (entry.loose || is_kept(entry)) continue;
    entry.loose = loose_.insert(loose_.end(), ticket);
    num_loose_descriptors_ += num_descriptors(entry);
    tickets.insert(tickets.end(), entry.carried.begin(), entry.carried.end());
  }
}

void NurseryStore::tighten(Entry& first) {
  for (std::vector<Entry*> entries{&first}; !entries.empty();) {
    Entry& entry = *entries.back();
    entries.pop_back();
    if (!entry.loose) continue;
    forget_loose(entry);
    for (const Ticket carried : entry.carried) entries.push_back(&entries_.at(carried));
  }
}

void NurseryStore::forget_loose(Entry& entry) {
  if (!entry.loose) return;
  loose_.erase(*entry.loose);
  entry.loose.reset();
  num_loose_descriptors_ -= num_descriptors(entry);
}

void NurseryStore::erase(Entries::iterator place) {
  forget_loose(place->second);
  leave_carriers(place);
  for (const Ticket carried : place->second.carried)
    if (const auto other = entries_.find(carried); other != entries_.end()) {
      other->second.carriers.erase(place->first);
      orphans_.push_back(carried);
    }
  entries_.erase(place);
}

// One after the other: each may have carried others, however long such a chain is.
void NurseryStore::settle_orphans() {
  while (!orphans_.empty()) {
    const auto entry = entries_.find(orphans_.back());
    orphans_.pop_back();
    if (entry == entries_.end()) continue;
    // What was deposited for one message went with that message.
    entry->second.is_deposit && entry->second.carriers.empty() ? erase(entry) : settle(entry);
  }
}

void NurseryStore::hold(Ticket ticket, std::optional<std::vector<FileDescriptor>> descriptors, pid_t holder) {
  auto entry = entries_.find(ticket);
  if (entry == entries_.end()) {
    if (descriptors && descriptors->empty()) return;  // a forked process holds what its parent has let go of meanwhile
    entry = add(ticket, std::move(descriptors));
  }
  add_holder(entry->second, ticket, holder);
}

std::vector<int> NurseryStore::take_hold(Ticket ticket, pid_t holder) {
  const auto entry = entries_.find(ticket);
  if (entry == entries_.end() || entry->second.is_lost) return {};
  add_holder(entry->second, ticket, holder);
  std::vector<int> numbers;
  for (const auto& descriptor : entry->second.descriptors) numbers.push_back(descriptor.get());
  return numbers;
}

void NurseryStore::let_go(Ticket ticket, pid_t holder) {
  const auto entry = entries_.find(ticket);
  if (entry == entries_.end() || entry->second.holders.erase(holder) == 0) return;
  const auto held = held_by_.find(holder);
  held->second.erase(ticket);
  if (held->second.empty()) held_by_.erase(held);
  settle(entry);
  drop_what_has_gone(ticket);
  settle_orphans();
}

void NurseryStore::attach(Ticket carrier, Ticket ticket) {
  const auto outer = entries_.find(carrier);
  const auto inner = entries_.find(ticket);
  if (outer == entries_.end() || inner == entries_.end() || outer == inner) return;
  if (!outer->second.loose) tighten(inner->second);
  outer->second.carried.insert(ticket);
  // This may be the last word of a process that was killed meanwhile.
  const bool is_left = inner->second.holders.empty() && !inner->second.is_deposit;
  inner->second.carriers[carrier] = is_left ? last_item_in(carrier) : any_item;
}

void NurseryStore::deposit(Ticket ticket, std::optional<std::vector<FileDescriptor>> descriptors) {
  if (entries_.contains(ticket) || (descriptors && descriptors->empty())) return;
  const auto entry = add(ticket, std::move(descriptors));
  entry->second.is_deposit = true;
  loosen(entry);
  settle_orphans();
}

std::vector<FileDescriptor> NurseryStore::withdraw(Ticket ticket) {
  const auto entry = entries_.find(ticket);
  if (entry == entries_.end() || !entry->second.holders.empty() || entry->second.is_lost) return {};
  tighten(entry->second);
  std::vector<FileDescriptor> descriptors = std::move(entry->second.descriptors);
  erase(entry);
  settle_orphans();
  return descriptors;
}

// What a process used whose ledger this is.
void NurseryStore::drop_uses(int descriptor) const {
  for (const auto& [arena, offset, bytes, serial] : UseLedger::read(descriptor)) {
    const auto entry = entries_.find(arena);
    if (entry == entries_.end() || entry->second.descriptors.empty()) continue;
    SharedArena::drop_user_of_dead(entry->second.descriptors.front().get(), offset, serial, bytes);
  }
}

bool NurseryStore::has_lost(Ticket ticket) const {
  const auto entry = entries_.find(ticket);
  return entry != entries_.end() && entry->second.is_lost;
}

void NurseryStore::holder_ended(pid_t holder) {
  const auto held = held_by_.find(holder);
  if (held == held_by_.end()) return;
  const std::set<Ticket> tickets = held->second;
  const auto for_each_descriptor = [&](const auto& use) {
    for (const Ticket ticket : tickets)
      if (const auto entry = entries_.find(ticket); entry != entries_.end())
        for (const auto& descriptor : entry->second.descriptors) use(descriptor.get());
  };
  for_each_descriptor([&](int descriptor) {
    recover_slab(descriptor, holder);
    drop_uses(descriptor);
  });
  for_each_descriptor(write_eventfd);
  for (const Ticket ticket : tickets) let_go(ticket, holder);
}

}  // namespace troupe
