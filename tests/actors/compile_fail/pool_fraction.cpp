// Must not compile: a fraction of a task.

#include <troupe/pool.hpp>

troupe::PoolOptions options() { return {.maxtasksperchild = 0.5}; }
