#include <troupe/barrier.hpp>

#include <string>

namespace troupe {

namespace {

constexpr const char* handle_kind = "barrier";

/// A barrier's lock, for a scope.
class Held {
 public:
  explicit Held(LockState& lock) noexcept : lock_(lock) { lock_.take_recursive(no_deadline); }
  ~Held() { lock_.give_recursive(); }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;

 private:
  LockState& lock_;
};

[[noreturn]] void fail_broken() {
  throw BrokenBarrierError("the barrier is broken: a party has left it; reset it when all know");
}

}  // namespace

std::shared_ptr<detail::BarrierAction> detail::BarrierAction::decode(wire::Value::Reader in) {
  if (in.isNone()) return nullptr;
  if (!in.isList() || in.getList().size() != 2) fail_shape("the action of a barrier", in);
  const auto decoder =
      reinterpret_cast<DecodeAction>(find_thunk(ThunkKind::action, decode_code_ref(in.getList()[0])));
  return decoder(in.getList()[1]);
}

wire::Value::Builder detail::BarrierAction::init(wire::Value::Builder out, AnyFunction decoder) {
  auto parts = out.initList(2);
  encode_code_ref(code_ref(decoder), parts[0]);
  return parts[1];
}

void detail::BarrierAction::fail_encode(const std::type_info& type) {
  throw CodecError("the action of a barrier, of type " + demangle(type.name()) +
                   ", cannot travel to another process, because its captures may be references into this one: use "
                   "troupe::bind(f, values...), or the start method fork");
}

Barrier::Barrier(int parties, std::shared_ptr<detail::BarrierAction> action, Timeout timeout, Among among)
    : action_(std::move(action)), timeout_(timeout) {
  if (parties < 1) throw ValueError("a barrier is for 1 party or more, not " + std::to_string(parties));
  const auto count = static_cast<std::size_t>(parties);
  if (BarrierCell::slots_for(count) > max_cell_slots)
    throw ValueError("a barrier is for at most " + std::to_string((max_cell_slots - 1) / 2) + " parties, not " +
                     std::to_string(parties));
  cell_ = among == Among::threads ? CellHandle::make_local(CellKind::barrier, BarrierCell::lines_for(count))
                                  : CellHandle::make(CellKind::barrier, BarrierCell::lines_for(count));
  cell_.as<BarrierCell>().parties.store(static_cast<std::uint32_t>(parties));
}

BarrierCell& Barrier::cell() const {
  if (!cell_) throw AssertionError("this barrier was moved from: use the one that it went to");
  return cell_.as<BarrierCell>();
}

void Barrier::run_action(BarrierCell& barrier) const {
  if (!action_) return;
  try {
    action_->call();
  } catch (...) {
    barrier.abort();
    throw;
  }
}

int Barrier::wait_until(Deadline deadline) const {
  BarrierCell& barrier = cell();
  std::uint32_t epoch = 0;
  std::uint32_t index = 0;
  std::optional<std::size_t> slot;
  {
    const Held held{barrier.lock};
    if (barrier.is_broken()) fail_broken();
    epoch = barrier.epoch();
    index = barrier.num_waiting();
    if (index + 1 >= barrier.parties.load(std::memory_order_relaxed)) {
      run_action(barrier);
      if (barrier.trip() == BarrierCell::Outcome::broken) fail_broken();
      return static_cast<int>(index);
    }
    slot = barrier.arrive();
    if (!slot) throw Full("too many parties of earlier rounds have not left the barrier yet");
  }
  auto outcome = barrier.wait(*slot, epoch, deadline);
  if (!outcome) {
    const Held held{barrier.lock};  // not while the last one runs the action: then all have arrived in time
    if (barrier.epoch() == epoch) barrier.abort();
    outcome = barrier.wait(*slot, epoch, no_deadline);
  }
  if (*outcome == BarrierCell::Outcome::broken) fail_broken();
  return static_cast<int>(index);
}

void Barrier::reset() const {
  const Held held{cell().lock};
  cell().reset();
}

void Barrier::abort() const {
  const Held held{cell().lock};
  cell().abort();
}

int Barrier::parties() const { return static_cast<int>(cell().parties.load(std::memory_order_relaxed)); }
int Barrier::n_waiting() const { return static_cast<int>(cell().num_waiting()); }
bool Barrier::broken() const { return cell().is_broken(); }

void Codec<Barrier>::encode(const Barrier& barrier, wire::Value::Builder out) {
  auto parts = out.initList(3);
  if (barrier.action_) barrier.action_->encode(parts[1]);
  troupe::encode(barrier.timeout_, parts[2]);
  barrier.cell_.encode(parts[0], handle_kind);
}

Barrier Codec<Barrier>::decode(wire::Value::Reader in) {
  if (!in.isList() || in.getList().size() != 3) detail::fail_shape(handle_kind, in);
  const auto parts = in.getList();
  auto action = detail::BarrierAction::decode(parts[1]);
  const auto timeout = troupe::decode<Barrier::Timeout>(parts[2]);
  return Barrier{CellHandle::decode(parts[0], handle_kind, {CellKind::barrier}), std::move(action), timeout};
}

}  // namespace troupe
