// Must not compile: the tuples of starmap have three items, the callable takes two.

#include <troupe/pool.hpp>

#include <tuple>
#include <vector>

int difference(int a, int b);

auto call(troupe::Pool& pool) { return pool.starmap(difference, std::vector<std::tuple<int, int, int>>{{3, 1, 2}}); }
