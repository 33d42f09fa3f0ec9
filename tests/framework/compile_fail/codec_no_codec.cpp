// Must not compile: the error names the innermost type that cannot travel, and the remedy.

#include <troupe/codec.hpp>

#include <map>
#include <mutex>
#include <string>
#include <vector>

struct Guarded {
  int value;
  std::mutex lock;
};

void send(const std::map<std::string, std::vector<Guarded>>& values, troupe::wire::Value::Builder out) {
  troupe::encode(values, out);
}
