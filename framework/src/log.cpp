#include <troupe/log.hpp>
#include <troupe/runtime.hpp>

#include "self.hpp"

#include <spdlog/logger.h>
#include <spdlog/sinks/base_sink.h>

#include <cerrno>
#include <iterator>
#include <memory>
#include <mutex>
#include <unistd.h>
#include <utility>

namespace troupe {

namespace {

std::atomic<bool> logging_to_stderr{false};

// Every line is one write to descriptor 2, so that lines of several processes do not mix.
class StandardErrorSink final : public spdlog::sinks::base_sink<std::mutex> {
 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    base_sink::formatter_->format(message, line);
    const char* next = line.data();
    for (std::size_t left = line.size(); left > 0;) {
      const ssize_t written = ::write(STDERR_FILENO, next, left);
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) return;
      next += written;
      left -= static_cast<std::size_t>(written);
    }
  }
  void flush_() override {}
};

std::shared_ptr<spdlog::logger> make_output() {
  auto output = std::make_shared<spdlog::logger>("troupe", std::make_shared<StandardErrorSink>());
  output->set_pattern("%v");
  output->set_level(spdlog::level::trace);
  return output;
}

// Never destroyed: threads may log while static objects are torn down. Replaced in forked processes, where a thread
// that did not come along may have held its lock.
std::shared_ptr<spdlog::logger>*& current_output() {
  static auto* output = new std::shared_ptr<spdlog::logger>(make_output());
  return output;
}

spdlog::logger& output() {
  static const bool registered = [] {
    current_output();
    detail::at_child_start([] { current_output() = new std::shared_ptr<spdlog::logger>(make_output()); });
    return true;
  }();
  static_cast<void>(registered);
  return **current_output();
}

spdlog::level::level_enum nearest_level(int level) {
  if (level >= log_level::critical) return spdlog::level::critical;
  if (level >= log_level::error) return spdlog::level::err;
  if (level >= log_level::warning) return spdlog::level::warn;
  if (level >= log_level::info) return spdlog::level::info;
  return level >= log_level::debug ? spdlog::level::debug : spdlog::level::trace;
}

}  // namespace

std::string log_level_name(int level) {
  switch (level) {
    case log_level::notset: return "NOTSET";
    case log_level::subdebug: return "SUBDEBUG";
    case log_level::debug: return "DEBUG";
    case log_level::info: return "INFO";
    case log_level::subwarning: return "SUBWARNING";
    case log_level::warning: return "WARNING";
    case log_level::error: return "ERROR";
    case log_level::critical: return "CRITICAL";
    default: return "Level " + std::to_string(level);
  }
}

std::string detail::fill_pattern(std::string_view pattern, std::initializer_list<std::string> values) {
  std::string text;
  const auto* value = values.begin();
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const std::string_view pair = pattern.substr(i, 2);
    if (pair == "{}" && value != values.end()) {
      text += *value++;
      ++i;
    } else {
      text += pattern[i];
      if (pair == "{{" || pair == "}}") ++i;
    }
  }
  return text;
}

int Logger::effective_level() const noexcept {
  if (const int own = level_; own != log_level::notset) return own;
  return parent_ != nullptr ? parent_->effective_level() : log_level::warning;
}

void Logger::write(int level, const std::string& text) noexcept {
  if (!logging_to_stderr && level < log_level::warning) return;
  try {
    const std::string process = find_self() != nullptr ? this_process::name() : "MainProcess";
    output().log(nearest_level(level), "[" + log_level_name(level) + "/" + process + "] " + text);
  } catch (...) {
    // Out of memory: the line is lost.
  }
}

Logger& root_logger() {
  static auto* logger = new Logger(nullptr);
  return *logger;
}

Logger& get_logger() {
  static auto* logger = new Logger(&root_logger());
  return *logger;
}

namespace {
// Before main: the copy of a process in which another thread just makes them would wait for that thread for ever.
const bool made = (get_logger(), output(), true);
}  // namespace

Logger& log_to_stderr(int level) {
  if (level != log_level::notset) get_logger().set_level(level);
  logging_to_stderr = true;
  return get_logger();
}

int effective_log_level() noexcept { return get_logger().effective_level(); }

bool is_logging_to_stderr() noexcept { return logging_to_stderr; }

void inherit_log_settings(int level, bool to_stderr) noexcept {
  get_logger().set_level(level);
  logging_to_stderr = to_stderr;
}

}  // namespace troupe
