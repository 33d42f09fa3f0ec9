#include <troupe/callback.hpp>
#include <troupe/failure.hpp>
#include <troupe/log.hpp>

namespace troupe::detail {

void run_callback(const std::function<void()>& callback, const std::string& pool) noexcept {
  try {
    callback();
  } catch (...) {
    get_logger().error("{}: a callback threw {}", pool, describe_exception(std::current_exception()));
  }
}

}  // namespace troupe::detail
