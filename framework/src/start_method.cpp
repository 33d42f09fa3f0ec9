#include <troupe/error.hpp>
#include <troupe/start_method.hpp>

#include <string>

namespace troupe {

std::string_view to_string(StartMethod method) noexcept {
  switch (method) {
    case StartMethod::forkserver: return "forkserver";
    case StartMethod::fork: return "fork";
    case StartMethod::spawn: return "spawn";
  }
  return "unknown";
}

StartMethod start_method_named(std::string_view name) {
  for (const StartMethod method : {StartMethod::forkserver, StartMethod::fork, StartMethod::spawn})
    if (name == to_string(method)) return method;
  throw ValueError("there is no start method \"" + std::string(name) + "\"; there are forkserver, fork and spawn");
}

}  // namespace troupe
