#include <troupe/callback.hpp>
#include <troupe/failure.hpp>
#include <troupe/log.hpp>

namespace troupe::detail {

RemoteError named_error(const std::exception_ptr& error) { return RemoteError(describe_exception(error)); }

void run_callback(const std::function<void()>& callback, const std::string& pool) noexcept {
  try {
    callback();
  } catch (...) {
    get_logger().error("{}: a callback threw {}", pool, describe_exception(std::current_exception()));
  }
}

}  // namespace troupe::detail
