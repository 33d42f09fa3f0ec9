// Shared memory: blocks of the heap that are made, handed on, checked and dropped; names that come and go in /dev/shm.

#include <troupe/error.hpp>
#include <troupe/queue.hpp>
#include <troupe/shared_block.hpp>
#include <troupe/shared_memory.hpp>
#include <troupe/store.hpp>

#include "scenes.hpp"
#include "support/faults.hpp"
#include "verdict.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

namespace troupe::test {

namespace {

// --- Heap: a block that somebody has is nobody else's ---

constexpr std::size_t most_blocks = 6;

/// A block, and what every byte of it is.
struct Filled {
  SharedBlock block;
  std::uint8_t value = 0;

  bool is_right() const {
    return std::all_of(block.data(), block.data() + block.size_bytes(),
                       [&](std::byte byte) { return byte == std::byte{value}; });
  }
};

Filled make_block(std::minstd_rand& random) {
  Filled made{SharedBlock{static_cast<std::ptrdiff_t>(random() % 6'000)}, 0};
  if (!made.is_right()) complain("heap: a new block is not all zero: it is somebody else's as well");
  made.value = static_cast<std::uint8_t>(1 + random() % 255);
  std::fill_n(made.block.data(), made.block.size_bytes(), std::byte{made.value});
  return made;
}

/// Lets go of the oldest.
void drop_oldest(std::deque<Filled>& blocks) {
  if (!blocks.front().is_right()) complain("heap: somebody else has written into a block");
  blocks.pop_front();
}

// A survivor keeps its own blocks to itself: what a killed process has of them would stay taken until their maker ends.
void use_blocks(const Queue<Filled>& exchange, std::size_t place, bool is_survivor) {
  std::minstd_rand random{static_cast<unsigned>(::getpid())};
  std::deque<Filled> own;
  std::deque<Filled> received;
  Place& mine = board.places[place];
  play(mine, [&] {
    mine.step = Step::allocate;
    own.push_back(make_block(random));
    mine.step = Step::put;
    if (!is_survivor && random() % 2 == 0) static_cast<void>(exchange.try_put(own.back()));
    mine.step = Step::get;
    if (is_survivor || random() % 2 == 0)
      if (auto item = exchange.try_get()) received.push_back(std::move(*item));
    mine.step = Step::free;
    if (own.size() > most_blocks) drop_oldest(own);
    if (received.size() > most_blocks || (is_survivor && !received.empty())) drop_oldest(received);
    mine.step = Step::none;
    if (is_survivor) ::usleep(20);
  });
}

const Part block_maker{"maker", {Step::allocate, Step::put, Step::get, Step::free}};

class HeapScene : public Scene {
 public:
  std::size_t num_survivors() const override { return 1; }
  std::size_t num_victims() const override { return 3; }
  Process make(std::size_t place) override { return Process{use_blocks, exchange_, place, place < num_survivors()}; }
  const Part& part(std::size_t /*place*/) const override { return block_maker; }
  // The arenas of dead makers, until there are too many that nobody holds; and those that the living have and are sent.
  Growth growth() const override { return {.descriptors = store::max_loose + 256, .kept_kib = 64 * 1024}; }

 private:
  Queue<Filled> exchange_{8};
};

// --- Names ---

constexpr std::size_t num_name_users = 3;

/// Who makes names at a place, and the last one.
struct Names {
  struct Maker {
    std::atomic<std::uint32_t> incarnation;
    std::atomic<std::uint32_t> last;  // 0: none yet
  };
  std::array<Maker, num_name_users> makers;
};
Names& names = make_shared_memory<Names>();

std::string prefix_of(pid_t main, std::size_t place, std::uint32_t incarnation) {
  return "troupe_soak_" + std::to_string(main) + "_" + std::to_string(place) + "_" + std::to_string(incarnation) + "_";
}

bool any_name_with(const std::string& prefix) {
  return std::ranges::any_of(std::filesystem::directory_iterator("/dev/shm"), [&](const auto& entry) {
    return entry.path().filename().string().starts_with(prefix);
  });
}

constexpr std::size_t name_bytes = 5'000;

/// Does something that may find a name gone.
template <class Action>
void unless_gone(Action action) {
  try {
    action();
  } catch (const OSError& error) {
    if (error.errno_value() != ENOENT) throw;
  }
}

bool is_there(const std::string& name) { return std::filesystem::exists("/dev/shm/" + name); }

void make_names(pid_t main, std::size_t place) {
  Names::Maker& mine = names.makers[place];
  const std::string prefix = prefix_of(main, place, mine.incarnation);
  std::deque<SharedMemory> all;
  std::atomic<Step>& step = board.places[place].step;
  play(board.places[place], [&] {
    const std::uint32_t number = mine.last + 1;
    step = Step::create;
    all.push_back(SharedMemory::create(name_bytes, prefix + std::to_string(number)));
    step = Step::none;
    all.back().buf()[number % name_bytes] = std::byte{1};
    mine.last = number;
    if (all.size() > 3) {
      step = Step::unlink;
      unless_gone([&] { all.front().unlink(); });
      step = Step::none;
      if (is_there(all.front().name())) complain("names: " + all.front().name() + " is there, and was unlinked");
      all.pop_front();
    }
    unless_gone([&] { SharedMemory::attach(all.back().name()).close(); });
  });
  for (const SharedMemory& memory : all) unless_gone([&] { memory.unlink(); });
}

// Opens what others have just made, keeps it for a turn and removes its name, so that nothing is left of dead makers.
void open_names(pid_t main, std::size_t place) {
  std::minstd_rand random{1};
  play(board.places[place], [&] {
    const std::size_t maker = 1 + random() % (num_name_users - 1);
    const std::uint32_t incarnation = names.makers[maker].incarnation;
    const std::uint32_t number = names.makers[maker].last;
    unless_gone([&] {
      const auto memory = SharedMemory::attach(prefix_of(main, maker, incarnation) + std::to_string(number));
      if (memory.size() != name_bytes) complain("names: " + memory.name() + " has " + std::to_string(memory.size()) +
                                                " bytes of " + std::to_string(name_bytes));
      if (number != 0 && memory.buf()[number % name_bytes] != std::byte{1})
        complain("names: " + memory.name() + " has not what its maker wrote");
      ::usleep(20);
      memory.unlink();
    });
  });
}

const Part name_maker{"maker", {Step::create, Step::unlink}};

class NamesScene : public Scene {
 public:
  NamesScene() { new (&names) Names{}; }
  std::size_t num_survivors() const override { return 1; }
  std::size_t num_victims() const override { return num_name_users - 1; }
  Process make(std::size_t place) override {
    return Process{place < num_survivors() ? open_names : make_names, ::getpid(), place};
  }
  const Part& part(std::size_t /*place*/) const override { return name_maker; }
  bool died(std::size_t place) override {
    Names::Maker& maker = names.makers[place];
    const std::string prefix = prefix_of(::getpid(), place, maker.incarnation);
    await([&] { return !any_name_with(prefix); },
          [&] { return "names: something is left of a dead maker: " + prefix; });
    maker.last = 0;
    ++maker.incarnation;
    return true;
  }
};

template <class S>
std::unique_ptr<Scene> make_scene() {
  return std::make_unique<S>();
}

}  // namespace

std::vector<NamedScene> memory_scenes() {
  return {{"heap", make_scene<HeapScene>}, {"names", make_scene<NamesScene>}};
}

}  // namespace troupe::test
