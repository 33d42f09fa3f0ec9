#include "tally.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

namespace troupe::test {

namespace {

constexpr std::array step_names{"elsewhere", "acquire", "hold", "release", "wait",     "set",  "notify", "put",   "get",
                                "task_done", "send",    "receive", "connect", "allocate", "free", "create", "unlink"};

}  // namespace

Tally::Tally(const std::vector<const Part*>& parts) {
  for (const Part* part : parts) {
    for (const Step step : part->steps) lines_.push_back({part, step});
    lines_.push_back({part, Step::none});
  }
}

std::optional<Target> Tally::least_given(bool is_missing, const std::function<bool(const Part&)>& is_possible) {
  std::uint64_t* least = nullptr;
  Target target{};
  for (Line& line : lines_) {
    if (line.step == Step::none || !is_possible(*line.part)) continue;
    for (std::size_t i = 0; i < num_strikes; ++i) {
      if ((is_missing && line.hit[i] > 0) || (least != nullptr && line.given[i] >= *least)) continue;
      least = &line.given[i];
      target = {line.part, line.step, static_cast<Strike>(i)};
    }
  }
  if (least == nullptr) return std::nullopt;
  ++*least;
  return target;
}

Target Tally::next(bool is_missing, const std::function<bool(const Part&)>& is_possible) {
  if (is_missing)
    if (const auto target = least_given(true, is_possible)) return *target;
  return least_given(false, is_possible).value();
}

void Tally::count(const Part& part, Step step, Strike strike) {
  const auto line = std::ranges::find_if(lines_, [&](const Line& some) {
    return some.part == &part && (some.step == step || some.step == Step::none);
  });
  ++line->hit[static_cast<std::size_t>(strike)];
}

bool Tally::is_complete() const {
  return std::ranges::all_of(lines_, [](const Line& line) {
    return line.step == Step::none || std::ranges::all_of(line.hit, [](std::uint64_t hits) { return hits > 0; });
  });
}

std::string Tally::text() const {
  std::string all;
  for (const Line& line : lines_) {
    std::array<char, 128> text{};
    const auto hits = [&](Strike strike) {
      return static_cast<unsigned long long>(line.hit[static_cast<std::size_t>(strike)]);
    };
    std::snprintf(text.data(), text.size(), "  %-9s %-9s %6llu SIGKILL, %6llu SIGTERM, %6llu SIGSTOP\n",
                  line.part->name, step_names[static_cast<std::size_t>(line.step)], hits(Strike::kill),
                  hits(Strike::terminate), hits(Strike::stop));
    all += text.data();
  }
  return all;
}

}  // namespace troupe::test
