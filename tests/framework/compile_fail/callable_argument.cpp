// Must not compile: the argument is nothing that the callable takes.

#include <troupe/task_call.hpp>

#include <string>

int square(int x);

void send(troupe::MessageWriter& message) { troupe::encode_call(message, 1, &square, std::string("seven")); }
