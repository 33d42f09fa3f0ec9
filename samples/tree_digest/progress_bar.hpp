#pragma once

/// \file
/// Progress of a job over many files, on standard error: a bar where that is a terminal, a line now and then elsewhere.
///
///     ProgressBar bar{"copy", files.size(), total_bytes};
///     for (const File& file : files) bar.advance(1, copy(file));

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <string>
#include <string_view>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utility>

/// "17 B", "4.2 kB", "347.1 MB".
inline std::string readable_bytes(double bytes) {
  const char* const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  const char* const* unit = units;
  for (; bytes >= 999.95 && unit + 1 != std::end(units); ++unit) bytes /= 1000;
  char text[32];
  std::snprintf(text, sizeof text, unit == units ? "%.0f %s" : "%.1f %s", bytes, *unit);
  return text;
}

/// "0:07", "12:34", "3:00:00".
inline std::string readable_time(double seconds) {
  const long all = std::lround(std::min(seconds, 1e9));
  char text[48];
  if (all < 3600) {
    std::snprintf(text, sizeof text, "%ld:%02ld", all / 60, all % 60);
  } else {
    std::snprintf(text, sizeof text, "%ld:%02ld:%02ld", all / 3600, all / 60 % 60, all % 60);
  }
  return text;
}

/// Draws ten times a second on a terminal, else every five seconds and at the end. While it stands on a terminal,
/// SIGINT and SIGTERM end its line before they end the program, so that the prompt has a line of its own. The
/// destructor finishes. Thread: caller. At most one at a time.
class ProgressBar {
 public:
  ProgressBar(std::string title, std::size_t files, std::uint64_t bytes)
      : title_(std::move(title)), all_files_(files), all_bytes_(bytes), is_terminal_(stderr_is_terminal()) {
    if (!is_terminal_) return;
    catch_signals();
    draw();
  }
  ~ProgressBar() { finish(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  /// So many more files, with so many bytes, are done.
  void advance(std::size_t files, std::uint64_t bytes) {
    files_ += files;
    bytes_ += bytes;
    refresh();
  }

  /// Draws anew if it is time to. Call it while waiting, or the rate and the time left stand still.
  void refresh() {
    const auto now = Clock::now();
    if (now < next_draw_) return;
    next_draw_ = now + interval();
    draw();
  }

  /// Shows where the job has ended and ends the line. May be repeated.
  void finish() {
    if (std::exchange(is_finished_, true)) return;
    draw();
    if (is_terminal_) {
      write("\n");
      release_signals();
    }
  }

 private:
  using Clock = std::chrono::steady_clock;
  /// What a file costs besides its bytes, in bytes; so that a tree of tiny files moves the bar, too.
  static constexpr double cost_of_file = 16 * 1024;
  static constexpr int caught_signals[] = {SIGINT, SIGTERM};

  static bool stderr_is_terminal() {
    const char* const type = std::getenv("TERM");
    return ::isatty(STDERR_FILENO) == 1 && type != nullptr && std::string_view(type) != "dumb";
  }

  std::chrono::milliseconds interval() const { return std::chrono::milliseconds(is_terminal_ ? 100 : 5000); }

  static void write(std::string_view text) {
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
  }

  double part_done() const {
    const auto cost = [](std::size_t files, std::uint64_t bytes) {
      return static_cast<double>(files) * cost_of_file + static_cast<double>(bytes);
    };
    return all_files_ == 0 ? 1 : std::min(1.0, cost(files_, bytes_) / cost(all_files_, all_bytes_));
  }

  /// "52 %  13500/26092 files  180.2 MB/347.1 MB  410.0 MB/s  0:01 left"
  std::string figures() const {
    const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
    const double part = part_done();
    char percent[16];
    std::snprintf(percent, sizeof percent, "%3d %%", static_cast<int>(part * 100));
    std::string text = percent;
    text += "  " + std::to_string(files_) + '/' + std::to_string(all_files_) + " files  ";
    text += readable_bytes(static_cast<double>(bytes_)) + '/' + readable_bytes(static_cast<double>(all_bytes_)) + "  ";
    text += readable_bytes(static_cast<double>(bytes_) / std::max(seconds, 1e-3)) + "/s  ";
    if (is_finished_) return text + readable_time(seconds);
    return text + (part > 0 ? readable_time(seconds / part - seconds) : "-:--") + " left";
  }

  void draw() const {
    if (!is_terminal_) {
      write(title_ + ": " + figures() + '\n');
      return;
    }
    std::string line = figures();
    const std::size_t width = terminal_width();
    constexpr std::size_t shortest_bar = 10;
    if (const std::size_t taken = line.size() + 4; taken + shortest_bar < width) {
      const std::size_t length = std::min<std::size_t>(40, width - taken - 1);
      const auto filled = static_cast<std::size_t>(part_done() * static_cast<double>(length));
      line = '[' + std::string(filled, '=') + std::string(length - filled, ' ') + "] " + line;
    }
    write('\r' + line.substr(0, width - 1) + "\033[K");
  }

  static std::size_t terminal_width() {
    winsize size{};
    return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : 80;
  }

  /// Lets the signal do what it would have done without us.
  static void end_line(int number) {
    write("\n");
    std::signal(number, SIG_DFL);
    std::raise(number);
  }

  /// Signals that are ignored or handled already stay so.
  static void catch_signals() {
    for (const int number : caught_signals) replace_handler(number, SIG_DFL, &end_line);
  }
  static void release_signals() {
    for (const int number : caught_signals) replace_handler(number, &end_line, SIG_DFL);
  }
  static void replace_handler(int number, void (*before)(int), void (*after)(int)) {
    struct sigaction action{};
    if (::sigaction(number, nullptr, &action) != 0 || action.sa_handler != before) return;
    action = {};
    action.sa_handler = after;
    action.sa_flags = SA_NODEFER;  // the signal raised in the handler ends the program there and then
    ::sigaction(number, &action, nullptr);
  }

  const std::string title_;
  const std::size_t all_files_;
  const std::uint64_t all_bytes_;
  const bool is_terminal_;
  const Clock::time_point start_ = Clock::now();
  Clock::time_point next_draw_ = start_ + interval();
  std::size_t files_ = 0;
  std::uint64_t bytes_ = 0;
  bool is_finished_ = false;
};
