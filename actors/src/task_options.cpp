#include <troupe/error.hpp>
#include <troupe/task_options.hpp>
#include <troupe/this_task.hpp>

#include <algorithm>
#include <random>
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

Deadline deadline_of(const SharedOptions* options) {
  const Deadline inherited = this_task::deadline();
  if (options == nullptr || !options->options.deadline) return inherited;
  return std::min(inherited, deadline_after(*options->options.deadline));
}

std::chrono::nanoseconds pause_before_retry(const Backoff& backoff, std::uint32_t attempts) {
  static thread_local std::minstd_rand random{std::random_device{}()};
  double pause = std::min(static_cast<double>(backoff.initial.count()), 1e18);
  for (std::uint32_t i = 1; i < attempts; ++i) pause = std::min(pause * backoff.factor, 1e18);
  pause = std::min(pause, static_cast<double>(backoff.longest.count()));
  pause *= 1 - backoff.jitter * std::uniform_real_distribution<>{}(random);
  return std::chrono::nanoseconds(static_cast<std::int64_t>(pause));
}

}  // namespace troupe::detail
