// Event, Condition, Barrier: whoever waits is woken, whoever dies while it waits or wakes others.

#include <troupe/barrier.hpp>
#include <troupe/condition.hpp>
#include <troupe/event.hpp>
#include <troupe/lock.hpp>

#include "chamber.hpp"
#include "scenes.hpp"
#include "support/faults.hpp"
#include "support/forked.hpp"
#include "verdict.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <unistd.h>

namespace troupe::test {

namespace {

// --- Event: a setter lets all who wait pass, again and again ---
//
// Two events take turns. The setter sets one, waits until everybody has passed it, and clears it; meanwhile those who
// have passed wait for the other one. So whoever is not woken stands still, and so do the others behind him; and
// whoever passes what was not set, or was cleared, is found out.

constexpr std::size_t setter = 3;
constexpr std::size_t num_waiters = 3;

struct Gates {
  std::atomic<std::uint64_t> num_opened;                           ///< 0, 2 ... are of one event, 1, 3 ... of the other
  std::atomic<std::uint64_t> num_closed;                           ///< when everybody had passed them
  std::array<std::atomic<std::uint64_t>, num_waiters> num_passed;  ///< by place
};
Gates& gates = make_shared_memory<Gates>();

using TwoEvents = std::array<Event, 2>;

bool have_all_passed(std::uint64_t gate) {
  return std::ranges::all_of(gates.num_passed, [&](const auto& passed) { return passed > gate; });
}

// Whoever takes the place of a dead one sets what that one had set or not.
void set_events(const TwoEvents& events) {
  std::minstd_rand random{static_cast<unsigned>(::getpid())};
  Place& mine = board.places[setter];
  play(mine, [&] {
    const std::uint64_t gate = gates.num_closed;
    const Event& event = events[gate % 2];
    busy_pause(random() % 100'000);  // they fall asleep
    gates.num_opened = gate + 1;
    mine.step = Step::set;
    event.set();
    mine.step = Step::none;
    while (!have_all_passed(gate)) {
      if (board.calm % 2 != 0) return;  // others do not come before it is over
      ::usleep(10);
    }
    event.clear();
    if (event.is_set() && board.calm % 2 == 0) complain("event: it was cleared, and is still set");
    gates.num_closed = gate + 1;
  });
}

void await_events(const TwoEvents& events, std::size_t place, bool is_survivor) {
  std::minstd_rand random{static_cast<unsigned>(::getpid())};
  Place& mine = board.places[place];
  play(mine, [&] {
    const std::uint64_t gate = gates.num_passed[place];
    const Event& event = events[gate % 2];
    mine.step = Step::wait;
    const bool was_set =
        is_survivor || random() % 2 == 0 ? event.wait() : event.wait(std::chrono::microseconds{random() % 500});
    mine.step = Step::none;
    if (board.calm % 2 != 0) return;  // somebody may have set it for this only
    if (!was_set && is_survivor) complain("event: nobody has cleared it, and who waits was told so");
    if (!was_set) return;
    if (gates.num_opened <= gate) complain("event: somebody has passed what nobody has set");
    gates.num_passed[place] = gate + 1;
  });
}

const Part waiter_part{"waiter", {Step::wait}};
const Part setter_part{"setter", {Step::set}};

class EventScene : public Scene {
 public:
  EventScene() { new (&gates) Gates{}; }
  std::size_t num_survivors() const override { return num_waiters - 1; }
  std::size_t num_victims() const override { return 2; }
  Process make(std::size_t place) override {
    return place == setter ? Process{set_events, events_}
                           : Process{await_events, events_, place, place < num_survivors()};
  }
  const Part& part(std::size_t place) const override { return place == setter ? setter_part : waiter_part; }
  // The others pass what is set, or was about to be: also if the setter has died before it had woken them.
  bool died(std::size_t place) override {
    const std::uint64_t gate = gates.num_closed;
    const auto has_passed = [&](std::size_t other) { return other == place || gates.num_passed[other] > gate; };
    await([&] {
      if (place == setter && !events_[gate % 2].is_set()) return true;
      for (std::size_t other = 0; other < num_waiters; ++other)
        if (!has_passed(other)) return false;
      return true;
    }, [&] { return "event: one has died, and others do not pass what is set" + text(); });
    return false;
  }
  void calm_down() override {
    for (const Event& event : events_) event.set();
  }
  void check() override {
    for (const Event& event : events_) {
      event.clear();
      require(!event.is_set(), "event: it was cleared, and is still set");
    }
  }

 private:
  static std::string text() {
    std::string all = "; opened " + std::to_string(gates.num_opened) + ", passed:";
    for (const auto& passed : gates.num_passed) all += " " + std::to_string(passed);
    return all;
  }

  TwoEvents events_;
};

// --- Condition: some put something down, others take it, each is told of each once ---

struct Stock {
  std::atomic<std::uint64_t> num_put;
  std::atomic<std::uint64_t> num_taken;

  bool is_empty() const { return num_put == num_taken; }
};
Stock& stock = make_shared_memory<Stock>();

/// With the lock. Whoever has it after a dead one tells what that one may have put down and not told.
void enter_stock(const RLock& lock, const Condition& condition) {
  const bool was_abandoned = lock.abandoned();
  chamber.enter(was_abandoned);
  if (was_abandoned && !stock.is_empty()) condition.notify();
}

// There is one thing at most, and it is told once. If that is lost nothing goes on.
void put_down(const RLock& lock, const Condition& condition, std::size_t place) {
  Place& mine = board.places[place];
  play(mine, [&] {
    condition.lock();
    enter_stock(lock, condition);
    const bool puts = stock.is_empty();
    if (puts) ++stock.num_put;
    chamber.leave();
    mine.step = Step::notify;
    if (puts) condition.notify();
    mine.step = Step::none;
    condition.unlock();
    if (!puts) ::usleep(10);
  });
}

// Who waits leaves what the lock guards before, and comes back behind it.
void take_up(const RLock& lock, const Condition& condition, std::size_t place) {
  Place& mine = board.places[place];
  play(mine, [&] {
    condition.lock();
    enter_stock(lock, condition);
    while (stock.is_empty() && board.calm % 2 == 0) {
      chamber.leave();
      mine.step = Step::wait;
      condition.wait();
      mine.step = Step::none;
      enter_stock(lock, condition);
    }
    if (!stock.is_empty()) ++stock.num_taken;
    chamber.leave();
    condition.unlock();
  });
}

const Part giver_part{"giver", {Step::notify}};
const Part taker_part{"taker", {Step::wait}};

class ConditionScene : public Scene {
 public:
  ConditionScene() {
    chamber.reset();
    new (&stock) Stock{};
  }
  std::size_t num_survivors() const override { return 2; }
  std::size_t num_victims() const override { return 2; }
  Process make(std::size_t place) override {
    return Process{is_giver(place) ? put_down : take_up, lock_, condition_, place};
  }
  const Part& part(std::size_t place) const override { return is_giver(place) ? giver_part : taker_part; }
  // A taker that has died when it was awake has told nobody.
  bool died(std::size_t place) override {
    chamber.count_death();
    if (!is_giver(place)) tell(1);
    return true;
  }
  void calm_down() override { tell(static_cast<std::size_t>(-1)); }
  void check() override {
    chamber.check();
    const std::uint64_t left = stock.num_put - stock.num_taken;
    require(left <= 1, "condition: " + std::to_string(left) + " are left of at most 1");
  }

 private:
  static bool is_giver(std::size_t place) { return place % 2 == 0; }
  void tell(std::size_t how_many) {
    condition_.lock();
    enter_stock(lock_, condition_);
    chamber.leave();
    condition_.notify(how_many);
    condition_.unlock();
  }

  RLock lock_;
  Condition condition_{lock_};
};

// --- Barrier: all parties pass a round, or none does ---

constexpr std::size_t num_parties = 3;

struct Rounds {
  std::array<std::atomic<std::uint64_t>, num_parties> passed;  ///< by place
  std::array<std::atomic<std::uint64_t>, num_parties> come;    ///< by place: those that it came to, or was about to
  std::array<std::atomic<bool>, num_parties> is_out;           ///< by place: has found the barrier broken
  std::array<std::atomic<std::uint32_t>, 256> indices;         ///< by round: a bit for each result of wait
};
Rounds& meetings = make_shared_memory<Rounds>();

void meet(const Barrier& barrier, std::size_t place) {
  std::minstd_rand random{static_cast<unsigned>(::getpid())};
  Place& mine = board.places[place];
  auto& passed = meetings.passed[place];
  play(mine, [&] {
    try {
      const std::uint64_t round = passed;
      // Others die meanwhile.
      if (place == 0 && random() % 16 == 0) ::usleep(static_cast<useconds_t>(random() % 5'000));
      meetings.come[place] = round + 1;
      mine.step = Step::wait;
      const std::uint32_t bit = 1U << barrier.wait();
      mine.step = Step::none;
      if (!std::ranges::all_of(meetings.come, [&](const auto& come) { return come > round; }))
        complain("barrier: somebody has passed round " + std::to_string(round) + " before all had come");
      if ((meetings.indices[round % 256].fetch_or(bit) & bit) != 0)
        complain("barrier: two parties were told the same number in round " + std::to_string(round));
      meetings.indices[(round + 128) % 256] = 0;
      ++passed;
    } catch (const BrokenBarrierError&) {
      mine.step = Step::none;
      meetings.is_out[place] = true;
      while (barrier.broken() && board.calm % 2 == 0) ::usleep(10);
      meetings.is_out[place] = false;
    }
  });
}

const Part party_part{"party", {Step::wait}};

class BarrierScene : public Scene {
 public:
  BarrierScene() { new (&meetings) Rounds{}; }
  std::size_t num_survivors() const override { return num_parties - 1; }
  std::size_t num_victims() const override { return 1; }
  Process make(std::size_t place) override { return Process{meet, barrier_, place}; }
  const Part& part(std::size_t /*place*/) const override { return party_part; }
  // Of a round that somebody had not yet come to when it died, there will be nothing.
  // Without it the others either wait for the round after the last one that went well, or have found it broken.
  bool died(std::size_t place) override {
    const std::uint64_t round = meetings.passed[place];
    const bool was_early = meetings.come[0] <= round || meetings.come[1] <= round;
    const auto all_out = [] { return meetings.is_out[0] && meetings.is_out[1]; };
    await([&] { return all_out() || (!barrier_.broken() && barrier_.n_waiting() == int{num_parties - 1}); },
          [&] { return "barrier: a party has died, and the others know nothing of it" + text(); });
    require(meetings.passed[0] == meetings.passed[1], "barrier: not all have passed the same rounds" + text());
    const std::uint64_t ahead = meetings.passed[0] - meetings.passed[place];
    require(ahead <= (was_early ? 0 : 1), "barrier: the dead one has not passed the same rounds" + text());
    meetings.passed[place] = meetings.passed[0].load();
    meetings.come[place] = meetings.passed[0].load();
    meetings.is_out[place] = false;
    if (barrier_.broken()) barrier_.reset();
    return false;
  }
  void calm_down() override { barrier_.abort(); }
  void check() override {
    require(meetings.passed[0] == meetings.passed[1] && meetings.passed[1] == meetings.passed[2],
            "barrier: not all have passed the same rounds" + text());
    barrier_.reset();
  }

 private:
  std::string text() const {
    std::string all = barrier_.broken() ? "; it is broken, " : "; ";
    all += std::to_string(barrier_.n_waiting()) + " wait; passed:";
    for (const auto& passed : meetings.passed) all += " " + std::to_string(passed);
    return all;
  }

  Barrier barrier_{static_cast<int>(num_parties)};
};

template <class S>
std::unique_ptr<Scene> make_scene() {
  return std::make_unique<S>();
}

}  // namespace

std::vector<NamedScene> meeting_scenes() {
  return {{"event", make_scene<EventScene>},
          {"condition", make_scene<ConditionScene>},
          {"barrier", make_scene<BarrierScene>}};
}

}  // namespace troupe::test
