#include <troupe/error.hpp>
#include <troupe/store.hpp>

#include "self.hpp"

#include <atomic>
#include <cerrno>
#include <string>
#include <sys/random.h>

namespace troupe {

namespace {

void check(std::span<const int> descriptors) {
  if (descriptors.empty() || descriptors.size() > store::max_descriptors)
    throw ValueError("a ticket is for 1 to " + std::to_string(store::max_descriptors) + " descriptors, not " +
                     std::to_string(descriptors.size()));
}

std::atomic<std::uint64_t> let_go_count{0};

}  // namespace

Ticket new_ticket() {
  Ticket ticket = 0;
  while (ticket == 0)
    if (::getrandom(&ticket, sizeof ticket, 0) != sizeof ticket) throw OSError(errno, "drawing a ticket");
  return ticket;
}

void store::hold(Ticket ticket, std::span<const int> descriptors) {
  check(descriptors);
  with_nursery([&](NurseryLink& nursery) { nursery.hold(ticket, descriptors); });
}

std::vector<FileDescriptor> store::take_hold(Ticket ticket) {
  return with_nursery([&](NurseryLink& nursery) { return nursery.take_hold(ticket); });
}

void store::let_go(Ticket ticket) {
  ++let_go_count;
  with_nursery([&](NurseryLink& nursery) { nursery.let_go(ticket); });
}

std::uint64_t store::num_let_go() noexcept { return let_go_count; }

void store::attach(Ticket carrier, Ticket ticket) {
  with_nursery([&](NurseryLink& nursery) { nursery.attach(carrier, ticket); });
}

Ticket store::deposit(std::span<const int> descriptors) {
  check(descriptors);
  const Ticket ticket = new_ticket();
  with_nursery([&](NurseryLink& nursery) { nursery.deposit(ticket, descriptors); });
  WrittenHandles::note(ticket, [ticket] { store::withdraw(ticket); });
  return ticket;
}

std::vector<FileDescriptor> store::withdraw(Ticket ticket) {
  return with_nursery([&](NurseryLink& nursery) { return nursery.withdraw(ticket); });
}

WrittenHandles::~WrittenHandles() {
  current_ = outer_;
  take_back(take_back_);
}

void WrittenHandles::take_back(const std::vector<TakeBack>& all) noexcept {
  for (const TakeBack& one : all) try {
      one();
    } catch (const Error&) {
      // The nursery is gone, and with it what it kept.
    }
}

void WrittenHandles::add(Ticket ticket, TakeBack take_back) {
  tickets_.push_back(ticket);
  if (take_back) take_back_.push_back(std::move(take_back));
}

}  // namespace troupe
