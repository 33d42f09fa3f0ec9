// Must not compile: the pointer would lead nowhere in another process.

#include <troupe/raw_value.hpp>

struct Node {
  int value;
  Node* next;
};

auto make() { return troupe::RawValue<Node>{}; }
