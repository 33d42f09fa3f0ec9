#pragma once

/// \file
/// troupe's own log: levels and lines as in multiprocessing. Silent below warnings until asked.
///
///     troupe::log_to_stderr(troupe::log_level::debug);
///     troupe::get_logger().info("{} of {} done", 3, 10);   // [INFO/Process-1] 3 of 10 done

#include <atomic>
#include <initializer_list>
#include <sstream>
#include <string>
#include <string_view>

namespace troupe {

/// Levels are numbers, as in Python; any number between these is a level, too.
namespace log_level {
inline constexpr int notset = 0;  ///< take that of the root logger
inline constexpr int subdebug = 5;
inline constexpr int debug = 10;
inline constexpr int info = 20;
inline constexpr int subwarning = 25;
inline constexpr int warning = 30;
inline constexpr int error = 40;
inline constexpr int critical = 50;
}  // namespace log_level

/// "WARNING" for 30, "Level 32" for numbers without a name. Thread: any.
std::string log_level_name(int level);

namespace detail {
/// `pattern` with each `{}` replaced by the next of `values`; `{{` and `}}` stand for single braces.
std::string fill_pattern(std::string_view pattern, std::initializer_list<std::string> values);
}  // namespace detail

/// Writes lines `[LEVEL/process name] message` to standard error, each in one piece. Thread: any; safe in processes
/// that were forked while other threads were logging. Errors: none; a broken standard error loses the line.
class Logger {
 public:
  explicit Logger(const Logger* parent) noexcept : parent_(parent) {}
  Logger(const Logger&) = delete;
  Logger& operator=(const Logger&) = delete;

  /// Messages below `level` are dropped; log_level::notset: as the root logger says.
  void set_level(int level) noexcept { level_ = level; }
  int level() const noexcept { return level_; }
  /// The level that counts: the logger's own, else the root logger's, which is `warning` at first.
  int effective_level() const noexcept;
  bool is_enabled_for(int level) const noexcept { return level >= effective_level(); }

  /// Writes `pattern`, its `{}` replaced by the arguments as operator<< prints them.
  template <class... Args>
  void log(int level, std::string_view pattern, const Args&... arguments) const {
    if (is_enabled_for(level)) write(level, detail::fill_pattern(pattern, {to_text(arguments)...}));
  }
  template <class... Args>
  void debug(std::string_view pattern, const Args&... arguments) const {
    log(log_level::debug, pattern, arguments...);
  }
  template <class... Args>
  void info(std::string_view pattern, const Args&... arguments) const {
    log(log_level::info, pattern, arguments...);
  }
  template <class... Args>
  void warning(std::string_view pattern, const Args&... arguments) const {
    log(log_level::warning, pattern, arguments...);
  }
  template <class... Args>
  void error(std::string_view pattern, const Args&... arguments) const {
    log(log_level::error, pattern, arguments...);
  }
  template <class... Args>
  void critical(std::string_view pattern, const Args&... arguments) const {
    log(log_level::critical, pattern, arguments...);
  }

 private:
  template <class T>
  static std::string to_text(const T& value) {
    std::ostringstream out;
    out << std::boolalpha << value;
    return std::move(out).str();
  }
  static void write(int level, const std::string& text) noexcept;

  const Logger* parent_;
  std::atomic<int> level_{log_level::notset};
};

/// The logger that troupe itself writes to. Processes start with their creator's effective level. Thread: any.
Logger& get_logger();
/// The logger whose level counts where get_logger() has none. Thread: any.
Logger& root_logger();
/// Turns lines of every enabled level on; until then only warnings and worse are written. `level`: set first, unless
/// it is notset. Processes started later do the same. Thread: any.
Logger& log_to_stderr(int level = log_level::notset);

/// What a new process takes over from this one. Thread: any.
int effective_log_level() noexcept;
bool is_logging_to_stderr() noexcept;
void inherit_log_settings(int level, bool to_stderr) noexcept;

}  // namespace troupe
