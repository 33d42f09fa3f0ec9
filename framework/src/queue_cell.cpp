#include <troupe/queue_cell.hpp>

namespace troupe {

void QueueCell::recover(std::uint32_t dead) noexcept {
  num_deaths.fetch_add(1);
  for (Line* line : {&put, &get}) {
    line->lock.recover(dead);
    Bell{&line->bell}.rouse();
  }
}

}  // namespace troupe
