// Must not compile: an int is no lock.

#include <troupe/shared_value.hpp>

auto make() { return troupe::Value{5, 7}; }
