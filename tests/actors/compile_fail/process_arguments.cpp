// Must not compile: the target of a process takes no text.

#include <troupe/process.hpp>

void target(int number);

troupe::Process start() { return troupe::Process{target, "seven"}; }
