// Must not compile: what the callable changes would stay in the other process.

#include <troupe/task_call.hpp>

#include <vector>

void sort(std::vector<int>& values);

void send(troupe::MessageWriter& message, std::vector<int> values) {
  troupe::encode_call(message, 1, &sort, values);
}
