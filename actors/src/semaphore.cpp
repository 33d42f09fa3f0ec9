#include <troupe/semaphore.hpp>

#include <troupe/error.hpp>

#include <cerrno>
#include <climits>
#include <string>
#include <utility>

namespace troupe {

namespace {

constexpr const char* handle_kind = "semaphore";
/// SEM_VALUE_MAX of Linux.
constexpr std::uint32_t largest_value = INT_MAX;

}  // namespace

Semaphore::Semaphore(int value, SemaphoreOptions options)
    : Semaphore(value, options, Bound::none, Among::processes) {}

Semaphore::Semaphore(int value, SemaphoreOptions options, Bound bound, Among among) {
  if (value < 0 && among == Among::threads)
    throw ValueError("a semaphore cannot begin with " + std::to_string(value) + " permits");
  if (value < 0) throw OSError(EINVAL, "making a semaphore of " + std::to_string(value) + " permits");
  if (options.robust && (options.max_holders == 0 || options.max_holders > max_cell_slots))
    throw ValueError("a robust semaphore has 1 to " + std::to_string(max_cell_slots) + " holders, not " +
                     std::to_string(options.max_holders));
  const CellKind kind = options.robust ? CellKind::robust_semaphore : CellKind::semaphore;
  const std::size_t lines = options.robust ? SlotTable::lines_for(options.max_holders) : 1;
  cell_ = among == Among::threads ? CellHandle::make_local(kind, lines) : CellHandle::make(kind, lines);
  const auto permits = static_cast<std::uint32_t>(value);
  const std::uint32_t most = bound == Bound::initial ? permits : largest_value;
  if (options.robust) {
    auto& cell = cell_.as<RobustSemaphoreCell>();
    cell.bound.store(most);
    cell.total.store(permits);
  } else {
    auto& cell = cell_.as<SemaphoreCell>();
    cell.bound.store(most);
    cell.word.store(permits);
  }
}

bool Semaphore::is_robust() const {
  if (!cell_) throw AssertionError("this semaphore was moved from: use the one that it went to");
  return cell_.head().kind.load(std::memory_order_relaxed) == CellKind::robust_semaphore;
}

bool Semaphore::take(Deadline deadline) const {
  if (!is_robust()) return cell_.as<SemaphoreCell>().take(deadline);
  const auto outcome = cell_.as<RobustSemaphoreCell>().take(deadline);
  if (outcome == RobustSemaphoreCell::Outcome::too_many_holders)
    throw Full("too many processes have permits of this semaphore: make it with more max_holders");
  return outcome == RobustSemaphoreCell::Outcome::done;
}

void Semaphore::release() const {
  const bool done = is_robust() ? cell_.as<RobustSemaphoreCell>().give() == RobustSemaphoreCell::Outcome::done
                                : cell_.as<SemaphoreCell>().give();
  if (!done) throw ValueError("a semaphore was released too many times");
}

int Semaphore::get_value() const {
  return static_cast<int>(is_robust() ? cell_.as<RobustSemaphoreCell>().value() : cell_.as<SemaphoreCell>().value());
}

void Codec<Semaphore>::encode(const Semaphore& semaphore, wire::Value::Builder out) {
  semaphore.cell_.encode(out, handle_kind);
}
Semaphore Codec<Semaphore>::decode(wire::Value::Reader in) {
  return Semaphore{CellHandle::decode(in, handle_kind, {CellKind::semaphore, CellKind::robust_semaphore})};
}

void Codec<BoundedSemaphore>::encode(const BoundedSemaphore& semaphore, wire::Value::Builder out) {
  semaphore.cell_.encode(out, handle_kind);
}
BoundedSemaphore Codec<BoundedSemaphore>::decode(wire::Value::Reader in) {
  return BoundedSemaphore{CellHandle::decode(in, handle_kind, {CellKind::semaphore, CellKind::robust_semaphore})};
}

}  // namespace troupe
