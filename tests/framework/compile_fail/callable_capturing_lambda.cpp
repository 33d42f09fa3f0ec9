// Must not compile: what a lambda captures may be a reference into this process.

#include <troupe/callable.hpp>

void send(int factor) {
  const auto scaled = [factor](int x) { return factor * x; };
  troupe::require_portable<decltype(scaled)>();
}
