// Connections through sockets of every kind: messages arrive whole, once and in order; whoever is left sees the end, or
// an error if the other side was in the midst of something, and the listener goes on serving others.
// The main process listens. Of each kind one victim sends and one receives, connecting again and again; a survivor
// sends through all kinds in turn, also while a victim is stopped.

#include <troupe/error.hpp>
#include <troupe/listener.hpp>

#include "scenes.hpp"
#include "support/connections.hpp"
#include "support/faults.hpp"
#include "verdict.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace troupe::test {

namespace {

using namespace std::chrono_literals;

constexpr std::size_t num_kinds = 3;
constexpr std::size_t num_clients = 1 + 2 * num_kinds;
constexpr std::uint64_t longest_talk = 50;  // messages
constexpr const char* key = "of the soak";

bool is_survivor(std::size_t place) { return place == 0; }
bool is_sender(std::size_t place) { return place % 2 == 0; }

/// How far the client of one connection is.
struct Talk {
  std::atomic<std::uint64_t> number;
  std::atomic<std::uint64_t> begun;  ///< messages
  std::atomic<std::uint64_t> ended;
  std::atomic<std::uint64_t> sent;  ///< by the main process, which has closed
};

/// The talks of a place are numbered from 1 on, whichever process is there.
struct Talks {
  std::atomic<std::uint64_t> last;
  std::array<Talk, 256> latest;

  Talk& get(std::uint64_t number) { return latest[number % latest.size()]; }
};
using AllTalks = std::array<Talks, num_clients>;
AllTalks& talks = make_shared_memory<AllTalks>();

/// The first message of a connection: who is there.
struct Hello {
  std::size_t place = 0;
  std::uint64_t talk = 0;

  Talk& state() const { return talks[place].get(talk); }
};

/// Of ever other sizes, now and then larger than what sockets take at once.
std::string message(const Hello& hello, std::uint64_t number) {
  const std::size_t size = number % 16 == 5 ? 300'000 : number * 2'654'435'761U % 3'000;
  return std::to_string(hello.place) + " " + std::to_string(hello.talk) + " " + std::to_string(number) + ":" +
         std::string(size, static_cast<char>('a' + (hello.talk + number) % 26));
}

/// A message that tells who receives it to be calm.
constexpr const char* rest = "rest";

/// What is wrong with a message, or nothing.
std::string mistake_in(const std::string& text, const Hello& hello, std::uint64_t number) {
  if (text == message(hello, number)) return {};
  return "stream: message " + std::to_string(number) + " of client " + std::to_string(hello.place) +
         " has come otherwise than it was sent";
}

/// Both processors would be busy with sending only.
void leave_to_others(std::uint64_t number) {
  if (number % 2 == 0) ::usleep(50);
}

// --- Clients ---

using Addresses = std::vector<Address>;

Hello new_talk(std::size_t place) {
  const Hello hello{place, talks[place].last + 1};
  Talk& talk = hello.state();
  talk.number = hello.talk;  // first: whoever still reads of an earlier one finds out
  talk.begun = 0;
  talk.ended = 0;
  talk.sent = 0;
  talks[place].last = hello.talk;
  return hello;
}

Connection call(const Address& address, const Hello& hello) {
  std::atomic<Step>& step = board.places[hello.place].step;
  step = Step::connect;
  Connection connection = Client(address, {.authkey = key});
  connection.send(hello);
  step = Step::none;
  return connection;
}

void send_all(const Addresses& addresses, std::size_t place) {
  Place& mine = board.places[place];
  std::minstd_rand random{static_cast<unsigned>(::getpid())};
  while (!board.is_over) {
    const Hello hello = new_talk(place);
    Talk& talk = hello.state();
    Connection connection = call(addresses[hello.talk % addresses.size()], hello);
    const auto length = is_survivor(place) ? 2 : 1 + random() % longest_talk;
    for (std::uint64_t number = 1; number <= length && !board.is_over; ++number) {
      keep_calm(mine);
      talk.begun = number;
      mine.step = Step::send;
      connection.send_bytes(message(hello, number));
      mine.step = Step::none;
      talk.ended = number;
      ++mine.turns;
      leave_to_others(number);
    }
  }
}

// Who sends says when to be calm, and closes.
void receive_all(const Addresses& addresses, std::size_t place) {
  Place& mine = board.places[place];
  while (!board.is_over) {
    const Hello hello = new_talk(place);
    Talk& talk = hello.state();
    Connection connection = call(addresses[hello.talk % addresses.size()], hello);
    try {
      for (;;) {
        mine.step = Step::receive;
        const std::string text = to_text(connection.recv_bytes());
        mine.step = Step::none;
        if (text == rest) {
          keep_calm(mine);
          continue;
        }
        const std::string mistake = mistake_in(text, hello, talk.ended + 1);
        if (!mistake.empty()) complain(mistake);
        ++talk.ended;
        ++mine.turns;
      }
    } catch (const EOFError&) {
      mine.step = Step::none;
      if (talk.ended != talk.sent)
        complain("stream: " + std::to_string(talk.ended) + " messages have come of " + std::to_string(talk.sent));
    }
  }
}

// --- The main process ---

/// The other side is gone.
void require_end(const OSError& error) {
  const int number = error.errno_value();
  require(number == ECONNRESET || number == EPIPE, std::string("stream: ") + error.what());
}

/// The other side of one client, in a thread. Ends with the connection.
class Partner {
 public:
  explicit Partner(Connection connection) : connection_(std::move(connection)), thread_([this] { run(); }) {}

