#include "gate.hpp"

#include <troupe/error.hpp>

#include "pool_core.hpp"

#include <utility>

namespace troupe::detail {

Gate::Gate(PoolCore& core) : core_(core), options_(core.options()) {}

bool Gate::try_enter(TaskRecord& task) {
  const std::size_t bytes = task.message_bytes();
  const std::lock_guard lock{mutex_};
  const bool has_room = tasks_ == 0 || ((!options_.max_pending_tasks || tasks_ < *options_.max_pending_tasks) &&
                                        (!options_.max_pending_bytes || bytes_ + bytes <= *options_.max_pending_bytes));
  if (!has_room) return false;
  ++tasks_;
  bytes_ += bytes;
  task.set_counted(bytes);
  return true;
}

void Gate::enter(TaskRecord& task) {
  if (options_.when_full == WhenFull::wait) return wait_and_enter(task);
  core_.require_running();
  if (!try_enter(task))
    throw Full(core_.name() + " has as many pending tasks as its options allow; try again when some have ended");
}

void Gate::wait_and_enter(TaskRecord& task) {
  for (;;) {
    core_.require_running();
    Ref<Room> room;
    {
      const std::lock_guard lock{mutex_};
      if (!room_) room_ = make_ref<Room>(Ref<PoolCore>::share(&core_));
      room = room_;
    }
    // Whoever leaves from now on opens this room: there is no gap in which that could be missed.
    if (try_enter(task)) return;
    room->wait(no_deadline);
  }
}

void Gate::leave(std::size_t bytes) noexcept {
  Ref<Room> room;
  {
    const std::lock_guard lock{mutex_};
    --tasks_;
    bytes_ -= bytes;
    room = std::exchange(room_, nullptr);
  }
  if (room) room->open();
}

}  // namespace troupe::detail
