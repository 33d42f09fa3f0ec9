// Must not compile: an initializer with the wrong arguments.

#include <troupe/pool.hpp>

#include <string>

void prepare(const std::string& path);

troupe::PoolOptions options() { return {.initializer = {prepare, 3}}; }
