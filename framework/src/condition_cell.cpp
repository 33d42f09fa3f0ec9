#include <troupe/condition_cell.hpp>

#include <algorithm>
#include <climits>

namespace troupe {

namespace {

// A slot: in the upper half when the thread came, in the lower its process and how far it is. All zero: free.
constexpr std::uint32_t pid_mask = (1U << 28U) - 1;
constexpr std::uint32_t waiting = 1U << 28U;
constexpr std::uint32_t notified = 1U << 29U;
constexpr std::uint32_t is_watched = 1U << 30U;  // who notified it sleeps until it is awake

using Slot = std::atomic<std::uint64_t>;

constexpr bool is_waiting(std::uint64_t slot) { return (slot & waiting) != 0; }
constexpr bool is_notified(std::uint64_t slot) { return (slot & notified) != 0; }
constexpr std::uint32_t pid_of(std::uint64_t slot) { return low_half(slot) & pid_mask; }
constexpr std::uint32_t arrival(std::uint64_t slot) { return static_cast<std::uint32_t>(slot >> 32U); }
constexpr std::uint64_t notified_form(std::uint64_t slot) { return (slot & ~std::uint64_t{waiting}) | notified; }

/// Notifies a slot that was seen waiting; false if it is not any more.
bool notify_slot(Slot& slot, std::uint64_t seen) {
  if (!slot.compare_exchange_strong(seen, notified_form(seen), std::memory_order_release)) return false;
  futex_wake(low_half(slot), INT_MAX);
  return true;
}

/// Notifies the one that has waited longest, counted back from `arrivals`; false if nobody waits.
bool notify_oldest(const SlotTable& table, std::uint32_t arrivals) {
  for (;;) {
    Slot* oldest = nullptr;
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < table.size(); ++i) {
      const std::uint64_t slot = table[i].load(std::memory_order_relaxed);
      if (!is_waiting(slot) || (oldest != nullptr && arrivals - arrival(slot) <= arrivals - arrival(seen))) continue;
      oldest = &table[i];
      seen = slot;
    }
    if (oldest == nullptr) return false;
    if (notify_slot(*oldest, seen)) return true;
  }
}

/// Waits until the thread that was notified is awake, or known to be dead.
void wait_for_answer(Slot& slot) {
  std::uint64_t seen = slot.load(std::memory_order_acquire);
  const auto has_answered = [&] {
    seen = slot.load(std::memory_order_acquire);
    return !is_notified(seen);
  };
  if (look_shortly(has_answered)) return;
  while (!has_answered()) {
    const std::uint64_t watched = seen | is_watched;
    if (seen != watched && !slot.compare_exchange_weak(seen, watched, std::memory_order_relaxed)) continue;
    futex_wait(low_half(slot), low_half(watched), no_deadline);
  }
}

void free_slot(Slot& slot) {
  const std::uint64_t before = slot.exchange(0, std::memory_order_acq_rel);
  if ((before & is_watched) != 0) futex_wake(low_half(slot), INT_MAX);
}

}  // namespace

std::optional<std::size_t> ConditionCell::enter() noexcept {
  const SlotTable table{head};
  const std::uint64_t mine =
      std::uint64_t{arrivals.fetch_add(1, std::memory_order_relaxed)} << 32U | waiting | own_pid();
  for (std::size_t i = 0; i < table.size(); ++i) {
    std::uint64_t free = 0;
    if (table[i].load(std::memory_order_relaxed) == 0 &&
        table[i].compare_exchange_strong(free, mine, std::memory_order_relaxed))
      return i;
  }
  return std::nullopt;
}

bool ConditionCell::wait(std::size_t slot, Deadline deadline) noexcept {
  Slot& mine = SlotTable{head}[slot];
  std::uint64_t seen = mine.load(std::memory_order_acquire);
  while (is_waiting(seen)) {
    if (is_over(deadline)) {
      if (mine.compare_exchange_strong(seen, 0, std::memory_order_relaxed)) return false;
    } else {
      futex_wait(low_half(mine), low_half(seen), deadline);
      seen = mine.load(std::memory_order_acquire);
    }
  }
  free_slot(mine);
  return true;
}

void ConditionCell::notify(std::size_t count) noexcept {
  const SlotTable table{head};
  const std::uint32_t last = arrivals.load(std::memory_order_relaxed);
  for (std::size_t i = 0; i < std::min(count, table.size()) && notify_oldest(table, last); ++i) {
  }
  // Whoever was notified in the place of one that died is among them.
  for (std::size_t i = 0; i < table.size(); ++i) wait_for_answer(table[i]);
}

void ConditionCell::recover(std::uint32_t dead, std::size_t num_lines) noexcept {
  const SlotTable table{head, num_lines};
  for (std::size_t i = 0; i < table.size(); ++i) {
    std::uint64_t seen = table[i].load(std::memory_order_relaxed);
    if (pid_of(seen) != dead) {
      if (is_notified(seen)) futex_wake(low_half(table[i]), INT_MAX);
      continue;
    }
    while (is_waiting(seen) && !table[i].compare_exchange_strong(seen, 0)) {
    }
    if (!is_notified(seen)) continue;
    notify_oldest(table, arrivals.load(std::memory_order_relaxed));
    free_slot(table[i]);
  }
}

}  // namespace troupe
