// Must not compile: what the lambda captures may be a reference into this process.

#include <troupe/pool.hpp>

int call(troupe::Pool& pool, int factor) {
  return pool.apply([factor](int x) { return factor * x; }, 7);
}
