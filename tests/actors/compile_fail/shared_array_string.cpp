// Must not compile: a std::string keeps its text in memory of one process.

#include <troupe/shared_array.hpp>

#include <string>

auto make() { return troupe::SharedArray<std::string>{10}; }
