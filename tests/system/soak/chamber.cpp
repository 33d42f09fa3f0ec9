#include "chamber.hpp"

#include "stage.hpp"
#include "support/faults.hpp"
#include "verdict.hpp"

#include <new>
#include <string>
#include <unistd.h>

namespace troupe::test {

Chamber& chamber = make_shared_memory<Chamber>();

void Chamber::enter(bool was_abandoned) {
  const std::int32_t before = inside_.exchange(::getpid());
  const bool is_whole = before == 0 && first_ == second_;
  if (!is_whole && !was_abandoned)
    complain("process " + std::to_string(::getpid()) + " has the lock, and process " + std::to_string(before) +
             " is in the midst of something, " + std::to_string(first_) + " against " + std::to_string(second_));
  if (was_abandoned) ++num_told_;
  ++num_begun_;
  first_ = second_ + 1;
}

void Chamber::leave() {
  if (inside_ != ::getpid() || first_ != second_ + 1)
    complain("process " + std::to_string(inside_) + " has come in while process " + std::to_string(::getpid()) +
             " had the lock");
  second_ = first_;
  ++num_ended_;
  inside_ = 0;
}

void Chamber::reset() { new (this) Chamber{}; }

void Chamber::check() {
  const std::uint64_t count = second_;
  const auto number = [](std::uint64_t value) { return std::to_string(value); };
  require(count >= num_ended_ && count <= num_begun_, number(count) + " turns were counted, " + number(num_begun_) +
                                                          " begun, " + number(num_ended_) + " ended");
  require(num_told_ <= num_deaths_,
          number(num_told_) + " were told of a death, and there were " + number(num_deaths_));
}

}  // namespace troupe::test
