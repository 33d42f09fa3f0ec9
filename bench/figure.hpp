#pragma once

/// \file
/// What the measuring programs share: stop watch, median, what makes a figure count, and how a named row is printed.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <exception>
#include <iomanip>
#include <iostream>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace bench {

/// A figure counts only if the work was done right.
inline void expect(bool right, const char* what) {
  if (!right) throw std::logic_error(std::string("wrong result: ") + what);
}

/// Seconds that `work()` takes.
template <class Work>
double seconds_of(Work&& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// The middle one of `values`, the lower of two. Not empty.
inline double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>((values.size() - 1) / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// Median seconds of `num_times` calls after one to warm up.
template <class Work>
double median_seconds(std::size_t num_times, Work&& work) {
  work();
  std::vector<double> times(num_times);
  for (double& time : times) time = seconds_of(work);
  return median(std::move(times));
}

/// Median seconds of two kinds of work, done in turn `num_times` after each was done once to warm up: what slows the
/// machine down for a while slows both.
template <class One, class Other>
std::pair<double, double> median_seconds_in_turn(std::size_t num_times, One&& one, Other&& other) {
  one();
  other();
  std::vector<double> times(num_times);
  std::vector<double> other_times(num_times);
  for (std::size_t i = 0; i < num_times; ++i) {
    times[i] = seconds_of(one);
    other_times[i] = seconds_of(other);
  }
  return {median(std::move(times)), median(std::move(other_times))};
}

/// A row's figure, and that of the row it is compared with, measured in turn.
struct InTurn {
  double value;
  double other;
};

/// One row: measured by a function that returns the figure in `unit`.
struct Row {
  std::string_view name;
  std::string_view unit;
  std::variant<double (*)(), InTurn (*)()> measure;
};

inline std::ostream& operator<<(std::ostream& out, const InTurn& figures) {
  return out << figures.value << R"(, "other": )" << figures.other;
}

/// Measures the row that the program's first argument names and prints it: {"name": ..., "unit": ..., "value": ...},
/// with "other" where there is such a figure. Returns the program's exit status: 1 if measuring failed, 2 if there is no
/// such row.
inline int run_row(std::span<const Row> rows, std::span<char* const> arguments) {
  const std::string_view wanted = arguments.size() == 2 ? arguments[1] : "";
  const auto row = std::ranges::find(rows, wanted, &Row::name);
  if (row == rows.end()) {
    std::cerr << "usage: " << arguments[0] << " ROW, where ROW is one of:";
    for (const Row& known : rows) std::cerr << ' ' << known.name;
    std::cerr << '\n';
    return 2;
  }
  try {
    const auto print = [&](auto figure) {
      std::cout << R"({"name": ")" << row->name << R"(", "unit": ")" << row->unit << R"(", "value": )"
                << std::setprecision(std::numeric_limits<double>::max_digits10) << figure << "}" << std::endl;
    };
    std::visit([&](auto measure) { print(measure()); }, row->measure);
    return 0;
  } catch (const std::exception& error) {
    std::cerr << row->name << ": " << error.what() << '\n';
    return 1;
  }
}

}  // namespace bench
