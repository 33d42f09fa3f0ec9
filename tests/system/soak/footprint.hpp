#pragma once

// What a program holds, to be compared before and after.

#include <cstddef>
#include <string>

namespace troupe::test {

/// The nursery, and the process that it keeps ready for the next start.
inline constexpr std::size_t nursery_and_spare = 2;

struct Footprint {
  std::size_t descriptors = 0;
  std::size_t threads = 0;
  std::size_t processes = 0;  // children and theirs, zombies included
  std::size_t nursery_descriptors = 0;
  long resident_kib = 0;
  long nursery_resident_kib = 0;
  long kept_kib = 0;  // shared memory that the nursery has descriptors of

  /// Whether all counts are equal, those of the nursery's descriptors up to `slack` more here.
  bool same_counts(const Footprint& before, std::size_t slack = 0) const;
  std::string text() const;
};

/// The footprint once there are so many processes and nothing has changed for a while: the nursery makes its spare, and
/// forgets the dead, when nobody waits for it.
Footprint settled(std::size_t processes);

}  // namespace troupe::test
