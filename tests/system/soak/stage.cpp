#include "stage.hpp"

#include "support/faults.hpp"
#include "support/forked.hpp"
#include "support/processes.hpp"
#include "verdict.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <random>
#include <string_view>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace troupe::test {

// Made before main, so that the nursery and all processes inherit it.
Board& board = make_shared_memory<Board>();

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kills_per_round = 10;
/// The longest pause before and between signals, in nanoseconds or so.
constexpr unsigned long longest_pause = 1'000'000;
/// What may be resident in the end beyond what was after the warm-up, here and in the nursery. A leak of 200 bytes per
/// kill is 2 MiB in 10,000.
constexpr long allowed_growth_kib = 1024;
/// How often a victim is stopped and let go on again to find it in a certain step; then it is struck where it is.
constexpr int most_tries = 200;
/// The longest pause between two of these tries.
constexpr unsigned long longest_step = 20'000;

void check_mistakes() {
  if (!board.has_mistake) return;
  while (!board.has_text) std::this_thread::yield();
  fail(board.mistake);
}

std::vector<const Part*> parts_of(const Scene& scene) {
  std::vector<const Part*> parts;
  for (std::size_t i = 0; i < scene.num_victims(); ++i) {
    const Part* part = &scene.part(scene.num_survivors() + i);
    if (std::ranges::find(parts, part) == parts.end()) parts.push_back(part);
  }
  return parts;
}

/// A scene while it is played.
class Run {
 public:
  Run(const char* name, Scene& scene, unsigned seed)
      : name_(name), scene_(scene), num_places_(scene.num_survivors() + scene.num_victims()), random_(seed),
        tally_(parts_of(scene)) {
    new (&board) Board{};
    for (std::size_t place = 0; place < num_places_; ++place) {
      processes_.emplace_back(scene.make(place));
      start(place);
    }
  }

  std::uint64_t num_kills() const { return num_kills_; }
  std::uint64_t num_stops() const { return num_stops_; }
  std::size_t num_processes() const { return num_places_; }
  const Tally& tally() const { return tally_; }

  /// A round of strikes; all are calm behind it, until `go_on`. `is_late`: only what was never struck is still missing.
  void round(bool is_late) {
    const auto is_enough = [&] { return scene_.wants_calm() || (is_late && tally_.is_complete()); };
    for (std::size_t i = 0; i < kills_per_round && !is_enough();) i += strike(is_late) ? 1U : 0U;
    ++round_;
    calm_down();
    check_mistakes();
    scene_.check();
  }
  void go_on() { ++board.calm; }

  /// After a round: all processes end by themselves.
  void end() {
    board.is_over = true;
    for (std::size_t place = 0; place < num_places_; ++place) {
      await([&] { return !processes_[place].is_alive(); }, [&] { return who(place) + " does not end"; });
      processes_[place].join();
      expect(processes_[place].exitcode() == 0, place, " ended with exit code " + code(place));
    }
    for (Process& process : processes_) process.close();
    processes_.clear();  // and what they were given
  }

 private:
  using Turns = std::array<std::uint64_t, max_places>;

  void start(std::size_t place) {
    board.places[place].step = Step::none;
    turns_at_start_[place] = board.places[place].turns;
    processes_[place].start();
    scene_.started(place);
  }

  std::string code(std::size_t place) const { return std::to_string(processes_[place].exitcode().value_or(0)); }
  std::string who(std::size_t place) const {
    return std::string(name_) + ": " + (place < scene_.num_survivors() ? "survivor " : "victim ") +
           std::to_string(place);
  }
  // Who does what, for the text of a failure.
  std::string all() const {
    std::string text = " after " + std::to_string(num_kills_) + " kills; last: " + last_ + ". Now:";
    for (std::size_t place = 0; place < num_places_; ++place) {
      const pid_t pid = processes_[place].pid().value_or(0);
      text += "\n  " + who(place) + ", process " + std::to_string(pid) + " in state " + process_state(pid) + ", " +
              std::to_string(board.places[place].turns) + " turns, calm " + std::to_string(board.places[place].calm) +
              " of " + std::to_string(board.calm);
    }
    return text;
  }