  bool has_ended() const { return has_ended_; }
  /// Not before the client has said where it is.
  bool is_at(std::size_t place) const { return place_ == place; }

 private:
  void run() {
    std::optional<Hello> hello;
    try {
      hello = connection_.recv<Hello>();
      place_ = hello->place;
      if (is_sender(hello->place))
        receive_from(*hello);
      else
        send_to(*hello);
    } catch (const EOFError&) {
      // The client has closed its side, or has died between messages.
    } catch (const OSError& error) {
      require_end(error);
    }
    if (hello) check(*hello);
    connection_.close();
    has_ended_ = true;
  }
  void receive_from(const Hello& hello) {
    for (;; ++count_) {
      const std::string mistake = mistake_in(to_text(connection_.recv_bytes()), hello, count_ + 1);
      require(mistake.empty(), mistake);
    }
  }
  void send_to(const Hello& hello) {
    std::minstd_rand random{static_cast<unsigned>(hello.talk)};
    for (auto left = 1 + random() % longest_talk; left > 0 && !board.is_over; --left) {
      if (const std::uint32_t calm = board.calm; calm % 2 != 0) {
        connection_.send_bytes(rest);
        while (board.calm == calm && !board.is_over) ::usleep(50);
      }
      connection_.send_bytes(message(hello, count_ + 1));
      leave_to_others(++count_);
    }
    hello.state().sent = count_;
  }
  // What a client had sent when it died has come, and perhaps the message that it was about to send.
  void check(const Hello& hello) const {
    const Talk& talk = hello.state();
    const std::uint64_t begun = talk.begun;
    const std::uint64_t ended = talk.ended;
    if (talk.number != hello.talk) return;  // too long ago
    const bool is_right = is_sender(hello.place) ? ended <= count_ && count_ <= begun : ended <= count_ + 1;
    require(is_right, "stream: client " + std::to_string(hello.place) + " has begun " + std::to_string(begun) +
                          " and ended " + std::to_string(ended) + " messages, here are " + std::to_string(count_));
  }

  Connection connection_;
  std::atomic<std::size_t> place_{num_clients};
  std::uint64_t count_ = 0;
  std::atomic<bool> has_ended_{false};
  std::jthread thread_;
};

/// Listens, and gives each client a partner, until it goes.
class Server {
 public:
  explicit Server(Listener listener)
      : listener_(std::move(listener)), address_(listener_.address()), thread_([this](const std::stop_token& stop) {
          while (!stop.stop_requested()) serve();
        }) {}

  const Address& address() const { return address_; }
  /// Who have not ended, of those for which that is so.
  template <class Predicate>
  std::ptrdiff_t count(Predicate predicate) {
    const std::lock_guard lock{mutex_};
    return std::ranges::count_if(partners_, [&](const Partner& one) { return !one.has_ended() && predicate(one); });
  }

 private:
  // A client that dies before it has proved the key is an error that is its own.
  void serve() {
    try {
      Connection connection = listener_.accept(20ms);
      const std::lock_guard lock{mutex_};
      std::erase_if(partners_, [](const Partner& one) { return one.has_ended(); });
      partners_.emplace_back(std::move(connection));
    } catch (const TimeoutError&) {
      // To see whether it is to go.
    } catch (const EOFError&) {
    } catch (const OSError& error) {
      require_end(error);
    }
  }

  Listener listener_;
  Address address_;
  std::mutex mutex_;
  std::list<Partner> partners_;  // guarded
  std::jthread thread_;
};

const Part sender_part{"sender", {Step::connect, Step::send}};
const Part receiver_part{"receiver", {Step::connect, Step::receive}};

class StreamScene : public Scene {
 public:
  StreamScene() {
    new (&talks) AllTalks{};
    const ListenerOptions options{.authkey = key};
    servers_.emplace_back(Listener{options});
    servers_.emplace_back(Listener{Address{std::string{'\0'} + "troupe_soak_" + std::to_string(::getpid())}, options});
    servers_.emplace_back(Listener{Address{"127.0.0.1", 0}, options});
  }
  std::size_t num_survivors() const override { return 1; }
  std::size_t num_victims() const override { return num_clients - 1; }
  Process make(std::size_t place) override {
    Addresses addresses;
    std::size_t kind = 0;
    for (const Server& server : servers_)
      if (is_survivor(place) || (place - 1) / 2 == kind++) addresses.push_back(server.address());
    return Process{is_sender(place) ? send_all : receive_all, std::move(addresses), place};
  }
  const Part& part(std::size_t place) const override { return is_sender(place) ? sender_part : receiver_part; }
  bool goes_on_without_stopped() const override { return true; }
  bool died(std::size_t place) override {
    await([&] { return count([&](const Partner& one) { return one.is_at(place); }) == 0; },
          [] { return std::string("stream: a client has died, and its partner does not see the end"); });
    return true;
  }
  // Stacks of threads, that the C library keeps, and code.
  Growth growth() const override { return {.first_use_kib = 4096}; }
  // Everybody rests in the midst of a talk.
  void check() override {
    await([&] { return count([](const Partner&) { return true; }) == std::ptrdiff_t{num_clients}; },
          [] { return std::string("stream: there are partners without a client"); });
  }

 private:
  template <class Predicate>
  std::ptrdiff_t count(Predicate predicate) {
    std::ptrdiff_t all = 0;
    for (Server& server : servers_) all += server.count(predicate);
    return all;
  }

  std::list<Server> servers_;
};

}  // namespace

std::vector<NamedScene> stream_scenes() {
  return {{"stream", [] { return std::unique_ptr<Scene>{new StreamScene}; }}};
}

}  // namespace troupe::test
