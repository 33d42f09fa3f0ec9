// Must not compile: apply gives the result itself.

#include <troupe/pool.hpp>

int square(int x);

auto call(troupe::Pool& pool) {
  return pool.callback([](int) {}).apply(square, 1);
}
