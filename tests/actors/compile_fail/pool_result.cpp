// Must not compile: what the task returns cannot travel back.

#include <troupe/pool.hpp>

#include <fstream>

std::ifstream open(int number);

auto call(troupe::Pool& pool) { return pool.apply(open, 1); }
