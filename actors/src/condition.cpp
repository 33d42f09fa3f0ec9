#include <troupe/condition.hpp>

#include <troupe/error.hpp>

#include <string>
#include <utility>

namespace troupe {

namespace {

constexpr const char* handle_kind = "condition";

}  // namespace

Condition::Condition(AnyLock lock, ConditionOptions options) : lock_(std::move(lock)) {
  if (options.max_waiters == 0 || options.max_waiters > max_cell_slots)
    throw ValueError("a condition is for 1 to " + std::to_string(max_cell_slots) + " waiters, not " +
                     std::to_string(options.max_waiters));
  const std::size_t lines = SlotTable::lines_for(options.max_waiters);
  cell_ = lock_.cell_.is_local() ? CellHandle::make_local(CellKind::condition, lines)
                                 : CellHandle::make(CellKind::condition, lines);
}

ConditionCell& Condition::cell(const char* attempted) const {
  if (!cell_) throw AssertionError("this condition was moved from: use the one that it went to");
  if (!lock_.is_held_here()) {
    const std::string text = std::string("a condition's lock must be held to ") + attempted;
    if (cell_.is_local()) throw RuntimeError(text);
    throw AssertionError(text);
  }
  return cell_.as<ConditionCell>();
}

bool Condition::wait_until(Deadline deadline) const {
  ConditionCell& me = cell("wait for it");
  const auto slot = me.enter();
  if (!slot) throw Full("too many threads wait for this condition: make it with more max_waiters");
  std::uint32_t depth = 0;
  try {
    depth = lock_.give_all();
  } catch (...) {  // somebody else has given the caller's lock back
    me.wait(*slot, at_once);
    throw;
  }
  const bool was_notified = me.wait(*slot, deadline);
  lock_.take_again(depth);
  return was_notified;
}

void Condition::notify(std::size_t count) const { cell("notify it").notify(count); }

void Codec<Condition>::encode(const Condition& condition, wire::Value::Builder out) {
  auto parts = out.initList(2);
  condition.cell_.encode(parts[0], handle_kind);
  Codec<AnyLock>::encode(condition.lock_, parts[1]);
}

Condition Codec<Condition>::decode(wire::Value::Reader in) {
  if (!in.isList() || in.getList().size() != 2) detail::fail_shape(handle_kind, in);
  CellHandle cell = CellHandle::decode(in.getList()[0], handle_kind, {CellKind::condition});
  return Condition{Codec<AnyLock>::decode(in.getList()[1]), std::move(cell)};
}

}  // namespace troupe
