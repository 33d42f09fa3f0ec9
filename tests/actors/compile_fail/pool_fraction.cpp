// Must not compile: a fraction of a task.

#include <troupe/pool.hpp>

void limit(troupe::PoolOptions& options) { options.maxtasksperchild = 0.5; }
