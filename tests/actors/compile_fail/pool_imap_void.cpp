// Must not compile: imap gives results one by one, and here are none.

#include <troupe/pool.hpp>

#include <vector>

void nothing(int x);

auto call(troupe::Pool& pool) { return pool.imap(nothing, std::vector<int>{1, 2}); }
