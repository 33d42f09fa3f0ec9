#include <troupe/error.hpp>
#include <troupe/task_options.hpp>

#include <string>
#include <utility>

namespace troupe::detail {

namespace {

TaskOptions checked(TaskOptions options) {
  const auto check_positive = [](const auto& time, const char* what) {
    if (time && time->count() <= 0) throw ValueError(std::string(what) + " of a task must be longer than 0");
  };
  check_positive(options.timeout, "the timeout");
  check_positive(options.deadline, "the deadline");
  const Backoff& backoff = options.backoff;
  if (backoff.initial.count() < 0 || backoff.longest.count() < 0 || !(backoff.factor >= 1) ||
      !(backoff.jitter >= 0 && backoff.jitter <= 1))
    throw ValueError("a backoff needs pauses of 0 or more, a factor of at least 1 and a jitter from 0 to 1");
  return options;
}

}  // namespace

SharedOptions::SharedOptions(TaskOptions all) : options(checked(std::move(all))) {}

}  // namespace troupe::detail
