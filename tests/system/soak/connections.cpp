// Pipe: messages arrive whole, once and in order until the other side dies; then comes the end, and nothing hangs.
// Every victim sends back what a thread of the main process sends it.

#include <troupe/error.hpp>
#include <troupe/file_descriptor.hpp>
#include <troupe/pipe.hpp>

#include "scenes.hpp"
#include "support/connections.hpp"
#include "support/processes.hpp"
#include "verdict.hpp"

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <fcntl.h>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <sys/stat.h>
#include <thread>
#include <utility>

namespace troupe::test {

namespace {

constexpr std::size_t num_pipes = 3;
constexpr std::uint64_t most_on_their_way = 8;

/// Of ever other sizes, now and then as large as one that a killed sender has sent wholly or not at all.
std::string message(std::uint64_t number) {
  const std::size_t size = number % 32 == 0 ? 60'000 : number * 2'654'435'761U % 300;
  return std::to_string(number) + ":" + std::string(size, static_cast<char>('a' + number % 26));
}

// Every so many messages a descriptor goes there and back.
constexpr bool is_descriptor(std::uint64_t number) { return number % 50 == 49; }

void send_back(Connection connection, std::size_t place) {
  Place& mine = board.places[place];
  try {
    for (std::uint64_t number = 1;; ++number) {
      if (is_descriptor(number)) {
        mine.step = Step::receive;
        const FileDescriptor file = connection.recv_handle();
        mine.step = Step::send;
        connection.send_handle(file);
      } else {
        mine.step = Step::receive;
        const auto bytes = connection.recv_bytes();
        mine.step = Step::none;
        if (to_text(bytes) != message(number))
          complain("pipe: message " + std::to_string(number) + " of " + std::to_string(bytes.size()) +
                   " bytes is not as it was sent");
        mine.step = Step::send;
        connection.send_bytes(to_text(bytes));
      }
      mine.step = Step::none;
      ++mine.turns;
    }
  } catch (const EOFError&) {
    // The main process has closed its side.
  }
}

bool is_same_file(int a, int b) {
  struct stat first{};
  struct stat second{};
  return ::fstat(a, &first) == 0 && ::fstat(b, &second) == 0 && first.st_dev == second.st_dev &&
         first.st_ino == second.st_ino;
}

/// The main process's side of one pipe. Ends with the other side, or when all is over.
class Partner {
 public:
  Partner(Connection connection, std::size_t place)
      : connection_(std::move(connection)),
        place_(board.places[place]),
        turns_before_(place_.turns),
        thread_([this] { talk(); }) {}

  bool has_ended() const { return has_ended_; }
  /// When the other side has died: what it had sent is here.
  void check() const {
    const std::uint64_t num_sent_back = place_.turns - turns_before_;
    require(num_received_ >= num_sent_back && num_received_ <= num_sent_back + 1,
            "pipe: " + std::to_string(num_sent_back) + " messages were sent back, and " +
                std::to_string(num_received_) + " have come");
  }

 private:
  void talk() {
    try {
      std::minstd_rand random{static_cast<unsigned>(num_sent_ + 1)};
      while (!board.is_over) {
        keep_calm(place_);
        for (auto burst = 1 + random() % most_on_their_way; burst > 0; --burst) send();
        while (num_received_ < num_sent_) receive();
      }
    } catch (const EOFError&) {
      // All that was sent back has come before.
    } catch (const OSError& error) {
      require(error.errno_value() == EPIPE, std::string("pipe: ") + error.what());
      receive_rest();
    }
    connection_.close();
    has_ended_ = true;
  }
  // What the other side had sent before it died is still there.
  void receive_rest() {
    try {
      while (num_received_ < num_sent_) receive();
      connection_.recv_bytes();
      fail("pipe: more has come back than was sent");
    } catch (const EOFError&) {
    }
  }
  void send() {
    const std::uint64_t number = num_sent_ + 1;
    if (is_descriptor(number))
      connection_.send_handle(file_);
    else
      connection_.send_bytes(message(number));
    num_sent_ = number;
  }
  void receive() {
    const std::uint64_t number = num_received_ + 1;
    if (is_descriptor(number))
      require(is_same_file(connection_.recv_handle().get(), file_.get()), "pipe: another descriptor has come back");
    else
      require(to_text(connection_.recv_bytes()) == message(number),
              "pipe: message " + std::to_string(number) + " has come back otherwise than it was sent");
    num_received_ = number;
  }

  Connection connection_;
  Place& place_;
  std::uint64_t turns_before_;
  FileDescriptor file_{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
  std::uint64_t num_sent_ = 0;
  std::uint64_t num_received_ = 0;
  std::atomic<bool> has_ended_{false};
  std::jthread thread_;
};

const Part echo_part{"echo", {Step::receive, Step::send}};

class PipeScene : public Scene {
 public:
  std::size_t num_survivors() const override { return 0; }
  std::size_t num_victims() const override { return num_pipes; }
  Process make(std::size_t place) override {
    auto [mine, theirs] = Pipe();
    Process process{send_back, std::move(theirs), place};
    waiting_[place] = std::move(mine);
    return process;
  }
  const Part& part(std::size_t /*place*/) const override { return echo_part; }
  void started(std::size_t place) override { partners_[place].emplace(std::move(waiting_[place]), place); }
  bool died(std::size_t place) override {
    await([&] { return partners_[place]->has_ended(); },
          [] { return std::string("pipe: the other side has died, and its partner does not see the end"); });
    partners_[place]->check();
    partners_[place].reset();
    return false;
  }
  // The memory of pipes, 256 KiB each way, of which new ones have used little.
  Growth growth() const override { return {.resident_kib = num_pipes * 512}; }

 private:
  std::array<Connection, num_pipes> waiting_;
  std::array<std::optional<Partner>, num_pipes> partners_;
};

}  // namespace

std::vector<NamedScene> connection_scenes() {
  return {{"pipe", [] { return std::unique_ptr<Scene>{new PipeScene}; }}};
}

}  // namespace troupe::test