  void expect(bool right, std::size_t place, const std::string& what) const {
    if (right) return;
    check_mistakes();
    fail(who(place) + what + all());
  }
  // A process that ends by itself is a mistake as well.
  void await_turn(std::size_t place, std::uint64_t turns, const char* what) {
    await([&] {
      expect(processes_[place].is_alive(), place, " has ended by itself");
      return board.places[place].turns != turns;
    }, [&] { return who(place) + what + all(); });
  }

  void await_progress(const Turns& turns) {
    for (std::size_t place = 0; place < scene_.num_survivors(); ++place)
      await_turn(place, turns[place], " does not get on");
  }
  Turns turns_now() const {
    Turns turns{};
    for (std::size_t place = 0; place < num_places_; ++place) turns[place] = board.places[place].turns;
    return turns;
  }

  void pause() { busy_pause(random_() % longest_pause); }

  bool may_be_struck(std::size_t place, const Part& part) const {
    return &scene_.part(place) == &part && scene_.may_die(place, round_);
  }
  std::size_t pick_victim(const Part& part) {
    for (;;) {
      const std::size_t place = scene_.num_survivors() + random_() % scene_.num_victims();
      if (may_be_struck(place, part)) return place;
    }
  }
  Target pick_target(bool is_late) {
    return tally_.next(is_late, [&](const Part& part) {
      for (std::size_t place = scene_.num_survivors(); place < num_places_; ++place)
        if (may_be_struck(place, part)) return true;
      return false;
    });
  }

  void send(std::size_t place, int number) {
    expect(::kill(processes_[place].pid().value(), number) == 0, place, " is gone");
  }
  void stop(std::size_t place) {
    send(place, SIGSTOP);
    await([&] {
      expect(processes_[place].is_alive(), place, " has ended by itself");
      return process_state(processes_[place].pid().value()) == 'T';
    }, [&] { return who(place) + " does not stop" + all(); });
  }
  // In the midst of that step, if it comes to that.
  void stop_within(std::size_t place, Step step) {
    for (int tries = 0;; ++tries) {
      stop(place);
      if (board.places[place].step == step || tries == most_tries) return;
      send(place, SIGCONT);
      busy_pause(random_() % longest_step);
    }
  }

  // Every other time anywhere, else in the midst of a step. Whether somebody died.
  bool strike(bool is_late) {
    const Target target = pick_target(is_late);
    const std::size_t place = pick_victim(*target.part);
    const bool is_aimed = is_late || random_() % 2 == 0;
    await_turn(place, turns_at_start_[place], " was started and has done nothing");
    pause();
    const int number = target.strike == Strike::stop ? SIGSTOP : target.strike == Strike::terminate ? SIGTERM : SIGKILL;
    last_ = signal_name(number) + " for victim " + std::to_string(place);
    if (is_aimed)
      stop_within(place, target.step);
    else if (target.strike == Strike::stop)
      stop(place);
    if (target.strike != Strike::stop) {
      send(place, number);
      if (is_aimed && target.strike == Strike::terminate) send(place, SIGCONT);
      bury(place, number);
    }
    tally_.count(*target.part, board.places[place].step, target.strike);
    if (target.strike != Strike::stop) return replace(place), true;
    if (scene_.goes_on_without_stopped())
      await_progress(turns_now());
    else
      pause();
    send(place, SIGCONT);
    await_progress(turns_now());
    ++num_stops_;
    return false;
  }

  void bury(std::size_t place, int number) {
    Process& process = processes_[place];
    expect(process.join(patience), place, " was sent " + signal_name(number) + " and does not end");
    expect(process.exitcode() == -number, place, " was sent " + signal_name(number) + " and ended with " + code(place));
    ++num_kills_;
  }
  void replace(std::size_t place) {
    const Turns turns = turns_now();
    if (scene_.died(place)) await_progress(turns);
    processes_[place].close();
    processes_[place] = scene_.make(place);
    start(place);
  }

  // Not before every process has begun to use what is soaked, so that what they hold can be compared.
  void calm_down() {
    for (std::size_t place = 0; place < num_places_; ++place)
      await_turn(place, turns_at_start_[place], " was started and has done nothing");
    const std::uint32_t calm = ++board.calm;
    for (std::size_t place = 0; place < num_places_; ++place)
      await([&] {
        expect(processes_[place].is_alive(), place, " has ended by itself");
        scene_.calm_down();
        return board.places[place].calm == calm;
      }, [&] { return who(place) + " does not come to rest" + all(); });
  }

