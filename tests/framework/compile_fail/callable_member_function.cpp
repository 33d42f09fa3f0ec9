// Must not compile: a member function needs its object, and the error says how to bring it along.

#include <troupe/callable.hpp>

struct Counter {
  int count() const;
};

void send() { troupe::require_portable<decltype(&Counter::count)>(); }
