// Must not compile: the callback does not take what the task returns.

#include <troupe/pool.hpp>

#include <string>

int square(int x);

auto call(troupe::Pool& pool) {
  return pool.callback([](const std::string&) {}).apply_async(square, 1);
}