  const char* name_;
  Scene& scene_;
  const std::size_t num_places_;
  std::mt19937 random_;
  Tally tally_;
  std::vector<Process> processes_;
  Turns turns_at_start_{};
  std::uint64_t num_kills_ = 0;
  std::uint64_t num_stops_ = 0;
  std::uint64_t round_ = 0;
  std::string last_ = "nothing";
};

void compare(const std::string& name, const Footprint& before, const Footprint& after, const Growth& growth,
             const char* when) {
  const auto expect = [&](bool right, const char* what) {
    require(right, name + ": " + what + " " + when + "\n  before: " + before.text() + "\n  after:  " + after.text());
  };
  expect(after.same_counts(before, growth.descriptors), "something was left");
  expect(after.kept_kib - before.kept_kib <= growth.kept_kib, "shared memory has grown");
  expect(after.resident_kib - before.resident_kib <= allowed_growth_kib + growth.resident_kib, "memory has grown");
  expect(after.nursery_resident_kib - before.nursery_resident_kib <= allowed_growth_kib, "the nursery has grown");
}

}  // namespace

void complain(const std::string& what) {
  if (!board.has_mistake.exchange(true)) {
    std::snprintf(board.mistake, sizeof board.mistake, "%s", what.c_str());
    board.has_text = true;
  }
  std::_Exit(1);
}

void keep_calm(Place& mine) {
  const std::uint32_t calm = board.calm;
  if (calm % 2 == 0) return;
  mine.calm = calm;
  while (board.calm == calm && !board.is_over) ::usleep(50);
}

void await(const std::function<bool()>& condition, const std::function<std::string()>& text) {
  const auto end = Clock::now() + patience;
  for (int looks = 0; !condition(); ++looks) {
    check_mistakes();
    if (Clock::now() > end) fail(text() + "\n  (waited for " + std::to_string(patience.count()) + " s)");
    if (looks < 100)
      std::this_thread::yield();
    else
      ::usleep(50);
  }
}

/// Fails when the main process itself hangs; everything that it waits for otherwise has a shorter patience.
void watch_main_process() {
  std::signal(SIGALRM, [](int) {
    constexpr std::string_view text = "shared_soak: FAILED: the main process hangs in what is soaked\n";
    static_cast<void>(!::write(STDERR_FILENO, text.data(), text.size()));
    std::_Exit(1);
  });
  ::alarm(3 * static_cast<unsigned>(patience.count()));
}

Footprint soak_scene(const NamedScene& named, const SoakLimits& limits, unsigned seed, const Footprint& before) {
  const auto start = Clock::now();
  const auto seconds = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  auto scene = named.make();
  Run run{named.name, *scene, seed};
  const std::size_t num_processes = nursery_and_spare + run.num_processes();
  Footprint warm;
  bool is_warm = false;
  std::optional<double> done_after;
  for (;;) {
    watch_main_process();
    run.round(done_after.has_value());
    if (!done_after && (run.num_kills() >= limits.kills || seconds() > limits.seconds)) done_after = seconds();
    if (!is_warm && (done_after || run.num_kills() >= limits.kills / 5 || seconds() > limits.seconds / 5)) {
      warm = settled(num_processes);
      is_warm = true;
    }
    if (done_after && run.tally().is_complete()) break;
    require(!done_after || seconds() < *done_after + 2 * static_cast<double>(patience.count()),
            std::string(named.name) + ": somewhere nobody was struck:\n" + run.tally().text());
    run.go_on();
  }
  const double duration = seconds();
  Growth growth = scene->growth();
  compare(named.name, warm, settled(num_processes), growth, "under load");
  run.end();
  scene.reset();
  ::alarm(0);
  const Footprint left = settled(nursery_and_spare);
  growth.resident_kib += growth.first_use_kib;
  compare(named.name, before, left, growth, "behind it");
  std::printf("%-15s %6llu kills, %6llu stops, %5.1f s\n%s", named.name,
              static_cast<unsigned long long>(run.num_kills()), static_cast<unsigned long long>(run.num_stops()),
              duration, run.tally().text().c_str());
  std::fflush(stdout);
  return left;
}

}  // namespace troupe::test
