#include <troupe/barrier_cell.hpp>

#include <climits>

namespace troupe {

namespace {

// A slot: in the upper half the epoch, in the lower the process that waits, and whether that epoch was broken for it.
constexpr std::uint32_t pid_mask = (1U << 28U) - 1;
constexpr std::uint32_t was_broken = 1U << 28U;

constexpr std::uint64_t pack(std::uint32_t epoch, std::uint32_t low) { return std::uint64_t{epoch} << 32U | low; }
constexpr std::uint32_t epoch_of(std::uint64_t word) { return static_cast<std::uint32_t>(word >> 32U); }
constexpr std::uint32_t pid_of(std::uint64_t slot) { return low_half(slot) & pid_mask; }

}  // namespace

std::uint32_t BarrierCell::num_waiting() const noexcept {
  const std::uint64_t count = arrived.load(std::memory_order_acquire);
  return phase.load(std::memory_order_acquire) == epoch_of(count) ? low_half(count) : 0;
}

std::optional<std::size_t> BarrierCell::arrive() noexcept {
  const SlotTable table{head};
  const std::uint32_t now = epoch();
  for (std::size_t i = 0; i < table.size(); ++i) {
    const std::uint64_t slot = table[i].load(std::memory_order_relaxed);
    // One that waited in an epoch which went well is not needed any more, even if its thread has not woken yet.
    const bool is_free = slot == 0 || (epoch_of(slot) != now && (slot & was_broken) == 0);
    if (!is_free) continue;
    const std::uint32_t index = num_waiting();
    table[i].store(pack(now, own_pid()), std::memory_order_release);
    arrived.store(pack(now, index + 1), std::memory_order_release);
    return i;
  }
  return std::nullopt;
}

BarrierCell::Outcome BarrierCell::trip() noexcept {
  std::uint32_t now = epoch();
  if (!phase.compare_exchange_strong(now, now + next_epoch, std::memory_order_acq_rel)) return Outcome::broken;
  futex_wake(&phase, INT_MAX);
  return Outcome::passed;
}

void BarrierCell::abort() noexcept {
  phase.fetch_or(broken, std::memory_order_acq_rel);
  futex_wake(&phase, INT_MAX);
}

void BarrierCell::reset() noexcept {
  const std::uint32_t now = epoch();
  abort();
  leave_broken(now);
  phase.store(now + next_epoch, std::memory_order_release);
  futex_wake(&phase, INT_MAX);
}

// Those who still wait in the epoch will find in their slots how it ended.
void BarrierCell::leave_broken(std::uint32_t in_epoch) noexcept {
  const SlotTable table{head};
  for (std::size_t i = 0; i < table.size(); ++i) {
    std::uint64_t slot = table[i].load(std::memory_order_relaxed);
    if (slot != 0 && epoch_of(slot) == in_epoch)
      table[i].compare_exchange_strong(slot, slot | was_broken, std::memory_order_release);
  }
}

std::optional<BarrierCell::Outcome> BarrierCell::wait(std::size_t slot, std::uint32_t in_epoch,
                                                      Deadline deadline) noexcept {
  const auto is_over_now = [&] { return phase.load(std::memory_order_acquire) != in_epoch; };
  look_shortly(is_over_now);
  while (!is_over_now()) {
    if (is_over(deadline)) return std::nullopt;
    futex_wait(&phase, in_epoch, deadline);
  }
  // First the phase, then the slot: a broken epoch is left for the next one only when the slots say so.
  const bool is_broken_still = phase.load(std::memory_order_acquire) == (in_epoch | broken);
  std::atomic<std::uint64_t>& mine = SlotTable{head}[slot];
  const std::uint64_t expected = pack(in_epoch, own_pid());
  std::uint64_t seen = expected;
  if (mine.compare_exchange_strong(seen, 0, std::memory_order_acq_rel))
    return is_broken_still ? Outcome::broken : Outcome::passed;
  if (seen != (expected | was_broken)) return is_broken_still ? Outcome::broken : Outcome::passed;
  mine.compare_exchange_strong(seen, 0, std::memory_order_acq_rel);
  return Outcome::broken;
}

void BarrierCell::recover(std::uint32_t dead, std::size_t num_lines) noexcept {
  const bool held_lock = lock_word::owner(lock.word.load(std::memory_order_acquire)) == dead;
  const SlotTable table{head, num_lines};
  for (std::size_t i = 0; i < table.size(); ++i) {
    std::uint64_t slot = table[i].load(std::memory_order_acquire);
    if (pid_of(slot) != dead) continue;
    std::uint32_t waited_in = epoch_of(slot);
    if ((slot & was_broken) == 0) phase.compare_exchange_strong(waited_in, waited_in | broken);
    table[i].compare_exchange_strong(slot, 0);
  }
  if (held_lock) phase.fetch_or(broken);
  futex_wake(&phase, INT_MAX);
  lock.recover(dead);
}

}  // namespace troupe
