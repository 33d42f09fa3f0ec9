// Nobody waits behind a worker that does not get on: looks for such workers, and gives others what waits there.

#include "supervisor.hpp"

#include <algorithm>
#include <utility>

namespace troupe::detail {

namespace {

/// How often to look whether workers get on. One that has the same task at its front in two looks is held up.
constexpr std::chrono::milliseconds look_interval{5};

}  // namespace

void Supervisor::look_after_workers() {
  if (ending()) return;
  bool look_again = false;
  bool somebody_is_frozen = false;
  for (const auto& slot : core_.slots()) {
    if (!slot->in_flight.empty()) drain_slot(*slot);  // see slot_of
    if (slot->in_flight.empty()) {
      somebody_is_frozen = somebody_is_frozen || slot->is_held_up();
      continue;
    }
    const std::uint64_t oldest = slot->in_flight.front().task->id();
    if (std::exchange(slot->oldest_seen, oldest) == oldest) slot->held_up = true;
    if (slot->held_up && slot->sleeps()) slot->requests.publish_again();
    // One that is neither asleep nor at a task may be about to sleep although there is something.
    if (slot->held_up && !slot->in_flight.front().has_begun()) somebody_is_frozen = true;
    look_again = look_again || !slot->held_up;
  }
  take_back_from_held_up();
  balance();
  feed_workers();
  if (look_again) return look_soon();
  if (somebody_is_frozen && core_.num_outstanding() > 0) look_soon(slow_look_interval);
}

// What a held-up worker has not begun goes back to the head of the queue, if there is somebody else to take it.
void Supervisor::take_back_from_held_up() {
  if (std::ranges::none_of(core_.slots(), [](const auto& slot) { return may_get(*slot); })) return;
  for (const auto& slot : core_.slots()) {
    while (slot->held_up && take_back_last(*slot)) {
    }
    stop_if_leaving(*slot);
  }
}

// What was given last goes back to the head of the queue; false: nothing was, or the worker has begun it.
bool Supervisor::take_back_last(WorkerSlot& slot) {
  if (slot.in_flight.empty() || !slot.in_flight.back().revoke()) return false;
  backlog_.push_front(std::move(slot.in_flight.back().task));
  slot.in_flight.pop_back();
  ++slot.tasks_left;
  return true;
}

// Has idle workers take over what lies before busy ones and was not begun.
void Supervisor::balance() {
  if (ending()) return;
  while (backlog_.empty()) {
    WorkerSlot* idle = nullptr;
    WorkerSlot* loaded = nullptr;
    for (const auto& slot : core_.slots()) {
      if (!may_get(*slot)) continue;
      if (slot->in_flight.empty() && slot->has_started()) idle = slot.get();
      if (slot->in_flight.size() > 1 && (loaded == nullptr || slot->in_flight.size() > loaded->in_flight.size()))
        loaded = slot.get();
    }
    if (idle == nullptr || loaded == nullptr || !take_back_last(*loaded)) return;
    Ref<TaskRecord> task = backlog_.pop_front();
    if (!give(*idle, task)) return backlog_.push_front(std::move(task));
    idle->requests.ring();
  }
}

void Supervisor::look_soon() { look_soon(look_interval); }

void Supervisor::look_soon(std::chrono::milliseconds interval) {
  if (look_timer_set_ || ending()) return;
  look_timer_set_ = true;
  Pump::instance().call_at(std::chrono::steady_clock::now() + interval,
                           [core = Ref<PoolCore>::share(&core_)] { core->tell(look); });
}

}  // namespace troupe::detail
