#pragma once

// All that can be soaked, a file for each subject.

#include "stage.hpp"

#include <vector>

namespace troupe::test {

std::vector<NamedScene> lock_scenes();
std::vector<NamedScene> meeting_scenes();
std::vector<NamedScene> queue_scenes();
std::vector<NamedScene> connection_scenes();
std::vector<NamedScene> stream_scenes();
std::vector<NamedScene> memory_scenes();

}  // namespace troupe::test
