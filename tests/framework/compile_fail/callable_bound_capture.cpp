// Must not compile: binding arguments to a capturing lambda does not make it portable.

#include <troupe/callable.hpp>

auto send(int factor) {
  return troupe::bind([factor](int x) { return factor * x; }, 3);
}
