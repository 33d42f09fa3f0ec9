// Must not compile: apply gets too few arguments for its callable.

#include <troupe/pool.hpp>

int difference(int a, int b);

int call(troupe::Pool& pool) { return pool.apply(difference, 1); }
