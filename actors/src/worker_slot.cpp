#include "worker_slot.hpp"

#include <new>

namespace troupe::detail {

WorkerSlot::WorkerSlot(std::size_t number_in_pool, const std::string& pool_name)
    : number(number_in_pool),
      name("troupe-" + pool_name + "-" + std::to_string(number_in_pool)),
      file(create_memory_file(name, slot_file_bytes)),
      memory(file.get()),
      requests(&memory.shared().requests, memory.request_data.data()),
      results(&memory.shared().results, memory.result_data.data()) {}

void WorkerSlot::reset() {
  SlotControl& shared = memory.shared();
  for (RingControl* ring : {&shared.requests, &shared.results}) {
    ring->head.store(0);
    ring->tail.store(0);
    ring->data_bell.store(0);
    ring->room_bell.store(0);
  }
  shared.started.store(0);
  requests = RingWriter{&shared.requests, memory.request_data.data()};
  results.rewind();
  arena.reset();
  in_flight.clear();
  oldest_seen = 0;
  held_up = false;
  is_retired = false;
  is_told_to_stop = false;
  doom.reset();
  tasks_left = std::numeric_limits<std::int64_t>::max();
  has_answered = false;
}

}  // namespace troupe::detail
