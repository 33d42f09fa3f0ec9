// Queue, JoinableQueue with leases, SimpleQueue: what was put comes out whole, once, in the order of its producer; only
// what a dead consumer had in its hands may be missing, and not even that with leases.

#include <troupe/queue.hpp>
#include <troupe/store.hpp>

#include "scenes.hpp"
#include "support/faults.hpp"
#include "support/processes.hpp"
#include "verdict.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <random>
#include <set>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

namespace troupe::test {

namespace {

constexpr std::uint32_t rest_item = ~std::uint32_t{0};  // whoever gets it is to be calm
constexpr std::ptrdiff_t queue_bound = 128;
/// More than consumers can have taken, or have died with, while nobody has marked a later one.
constexpr std::uint64_t most_in_hands = 16;
constexpr std::size_t num_survivors_here = 2;
constexpr std::size_t num_here = 6;

bool is_producer(std::size_t place) { return place % 2 == 0; }

/// What came out. Items of a place are numbered from 1 on, whichever process is there.
struct Marks {
  static constexpr std::size_t num_numbers = std::size_t{1} << 16U;

  std::array<std::array<std::atomic<std::uint64_t>, num_numbers>, num_here> last;  ///< by place, by number
  std::array<std::atomic<std::uint64_t>, num_here> num_taken;                      ///< by place: the last one
  std::array<std::atomic<std::uint64_t>, num_here> num_checked;                    ///< by place: those before a calm
  std::array<std::array<std::atomic<std::uint64_t>, num_numbers>, num_here> done;  ///< with leases, as `last`
  std::atomic<std::uint64_t> num_again;                                            ///< deliveries but for first ones
};
Marks& marks = make_shared_memory<Marks>();

struct Item {
  std::uint32_t place = 0;
  std::uint64_t number = 0;
  std::string padding{};
};

/// Of ever other sizes, in a full queue together more than the first piece of its memory. What victims put is now and
/// then larger than what goes through the queue's own memory; what a survivor puts is not, because a taker that is
/// killed in reading it leaves it taken until its maker ends.
std::string padding_of(std::uint32_t place, std::uint64_t number) {
  const bool is_large = place >= num_survivors_here && number % 64 == 0;
  const std::size_t size = is_large ? 20'000 : number % 3 == 0 ? 6'000 : number * 2'654'435'761U % 200;
  return std::string(size, static_cast<char>('a' + number % 26));
}

template <class Q>
constexpr bool is_simple = false;
template <class T>
constexpr bool is_simple<SimpleQueue<T>> = true;
template <class Q>
constexpr bool is_leasing = false;
template <class T>
constexpr bool is_leasing<JoinableQueue<T>> = true;

template <class Q>
void produce(const Q& queue, std::size_t place) {
  Place& mine = board.places[place];
  std::minstd_rand random{static_cast<unsigned>(::getpid())};
  play(mine, [&] {
    // Marks must not be overwritten before they were looked at; a calm comes soon.
    if (mine.begun - marks.num_checked[place] > Marks::num_numbers / 2) ::usleep(1'000);
    if constexpr (is_simple<Q>)
      if (mine.ended > marks.num_taken[place] + queue_bound) return static_cast<void>(::usleep(20));
    const std::uint64_t number = mine.begun + 1;
    const Item item{static_cast<std::uint32_t>(place), number, padding_of(static_cast<std::uint32_t>(place), number)};
    mine.begun = number;
    mine.step = Step::put;
    if constexpr (is_simple<Q>) {
      queue.put(item);
    } else {
      if (place < num_survivors_here || random() % 2 == 0)
        queue.put(item);
      else
        while (!queue.try_put(item)) continue;
    }
    mine.ended = number;
    mine.step = Step::none;
    const std::uint64_t taken = marks.num_taken[place];
    if (number > taken + queue_bound + most_in_hands && !is_simple<Q>)
      complain(std::to_string(number - taken) + " items of place " + std::to_string(place) + " are in the queue");
  });
}

template <class Q>
Delivery<Item> take(const Q& queue, bool is_survivor, std::minstd_rand& random) {
  if constexpr (is_leasing<Q>) {
    return queue.get_delivery();
  } else if constexpr (is_simple<Q>) {
    return {queue.get()};
  } else {
    if (is_survivor || random() % 2 == 0) return {queue.get()};
    for (;;)
      if (auto item = queue.try_get()) return {std::move(*item)};
  }
}

using Numbers = std::array<std::uint64_t, num_here>;

Numbers taken_by_now() {
  Numbers taken{};
  for (std::size_t place = 0; place < num_here; ++place) taken[place] = marks.num_taken[place];
  return taken;
}

/// `before`: what had come out before somebody began to get this item.
void mark(const Item& item, unsigned deliveries, const Numbers& before) {
  const auto name = [&] { return "item " + std::to_string(item.number) + " of place " + std::to_string(item.place); };
  if (item.place >= num_here || item.padding != padding_of(item.place, item.number))
    complain(name() + " is not as it was put");
  if (deliveries > 1) ++marks.num_again;
  const std::size_t index = item.number % Marks::num_numbers;
  const bool is_second = marks.last[item.place][index].exchange(item.number) == item.number;
  if (is_second && deliveries == 1) complain(name() + " has come twice");
  if (marks.done[item.place][index] == item.number) complain(name() + " was done, and has come again");
  if (deliveries == 1 && item.number <= before[item.place]) complain(name() + " has come behind a later one");
  auto& taken = marks.num_taken[item.place];  // whoever was held up comes later with an older one
  for (std::uint64_t seen = taken; seen < item.number && !taken.compare_exchange_weak(seen, item.number);) continue;
}

/// From its beginning to its end a step has the item: who dies in no step has lost none.
template <class Q>
void consume(const Q& queue, std::size_t place) {
  Place& mine = board.places[place];
  std::minstd_rand random{static_cast<unsigned>(::getpid())};
  repeat(mine, [&] {
    const Numbers before = taken_by_now();
    mine.step = Step::get;
    const auto [item, deliveries] = take(queue, place < num_survivors_here, random);
    const bool is_rest = item.place == rest_item;
    if (!is_rest) mark(item, deliveries, before);
    if constexpr (is_leasing<Q>) {
      mine.step = Step::task_done;
      queue.task_done();
      if (!is_rest) marks.done[item.place][item.number % Marks::num_numbers] = item.number;
    }
    mine.step = Step::none;
    if (is_rest) keep_calm(mine);
  });
}

const Part producer_part{"producer", {Step::put}};
const Part consumer_part{"consumer", {Step::get}};
const Part leasing_part{"consumer", {Step::get, Step::task_done}};

template <class Q>
Q make_queue() {
  if constexpr (is_simple<Q>)
    return Q{};
  else if constexpr (is_leasing<Q>)
    return Q{queue_bound, {.lease = true}};
  else
    return Q{queue_bound};
}

/// Producers at even places, consumers at odd ones. Rounds in which producers die, consumers, or both take turns.
template <class Q>
class QueueScene : public Scene {
 public:
  QueueScene() { new (&marks) Marks{}; }
  std::size_t num_survivors() const override { return num_survivors_here; }
  std::size_t num_victims() const override { return num_here - num_survivors_here; }
  Process make(std::size_t place) override {
    return Process{is_producer(place) ? produce<Q> : consume<Q>, queue_, place};
  }
  const Part& part(std::size_t place) const override {
    return is_producer(place) ? producer_part : is_leasing<Q> ? leasing_part : consumer_part;
  }
  bool may_die(std::size_t place, std::uint64_t round) const override {
    return round % 3 == 2 || is_producer(place) == (round % 3 == 0);
  }
  bool died(std::size_t place) override {
    if (!is_producer(place))
      num_dead_consumers_ += board.places[place].step != Step::none ? 1 : 0;
    else if (board.places[place].begun != board.places[place].ended)
      doubtful_[place].insert(board.places[place].begun);
    return true;
  }
  bool wants_calm() const override {
    for (std::size_t place = 0; place < num_here; place += 2)
      if (board.places[place].begun - marks.num_checked[place] > Marks::num_numbers / 2) return true;
    return false;
  }
  // When no more items come, every consumer gets the last one that tells it to be calm.
  void calm_down() override {
    const std::uint32_t calm = board.calm;
    if (rested_in_ == calm) return;
    for (std::size_t place = 0; place < num_here; place += 2)
      if (board.places[place].calm != calm) return;
    rested_in_ = calm;
    for (std::size_t place = 1; place < num_here; place += 2) queue_.put(Item{.place = rest_item});
  }
  void check() override {
    std::uint64_t num_lost = 0;
    for (std::size_t place = 0; place < num_here; place += 2) num_lost += count_lost(place);
    const std::uint64_t may_be_lost = is_leasing<Q> ? 0 : num_dead_consumers_;
    require(num_lost <= may_be_lost, std::to_string(num_lost) + " items are lost, with " +
                                         std::to_string(num_dead_consumers_) + " consumers");
    const std::uint64_t num_again = marks.num_again.exchange(0);
    require(num_again <= num_dead_consumers_, std::to_string(num_again) + " items have come again, with " +
                                                  std::to_string(num_dead_consumers_) + " consumers");
    num_dead_consumers_ = 0;
    require(queue_.empty(), "something is left in the queue");
    if constexpr (is_leasing<Q>) require(queue_.join(patience), "some item was never done");
  }
  // The arenas of dead producers; one for each is kept until there are too many that nobody holds.
  Growth growth() const override { return {.descriptors = store::max_loose, .kept_kib = 160 * 1024}; }

 private:
  // Of items put since the last calm, but for those in whose putting the producer has died.
  std::uint64_t count_lost(std::size_t place) {
    std::uint64_t num_lost = 0;
    for (std::uint64_t number = marks.num_checked[place] + 1; number <= board.places[place].begun; ++number)
      if (marks.last[place][number % Marks::num_numbers] != number && !doubtful_[place].contains(number)) ++num_lost;
    marks.num_checked[place] = board.places[place].begun.load();
    marks.num_taken[place] = board.places[place].begun.load();
    doubtful_[place].clear();
    return num_lost;
  }

  Q queue_ = make_queue<Q>();
  std::array<std::set<std::uint64_t>, num_here> doubtful_;  // by place: numbers that may have been put
  std::uint64_t num_dead_consumers_ = 0;  // since the last calm, that may have had an item
  std::uint32_t rested_in_ = 0;
};

template <class Q>
std::unique_ptr<Scene> make_scene() {
  return std::make_unique<QueueScene<Q>>();
}

}  // namespace

std::vector<NamedScene> queue_scenes() {
  new (&marks) Marks{};  // what it takes is there before the first scene then
  return {{"queue", make_scene<Queue<Item>>},
          {"joinable_queue", make_scene<JoinableQueue<Item>>},
          {"simple_queue", make_scene<SimpleQueue<Item>>}};
}

}  // namespace troupe::test
