// Must not compile: nobody can see what a std::function holds.

#include <troupe/callable.hpp>

#include <functional>

void send() { troupe::require_portable<std::function<int(int)>>(); }
