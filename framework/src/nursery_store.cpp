#include "nursery_store.hpp"

#include <troupe/sync_slab.hpp>

#include <utility>

namespace troupe {

void NurseryStore::add_holder(Entry& entry, Ticket ticket, pid_t holder) {
  if (entry.holders.empty()) loose_.erase(entry.loose);
  entry.holders.insert(holder);
  held_by_[holder].insert(ticket);
}

void NurseryStore::loosen(Entries::iterator entry) {
  entry->second.loose = loose_.insert(loose_.end(), entry->first);
  if (loose_.size() <= store::max_loose) return;
  entries_.erase(loose_.front());
  loose_.pop_front();
}

void NurseryStore::hold(Ticket ticket, std::vector<FileDescriptor> descriptors, pid_t holder) {
  auto entry = entries_.find(ticket);
  if (entry == entries_.end()) {
    if (descriptors.empty()) return;  // a forked process holds what its parent has let go of meanwhile
    entry = entries_.try_emplace(ticket).first;
    entry->second.descriptors = std::move(descriptors);
    loosen(entry);
  }
  add_holder(entry->second, ticket, holder);
}

std::vector<int> NurseryStore::take_hold(Ticket ticket, pid_t holder) {
  const auto entry = entries_.find(ticket);
  if (entry == entries_.end()) return {};
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
  if (entry->second.holders.empty()) loosen(entry);
}

void NurseryStore::deposit(Ticket ticket, std::vector<FileDescriptor> descriptors) {
  const auto [entry, is_new] = entries_.try_emplace(ticket);
  if (!is_new) return;
  entry->second.descriptors = std::move(descriptors);
  loosen(entry);
}

std::vector<FileDescriptor> NurseryStore::withdraw(Ticket ticket) {
  const auto entry = entries_.find(ticket);
  if (entry == entries_.end() || !entry->second.holders.empty()) return {};
  std::vector<FileDescriptor> descriptors = std::move(entry->second.descriptors);
  loose_.erase(entry->second.loose);
  entries_.erase(entry);
  return descriptors;
}

void NurseryStore::holder_ended(pid_t holder) {
  const auto held = held_by_.find(holder);
  if (held == held_by_.end()) return;
  const std::set<Ticket> tickets = held->second;
  for (const Ticket ticket : tickets) {
    for (const auto& descriptor : entries_.at(ticket).descriptors) recover_slab(descriptor.get(), holder);
    let_go(ticket, holder);
  }
}

}  // namespace troupe
