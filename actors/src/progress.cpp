#include <troupe/progress.hpp>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <mutex>
#include <string_view>
#include <sys/ioctl.h>
#include <unistd.h>

namespace troupe {

namespace {

using Clock = std::chrono::steady_clock;

bool stderr_is_terminal() {
  const char* const type = std::getenv("TERM");
  return ::isatty(STDERR_FILENO) == 1 && type != nullptr && std::string_view(type) != "dumb";
}

std::size_t terminal_width() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : 80;
}

void write_text(std::string_view text) {
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
}

template <class... Values>
std::string format(const char* form, Values... values) {
  char text[64];
  std::snprintf(text, sizeof text, form, values...);
  return text;
}

/// "17 B", "4.2 kB", "347.1 MB".
std::string readable_bytes(double bytes) {
  const char* const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  const char* const* unit = units;
  for (; bytes >= 999.95 && unit + 1 != std::end(units); ++unit) bytes /= 1000;
  return format(unit == units ? "%.0f %s" : "%.1f %s", bytes, *unit);
}

/// "0:07", "12:34", "3:00:00".
std::string readable_time(double seconds) {
  const long all = std::lround(std::min(seconds, 1e9));
  if (all < 3600) return format("%ld:%02ld", all / 60, all % 60);
  return format("%ld:%02ld:%02ld", all / 3600, all / 60 % 60, all % 60);
}

/// Ends the line of a program that is told to end. Signals that are ignored or handled already stay so.
class SignalWatch {
 public:
  static void begin() {
    const std::lock_guard lock{mutex};
    if (num_lines++ == 0) replace_handlers(SIG_DFL, &end_line);
  }
  static void end() {
    const std::lock_guard lock{mutex};
    if (--num_lines == 0) replace_handlers(&end_line, SIG_DFL);
  }

 private:
  /// Lets the signal do what it would have done without us.
  static void end_line(int number) {
    write_text("\n");
    std::signal(number, SIG_DFL);
    std::raise(number);
  }
  static void replace_handlers(void (*before)(int), void (*after)(int)) {
    for (const int number : {SIGINT, SIGTERM}) {
      struct sigaction action{};
      if (::sigaction(number, nullptr, &action) != 0 || action.sa_handler != before) continue;
      action = {};
      action.sa_handler = after;
      action.sa_flags = SA_NODEFER;  // the signal raised in the handler ends the program there and then
      ::sigaction(number, &action, nullptr);
    }
  }

  static inline std::mutex mutex;
  static inline int num_lines = 0;  // guarded by mutex
};

}  // namespace

class Progress::State {
 public:
  State(std::string title, ProgressOptions options) : title_(std::move(title)), options_(options) {}
  ~State() {
    if (begun_ && is_ours()) finish_line();
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  void begin(std::optional<std::uint64_t> size) {
    const std::lock_guard lock{mutex_};
    begin_line(size);
    if (done_ == options_.size) finish_line();
  }

  void advance(std::uint64_t count) {
    const std::lock_guard lock{mutex_};
    begin_line({});
    done_ += count;
    if (options_.size && done_ >= *options_.size) return finish_line();
    draw_if_due();
  }

  void refresh() {
    const std::lock_guard lock{mutex_};
    begin_line({});
    draw_if_due();
  }

  void note(std::string text) {
    const std::lock_guard lock{mutex_};
    note_ = std::move(text);
  }

  void finish() {
    const std::lock_guard lock{mutex_};
    begin_line({});
    finish_line();
  }

  /// Whether this is no copy that came along with a fork.
  bool is_ours() const { return ::getpid() == pid_; }

 private:
  void begin_line(std::optional<std::uint64_t> size) {
    if (std::exchange(begun_, true)) return;
    if (!options_.size) options_.size = size;
    start_ = Clock::now();
    next_draw_ = start_ + interval;
    SignalWatch::begin();
    draw();
  }

  void draw_if_due() {
    const auto now = Clock::now();
    if (finished_ || now < next_draw_) return;
    next_draw_ = now + interval;
    draw();
  }

  void finish_line() {
    if (std::exchange(finished_, true)) return;
    draw();
    write_text("\n");
    SignalWatch::end();
  }

  std::string amount(double number) const {
    if (options_.unit == ProgressOptions::Unit::bytes) return readable_bytes(number);
    return format(number < 100 && number != std::floor(number) ? "%.1f" : "%.0f", number);
  }

  double part_done() const {
    const auto size = static_cast<double>(options_.size.value_or(0));
    return size == 0 ? 1 : std::min(1.0, static_cast<double>(done_) / size);
  }

  /// "  52 %  13500/26092  812/s  0:15 left", in bytes "...  180.2 MB/347.1 MB  410.0 MB/s  ..."; without a size
  /// "13500  812/s  0:17".
  std::string figures() const {
    const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
    const auto done = static_cast<double>(done_);
    const double part = part_done();
    std::string text;
    if (options_.size) text = format("%3d %%  ", static_cast<int>(part * 100));
    text += amount(done);
    if (options_.size) text += '/' + amount(static_cast<double>(*options_.size));
    text += "  " + amount(done / std::max(seconds, 1e-3)) + "/s  ";
    if (finished_ || !options_.size) return text + readable_time(seconds);
    return text + (part > 0 ? readable_time(seconds / part - seconds) : "-:--") + " left";
  }

  void draw() const {
    constexpr std::size_t shortest_bar = 10;
    constexpr std::size_t longest_bar = 40;
    std::string line = figures();
    if (!note_.empty()) line += "  " + note_;
    const std::size_t width = terminal_width();
    const std::size_t taken = title_.size() + line.size() + 4;  // brackets, a space on each side of them
    if (options_.size && taken + shortest_bar < width) {
      const std::size_t length = std::min(longest_bar, width - taken - 1);
      const auto filled = static_cast<std::size_t>(part_done() * static_cast<double>(length));
      line = '[' + std::string(filled, '=') + std::string(length - filled, ' ') + "] " + line;
    }
    line = title_ + ' ' + line;
    write_text('\r' + line.substr(0, width - 1) + "\033[K");
  }

  const std::string title_;
  const pid_t pid_ = ::getpid();
  std::mutex mutex_;  // guards what follows
  ProgressOptions options_;
  std::string note_;
  Clock::time_point start_;
  Clock::time_point next_draw_;
  std::uint64_t done_ = 0;
  bool begun_ = false;
  bool finished_ = false;
};

Progress::Progress(std::string title, ProgressOptions options)
    : state_(stderr_is_terminal() ? std::make_shared<State>(std::move(title), options) : nullptr) {}

void Progress::begin(std::optional<std::uint64_t> size) const {
  if (state_ && state_->is_ours()) state_->begin(size);
}

void Progress::advance(std::uint64_t count) const {
  if (state_ && state_->is_ours()) state_->advance(count);
}

void Progress::refresh() const {
  if (state_ && state_->is_ours()) state_->refresh();
}

void Progress::note(std::string text) const {
  if (state_ && state_->is_ours()) state_->note(std::move(text));
}

void Progress::finish() const {
  if (state_ && state_->is_ours()) state_->finish();
}

}  // namespace troupe
