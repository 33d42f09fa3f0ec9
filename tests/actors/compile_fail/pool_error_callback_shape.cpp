// Must not compile: an error_callback that takes no error.

#include <troupe/pool.hpp>

auto call(troupe::Pool& pool) {
  return pool.error_callback([](int) {});
}
