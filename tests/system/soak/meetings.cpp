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

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <unistd.h>

namespace troupe::test {

namespace {

// --- Event: one survivor and a victim wait, one victim sets ---

constexpr std::size_t setter = 2;

// Only when somebody has cleared it, so that there is somebody to wake.
void set_event(const Event& event) {
  play(board.places[setter], [&] {
    while (event.is_set() && board.calm % 2 == 0) busy_pause(100);
    event.set();
  });
}

void await_event(const Event& event, std::size_t place) {
  play(board.places[place], [&] {
    event.wait();
    event.clear();
  });
}

class EventScene : public Scene {
 public:
  std::size_t num_survivors() const override { return 1; }
  std::size_t num_victims() const override { return 2; }
  Process make(std::size_t place) override {
    return place == setter ? Process{set_event, event_} : Process{await_event, event_, place};
  }
  // A setter that had set the flag and not yet woken anybody is the only one there was.
  bool died(std::size_t place) override {
    if (place != setter) return true;
    await([&] { return !event_.is_set(); }, [] { return std::string("event: it is set, and nobody was woken"); });
    return false;
  }
  void calm_down() override { event_.set(); }

 private:
  Event event_;
};

// --- Condition: some put into a stock, others take from it ---

struct Stock {
  std::atomic<std::uint64_t> num_put;
  std::atomic<std::uint64_t> num_taken;
};
Stock& stock = make_shared_memory<Stock>();
constexpr std::uint64_t most_in_stock = 4;

void put_into_stock(const RLock& lock, const Condition& condition, std::size_t place) {
  play(board.places[place], [&] {
    condition.lock();
    chamber.enter(lock.abandoned());
    if (stock.num_put - stock.num_taken < most_in_stock) ++stock.num_put;
    chamber.leave();
    condition.notify();
    condition.unlock();
  });
}

// Who waits leaves what the lock guards before, and comes back behind it.
void take_from_stock(const RLock& lock, const Condition& condition, std::size_t place) {
  play(board.places[place], [&] {
    condition.lock();
    chamber.enter(lock.abandoned());
    while (stock.num_put == stock.num_taken && board.calm % 2 == 0) {
      chamber.leave();
      condition.wait();
      chamber.enter(lock.abandoned());
    }
    if (stock.num_put != stock.num_taken) ++stock.num_taken;
    chamber.leave();
    condition.unlock();
  });
}

class ConditionScene : public Scene {
 public:
  ConditionScene() {
    chamber.reset();
    new (&stock) Stock{};
  }
  std::size_t num_survivors() const override { return 2; }
  std::size_t num_victims() const override { return 2; }
  Process make(std::size_t place) override {
    return Process{place % 2 == 0 ? put_into_stock : take_from_stock, lock_, condition_, place};
  }
  bool died(std::size_t /*place*/) override { return chamber.count_death(); }
  void calm_down() override {
    condition_.lock();
    chamber.enter(lock_.abandoned());
    chamber.leave();
    condition_.notify_all();
    condition_.unlock();
  }
  void check() override {
    chamber.check();
    const std::uint64_t left = stock.num_put - stock.num_taken;
    require(left <= most_in_stock, "condition: " + std::to_string(left) + " are left of at most " +
                                       std::to_string(most_in_stock));
  }

 private:
  RLock lock_;
  Condition condition_{lock_};
};

// --- Barrier: all parties pass a round, or none does ---

constexpr std::size_t num_parties = 3;

struct Rounds {
  std::array<std::atomic<std::uint64_t>, num_parties> passed;  ///< by place
  std::array<std::atomic<bool>, num_parties> is_out;           ///< by place: has found the barrier broken
  std::array<std::atomic<std::uint32_t>, 256> indices;         ///< by round: a bit for each result of wait
};
Rounds& meetings = make_shared_memory<Rounds>();

void meet(const Barrier& barrier, std::size_t place) {
  auto& passed = meetings.passed[place];
  play(board.places[place], [&] {
    try {
      const std::uint64_t round = passed;
      const std::uint32_t bit = 1U << barrier.wait();
      if ((meetings.indices[round % 256].fetch_or(bit) & bit) != 0)
        complain("barrier: two parties were told the same number in round " + std::to_string(round));
      meetings.indices[(round + 128) % 256] = 0;
      ++passed;
    } catch (const BrokenBarrierError&) {
      meetings.is_out[place] = true;
      while (barrier.broken() && board.calm % 2 == 0) ::usleep(10);
      meetings.is_out[place] = false;
    }
  });
}

class BarrierScene : public Scene {
 public:
  BarrierScene() { new (&meetings) Rounds{}; }
  std::size_t num_survivors() const override { return num_parties - 1; }
  std::size_t num_victims() const override { return 1; }
  Process make(std::size_t place) override { return Process{meet, barrier_, place}; }
  // Without it the others either wait for the round after the last one that went well, or have found it broken.
  bool died(std::size_t place) override {
    const auto all_out = [] { return meetings.is_out[0] && meetings.is_out[1]; };
    await([&] { return all_out() || (!barrier_.broken() && barrier_.n_waiting() == int{num_parties - 1}); },
          [&] { return "barrier: a party has died, and the others know nothing of it" + text(); });
    require(meetings.passed[0] == meetings.passed[1], "barrier: not all have passed the same rounds" + text());
    const std::uint64_t ahead = meetings.passed[0] - meetings.passed[place];
    require(ahead <= 1, "barrier: the dead one has not passed the same rounds" + text());
    meetings.passed[place] = meetings.passed[0].load();
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
