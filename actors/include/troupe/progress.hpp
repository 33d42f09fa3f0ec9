#pragma once

/// \file
/// A progress bar on the terminal, for maps, loops and whatever else can be counted.
///
///     pool.map(hash, files, troupe::progress("hashing"));
///     for (auto digest : troupe::progress("hashing", files.size()).wrap(pool.imap(hash, files))) store(digest);
///
///     hashing [====================                    ]  52 %  13500/26092  812/s  0:15 left

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <type_traits>
#include <utility>

namespace troupe {

template <class Range>
class ProgressRange;

struct ProgressOptions {
  enum class Unit : std::uint8_t { items, bytes };

  /// How much there is to do; none: what is mapped or wrapped says it. If that cannot, only what is done is shown.
  std::optional<std::uint64_t> size = {};
  /// Whether "13500" or "13.5 kB".
  Unit unit = Unit::items;
};

/// How far a job is, with its rate and the time that is left, in one line on standard error. Where that is no terminal,
/// nothing is ever written. The line begins with the job and ends when all is done, with `finish`, or with the last
/// copy; copies stand for the same line. A bar serves one job, and one at a time looks well.
/// While a line stands, SIGINT and SIGTERM end it before they end the program, unless they are handled or ignored
/// anyway. Thread: any.
class Progress {
 public:
  /// How often the line is drawn at most.
  static constexpr std::chrono::milliseconds interval{100};

  /// Writes nothing yet.
  explicit Progress(std::string title, ProgressOptions options = {});

  /// Whether standard error is a terminal that can show it.
  bool is_visible() const noexcept { return state_ != nullptr; }
  /// Begins the line; the time runs from now on. `size` counts unless one was given before. The other calls begin it as
  /// well; may be repeated.
  void begin(std::optional<std::uint64_t> size = {}) const;
  /// So much more is done.
  void advance(std::uint64_t count = 1) const;
  /// Draws anew if it is time to. Call it while waiting, or rate and time left stand still.
  void refresh() const;
  /// Shows `text` behind the figures from the next drawing on, as in "17/30 files".
  void note(std::string text) const;
  /// Shows what is done and ends the line. May be repeated.
  void finish() const;
  /// Shows how `result`, a map of `size` items in chunks of `chunksize`, gets on. Blocks: until it is ready, if the
  /// line is visible.
  template <class MapResult>
  void show(const MapResult& result, std::size_t size, std::size_t chunksize) const {
    for (std::size_t done = 0; is_visible() && done < size;) {
      result.wait(interval);
      const std::size_t now = size - std::min(size, result.num_left() * chunksize);
      advance(now - std::exchange(done, now));
    }
  }

  /// `range`, counted item by item as a loop goes on. An lvalue must outlive the result. While the results of a pool
  /// (imap) are waited for the line goes on.
  template <std::ranges::input_range Range>
  ProgressRange<Range> wrap(Range&& range) const {
    return {*this, std::forward<Range>(range)};
  }

 private:
  class State;
  std::shared_ptr<State> state_;  // null: not visible
};

/// The bar of one job. `title` stands in front.
inline Progress progress(std::string title, ProgressOptions options = {}) {
  return Progress{std::move(title), options};
}
template <std::integral Size>
Progress progress(std::string title, Size size) {
  return Progress{std::move(title), {.size = static_cast<std::uint64_t>(size)}};
}

/// What Progress::wrap returns: an input range of the same items. Thread: caller.
template <class Range>
class ProgressRange {
  using Items = std::remove_reference_t<Range>;
  using Iterator = std::ranges::iterator_t<Items>;

 public:
  struct Sentinel {
    std::ranges::sentinel_t<Items> end{};
  };

  class iterator {
   public:
    using value_type = std::ranges::range_value_t<Items>;
    using difference_type = std::ranges::range_difference_t<Items>;
    using iterator_concept = std::input_iterator_tag;

    iterator(Iterator at, ProgressRange* range) : at_(std::move(at)), range_(range) {}
    std::ranges::range_reference_t<Items> operator*() const { return *at_; }
    iterator& operator++() {
      range_->progress_.advance();
      range_->wait();
      ++at_;
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const iterator& it, const Sentinel& sentinel) { return it.at_ == sentinel.end; }

   private:
    Iterator at_;
    ProgressRange* range_;
  };

  ProgressRange(Progress progress, Range&& range)
      : progress_(std::move(progress)), range_(std::forward<Range>(range)) {}

  /// Begins the line. Errors here and in the iterator: those of the range.
  iterator begin() {
    if constexpr (std::ranges::sized_range<Items>) {
      progress_.begin(static_cast<std::uint64_t>(std::ranges::size(range_)));
    } else {
      progress_.begin();
    }
    wait();
    return {std::ranges::begin(range_), this};
  }
  Sentinel end() { return {std::ranges::end(range_)}; }

 private:
  static constexpr bool can_wait = requires(Items & items) {
    { items.wait(Progress::interval) } -> std::same_as<bool>;
  };

  /// Keeps the line alive until the next item is there.
  void wait() {
    if constexpr (can_wait)
      while (progress_.is_visible() && !range_.wait(Progress::interval)) progress_.refresh();
  }

  Progress progress_;
  Range range_;
};

}  // namespace troupe
