// Shows processes that take turns by a condition, and what the others see when one dies.
// Run: condition_handover
// Prints who has the turn. The order is always the same, although nobody knows who is started first.

#include <troupe/condition.hpp>
#include <troupe/error.hpp>
#include <troupe/file_descriptor.hpp>
#include <troupe/process.hpp>
#include <troupe/runtime.hpp>

#include <chrono>
#include <csignal>
#include <iostream>
#include <mutex>
#include <string>
#include <unistd.h>
#include <vector>

namespace {

using namespace std::chrono_literals;

constexpr int num_cooks = 3;
constexpr int num_rounds = 2;

/// One write per line, so that lines of several processes do not mix.
void say(const std::string& text) { std::cout << text + '\n' << std::flush; }

/// Whose turn it is, in memory that all processes share. Only read and written under the condition's lock.
class Turn {
 public:
  explicit Turn(const troupe::FileDescriptor& file)
      : memory_(file.get(), 0, sizeof(int), troupe::Mapping::Access::read_write, "the turn") {}

  int get() const { return *reinterpret_cast<const int*>(memory_.data()); }
  void set(int turn) { *reinterpret_cast<int*>(memory_.data()) = turn; }

 private:
  troupe::Mapping memory_;
};

troupe::FileDescriptor copy_of(const troupe::FileDescriptor& file) { return troupe::FileDescriptor{::dup(file.get())}; }

void cook(int number, const troupe::Condition& condition, const troupe::FileDescriptor& file) {
  Turn turn{file};
  for (int round = 1; round <= num_rounds; ++round) {
    const std::lock_guard guard{condition};
    condition.wait_for([&] { return turn.get() % num_cooks == number; });
    say("cook " + std::to_string(number + 1) + " has the plate, round " + std::to_string(round));
    turn.set(turn.get() + 1);
    condition.notify_all();
  }
}

void clumsy_cook(const troupe::Condition& condition) {
  const std::lock_guard guard{condition};
  ::raise(SIGKILL);
}

void take_turns() {
  const troupe::Condition condition;
  const troupe::FileDescriptor file = troupe::create_memory_file("turn", sizeof(int));
  std::vector<troupe::Process> cooks;
  for (int number = num_cooks - 1; number >= 0; --number)
    cooks.emplace_back(cook, number, condition, copy_of(file)).start();
  for (const troupe::Process& each : cooks) each.join();
}

void die_with_the_lock() {
  const troupe::RLock lock;
  const troupe::Condition condition{lock};
  troupe::Process process{clumsy_cook, condition};
  process.start();
  process.join();
  say("a cook died with the lock: exit code " + std::to_string(process.exitcode().value()));
  const std::lock_guard guard{lock};
  say(std::string("the lock is free, and says so: ") + (lock.abandoned() ? "abandoned" : "not abandoned"));
  say(std::string("nobody notifies: ") + (condition.wait(10ms) ? "notified" : "timed out"));
}

}  // namespace

int main(int argc, char** argv) {
  const troupe::Runtime runtime{argc, argv};
  try {
    take_turns();
    die_with_the_lock();
  } catch (const troupe::Error& error) {
    std::cerr << "condition_handover: " << error.what() << '\n';
    return 1;
  }
}
