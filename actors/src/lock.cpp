#include <troupe/lock.hpp>

#include <utility>

namespace troupe {

namespace {

constexpr const char* handle_kind = "lock";

}  // namespace

AnyLock::AnyLock(CellKind kind, LockOptions options) : AnyLock(CellHandle::make(kind)) {
  if (options.on_abandoned == OnAbandoned::fail) cell_.head().options.store(LockCell::fails_abandoned);
}

bool AnyLock::fails_abandoned() const { return (cell_.head().options.load() & LockCell::fails_abandoned) != 0; }

void AnyLock::refuse_abandoned() const {
  if (!fails_abandoned()) return;
  release_abandoned();
  throw AbandonedError(
      "the process that held this lock has died with it: look after what it guards, then call clear_abandoned");
}

// With OnAbandoned::fail the mark stays until it is cleared.
void AnyLock::release_abandoned() const {
  LockState& state = this->state();
  if (is_recursive_ && (!state.is_own_recursive() || state.depth.load() > 0 || !fails_abandoned())) {
    if (!state.give_recursive()) fail_release();
  } else if (fails_abandoned() && lock_word::owner(state.word.load()) != 0) {
    state.owner_thread.store(0);
    state.give_as_abandoned();
  } else if (!state.give() && (fails_abandoned() || !state.give_left_behind())) {
    fail_release();
  }
}

void AnyLock::fail_release() const {
  const std::string text = is_recursive_ ? "an RLock can only be released by the thread that holds it"
                                         : "a Lock was released that nobody holds";
  if (cell_.is_local()) throw RuntimeError(text);
  if (is_recursive_) throw AssertionError(text);
  throw ValueError(text);
}

void AnyLock::fail_empty() { throw AssertionError("this lock was moved from: use the one that it went to"); }

std::uint32_t AnyLock::give_all() const {
  LockState& state = this->state();
  const std::uint32_t depth = is_recursive_ ? state.depth.exchange(0) : 0;
  release();
  return depth;
}

void AnyLock::take_again(std::uint32_t depth) const {
  LockState& state = this->state();
  if (!is_recursive_) {
    state.take(own_pid(), no_deadline);
    return;
  }
  state.take_recursive(no_deadline);
  state.depth.store(depth);
}

void Codec<AnyLock>::encode(const AnyLock& lock, wire::Value::Builder out) { lock.cell_.encode(out, handle_kind); }
AnyLock Codec<AnyLock>::decode(wire::Value::Reader in) {
  return AnyLock{CellHandle::decode(in, handle_kind, {CellKind::lock, CellKind::recursive_lock})};
}

void Codec<Lock>::encode(const Lock& lock, wire::Value::Builder out) { lock.cell_.encode(out, handle_kind); }
Lock Codec<Lock>::decode(wire::Value::Reader in) {
  return Lock{CellHandle::decode(in, handle_kind, {CellKind::lock})};
}

void Codec<RLock>::encode(const RLock& lock, wire::Value::Builder out) { lock.cell_.encode(out, handle_kind); }
RLock Codec<RLock>::decode(wire::Value::Reader in) {
  return RLock{CellHandle::decode(in, handle_kind, {CellKind::recursive_lock})};
}

}  // namespace troupe
