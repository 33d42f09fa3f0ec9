// Must not compile: map passes one item, the callable takes two.

#include <troupe/pool.hpp>

#include <utility>
#include <vector>

int difference(int a, int b);

auto call(troupe::Pool& pool) { return pool.map(difference, std::vector<std::pair<int, int>>{{3, 1}}); }
