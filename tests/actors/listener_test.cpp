// Listener and Client beyond Python's cases: programs that are hostile or slow, and Python at the other end.

#include <troupe/error.hpp>
#include <troupe/listener.hpp>
#include <troupe/process.hpp>
#include <troupe/runtime.hpp>

#include "support/connections.hpp"
#include "support/limits.hpp"
#include "support/nursery.hpp"
#include "support/pools.hpp"
#include "support/processes.hpp"

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <deque>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <netinet/in.h>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe;
using namespace troupe::test;

// Where a listener without an address of its own listens, until somebody kills it.
const bool listening_program = add_role("listens", [](int argc, char** argv, const std::string&) {
  const Runtime runtime{argc, argv};
  const Listener listener{{.family = Family::af_unix}};
  std::puts(listener.address().path().c_str());
  std::fflush(stdout);
  ::pause();
  return 0;
});

/// A TCP client that knows nothing of handshakes.
FileDescriptor connect_plainly(const Listener& listener) {
  FileDescriptor socket{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(listener.address().port());
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) socket.reset();
  return socket;
}

void send_raw(const FileDescriptor& socket, const std::string& bytes) {
  EXPECT_EQ(::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
}

ListenerOptions with_key(std::string_view key, std::chrono::milliseconds timeout = 10s) {
  return {.family = Family::af_inet, .authkey = key, .handshake_timeout = timeout};
}

/// Accepts until a client has proved the key; the number of those that were refused.
int refused_until_accepted(Listener& listener, Connection& accepted) {
  for (int refused = 0;; ++refused) {
    try {
      accepted = listener.accept(patience);
      return refused;
    } catch (const TimeoutError&) {
      throw;
    } catch (const Error&) {
      continue;
    }
  }
}

// Both sides prove the key, and both say so when it is another one.
TEST(Listener, BothSidesNeedTheKey) {
  for (const Family family : {Family::af_inet, Family::af_unix}) {
    Listener listener{{.family = family, .authkey = "right"}};
    auto client = std::async(std::launch::async, [&] { return Client(listener.address(), {.authkey = "right"}); });
    Connection accepted = listener.accept(patience);
    Connection connected = client.get();
    accepted.send(7);
    EXPECT_EQ(connected.recv<int>(), 7);

    auto other = std::async(std::launch::async, [&] { return Client(listener.address(), {.authkey = "wrong"}); });
    EXPECT_THROW(listener.accept(patience), AuthenticationError);
    EXPECT_THROW(other.get(), AuthenticationError);
  }
}

// Says where it listens and who came.
TEST(Listener, KnowsAddresses) {
  Listener listener{{.family = Family::af_inet}};
  EXPECT_NE(listener.address().port(), 0);
  EXPECT_EQ(listener.last_accepted(), std::nullopt);
  Connection client = Client({"localhost", listener.address().port()});
  Connection accepted = listener.accept();
  ASSERT_TRUE(listener.last_accepted());
  EXPECT_EQ(listener.last_accepted()->host(), "127.0.0.1");
  EXPECT_TRUE(Address("\0name").is_abstract());
  EXPECT_EQ(Address("\0name").to_string(), "@name");
  EXPECT_EQ(Address("host", 80).to_string(), "host:80");
  EXPECT_THROW(Listener("/tmp/x", {.family = Family::af_inet}), ValueError);
  EXPECT_THROW(Listener(std::string(200, 'x')), ValueError);
  EXPECT_THROW(Listener({.authkey = ""}), ValueError);
}

// Nobody comes, nobody is there.
TEST(Listener, WaitsNoLongerThanItShould) {
  Listener listener;
  EXPECT_THROW(listener.accept(10ms), TimeoutError);
  EXPECT_THROW(listener.accept(-1s), TimeoutError);
  const Address gone = listener.address();
  listener.close();
  EXPECT_THROW(Client(gone), OSError);
  Listener silent{{.family = Family::af_inet}};
  EXPECT_THROW(Client(silent.address(), {.authkey = "key", .timeout = 50ms}), TimeoutError);
}

// Clients that connect and say nothing hold nobody up, and are sent away.
TEST(Listener, SilentClientsHoldNobodyUp) {
  Listener listener{with_key("key", 300ms)};
  std::vector<FileDescriptor> silent;
  for (int i = 0; i < 20; ++i) silent.push_back(connect_plainly(listener));
  auto client = std::async(std::launch::async, [&] { return Client(listener.address(), {.authkey = "key"}); });
  Connection accepted = listener.accept(patience);
  Connection connected = client.get();
  accepted.send(1);
  EXPECT_EQ(connected.recv<int>(), 1);
  for (int i = 0; i < 20; ++i) EXPECT_THROW(listener.accept(patience), AuthenticationError);
  EXPECT_THROW(listener.accept(0s), TimeoutError);
}

// Nor do they when they have all descriptors that there are: they are sent away in time, and then others are served.
TEST(Listener, SilentClientsDoNotKeepAllDescriptors) {
  Listener listener{with_key("key", 200ms)};
  std::vector<FileDescriptor> silent;
  for (int i = 0; i < 20; ++i) silent.push_back(connect_plainly(listener));
  const LimitedFiles limit{first_free_descriptor() + 6};
  for (int i = 0; i < 20; ++i) EXPECT_THROW(listener.accept(patience), AuthenticationError);
  EXPECT_THROW(listener.accept(0s), TimeoutError);
}

// More of them than a listener keeps: the oldest go, and a real client still gets in.
TEST(Listener, TooManySilentClientsCostTheOldest) {
  ListenerOptions options = with_key("key");
  options.max_handshakes = 8;
  Listener listener{options};
  std::vector<FileDescriptor> silent;
  for (int i = 0; i < 40; ++i) silent.push_back(connect_plainly(listener));
  auto client = std::async(std::launch::async, [&] { return Client(listener.address(), {.authkey = "key"}); });
  Connection accepted;
  EXPECT_EQ(refused_until_accepted(listener, accepted), 33);
  client.get();
}

// Ten thousand clients without a word: those that know the key are served all the while, and what the listener holds for
// the others is bounded.
TEST(Listener, ServesAmongTenThousandSilentClients) {
  constexpr int num_silent = 10'000;
  constexpr int silent_per_client = 1'000;
  constexpr std::size_t most_open = 300;  // more than the listener keeps
  ListenerOptions options = with_key("key");
  options.backlog = silent_per_client;  // beyond it the system has clients wait for a second
  Listener listener{options};
  const std::size_t before = num_descriptors();
  std::atomic<int> num_refused{0};
  std::thread server{[&] {
    for (int i = 0; i < num_silent / silent_per_client; ++i) {
      Connection accepted;
      num_refused += refused_until_accepted(listener, accepted);
      accepted.send(i);
    }
  }};
  std::deque<FileDescriptor> silent;
  for (int i = 0; i < num_silent; ++i) {
    silent.push_back(connect_plainly(listener));
    if (silent.size() > most_open) silent.pop_front();
    if (i % silent_per_client == silent_per_client - 1) {
      Connection client = Client(listener.address(), {.authkey = "key"});
      EXPECT_EQ(client.recv<int>(), i / silent_per_client);
      EXPECT_LE(num_descriptors(), before + 2 * most_open);
    }
  }
  server.join();
  EXPECT_GE(num_refused, num_silent - static_cast<int>(ListenerOptions{}.max_handshakes) - 1);
}

// Garbage, half a frame, an absurd length, a wrong answer, an early end: an error for that client, and the next is
// served.
TEST(Listener, HostileClientsCostOnlyThemselves) {
  Listener listener{with_key("key", 200ms)};
  const std::vector<std::pair<std::string, bool>> attacks{
      {"GET / HTTP/1.1\r\n\r\n", false},
      {std::string("\0\0", 2), false},
      {std::string("\0\0", 2), true},
      {"", true},
      {std::string("\xff\xff\xff\xff\x40\0\0\0\0\0\0\0", 12), false},
      {std::string("\xff\xff\xff\xfe", 4), false},
      {std::string("\x7f\xff\xff\xff", 4) + std::string(1000, 'x'), false},
      {std::string("\0\0\0\x10", 4) + std::string(16, 'x'), false},
      {std::string("\0\0\0\0", 4), false},
      {std::string("\0\0\0\x28", 4) + "{sha256}" + std::string(32, 'x'), false},
      {std::string("\0\0\0\x28", 4) + "{sha999}" + std::string(32, 'x'), false},
  };
  for (const auto& [bytes, closes] : attacks) {
    FileDescriptor attacker = connect_plainly(listener);
    if (!bytes.empty()) send_raw(attacker, bytes);
    if (closes) attacker.reset();
    EXPECT_THROW(listener.accept(patience), Error) << bytes;
    auto client = std::async(std::launch::async, [&] { return Client(listener.address(), {.authkey = "key"}); });
    EXPECT_NO_THROW(listener.accept(patience));
    client.get();
  }
}

// What a peer announces costs no memory before it comes; what is no frame ends the connection.
TEST(Listener, AnnouncedLengthsCostNothing) {
  Listener listener{{.family = Family::af_inet}};
  for (const std::string& head :
       {std::string("\xff\xff\xff\xff\x40\0\0\0\0\0\0\0", 12), std::string("\x7f\xff\xff\xff", 4)}) {
    FileDescriptor peer = connect_plainly(listener);
    Connection accepted = listener.accept(patience);
    send_raw(peer, head + std::string(1000, 'x'));
    peer.reset();
    rusage before{};
    rusage after{};
    ::getrusage(RUSAGE_SELF, &before);
    EXPECT_THROW(accepted.recv_bytes(), OSError);
    ::getrusage(RUSAGE_SELF, &after);
    EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 16 * 1024);
  }
  FileDescriptor peer = connect_plainly(listener);
  Connection accepted = listener.accept(patience);
  send_raw(peer, std::string("\xff\xff\xff\xf0", 4));
  EXPECT_THROW(accepted.recv_bytes(), OSError);
  EXPECT_THROW(accepted.recv_bytes(), OSError);
}

// --- Python at the other end ---

/// python_peer.py with arguments; its output line by line.
class Python {
 public:
  explicit Python(const std::string& arguments)
      : output_(::popen(("exec python3 " PYTHON_PEER " " + arguments).c_str(), "re"), ::pclose) {}
  std::string line() {
    std::array<char, 256> text{};
    if (std::fgets(text.data(), text.size(), output_.get()) == nullptr) return "end of output";
    std::string result = text.data();
    result.erase(result.find_last_not_of('\n') + 1);
    return result;
  }

 private:
  std::unique_ptr<FILE, int (*)(FILE*)> output_;
};

bool has_python() { return std::system("python3 -c 'import multiprocessing.connection' 2>/dev/null") == 0; }

void talk(Connection& connection) {
  for (const std::size_t size : {1U, 5U, 20'000U, 3'000'000U}) {
    connection.send_bytes(std::string(size, 'a'));
    EXPECT_EQ(to_text(connection.recv_bytes()), std::string(size, 'A'));
  }
  connection.send_bytes("");
}

class PythonPeer : public testing::TestWithParam<std::tuple<Family, const char*>> {
 protected:
  void SetUp() override {
    if (!has_python()) GTEST_SKIP() << "no python3 here";
  }
  Family family() const { return std::get<0>(GetParam()); }
  std::string family_word() const { return family() == Family::af_inet ? "inet " : "unix "; }
  std::string how() const { return std::get<1>(GetParam()); }
  static std::string place(const Address& address) {
    return address.family() == Family::af_inet ? std::to_string(address.port()) : address.path();
  }
  Address address_of(const std::string& line) const {
    return family() == Family::af_inet ? Address{"127.0.0.1", static_cast<std::uint16_t>(std::stoi(line))}
                                       : Address{line};
  }
};

// A Python program connects to a Listener of ours: the handshake, then bytes both ways.
TEST_P(PythonPeer, ConnectsToUs) {
  Listener listener{{.family = family(), .authkey = "secret"}};
  Python python{"connect " + family_word() + place(listener.address()) + " secret" + how()};
  Connection connection = listener.accept(patience);
  talk(connection);
  EXPECT_EQ(python.line(), "done");
}

// A program of ours connects to a Listener of Python's.
TEST_P(PythonPeer, IsConnectedTo) {
  Python python{"listen " + family_word() + "secret" + how()};
  Connection connection = Client(address_of(python.line()), {.authkey = "secret"});
  talk(connection);
  EXPECT_EQ(python.line(), "done");
}

// With different keys both programs say so, whoever listens.
TEST_P(PythonPeer, RefusesAndIsRefused) {
  Listener listener{{.family = family(), .authkey = "secret"}};
  Python client{"connect " + family_word() + place(listener.address()) + " other" + how()};
  EXPECT_THROW(listener.accept(patience), AuthenticationError);
  EXPECT_EQ(client.line(), "AuthenticationError");
  Python server{"listen " + family_word() + "other" + how()};
  EXPECT_THROW(Client(address_of(server.line()), {.authkey = "secret"}), AuthenticationError);
  EXPECT_EQ(server.line(), "AuthenticationError");
}

INSTANTIATE_TEST_SUITE_P(Python, PythonPeer,
                         testing::Combine(testing::Values(Family::af_inet, Family::af_unix),
                                          testing::Values("", " named")),
                         [](const auto& how) {
                           return std::string(std::get<0>(how.param) == Family::af_inet ? "inet" : "unix") +
                                  (*std::get<1>(how.param) == '\0' ? "" : "_named");
                         });

void listen_and_tell(const FileDescriptor& line) {
  const Listener listener{{.family = Family::af_unix}};
  send_text(line, listener.address().path());
  ::pause();
}

TEST(Listener, WhoIsKilledLeavesNoSocket) {
  for (const StartMethod method : {StartMethod::forkserver, StartMethod::fork, StartMethod::spawn}) {
    auto [mine, theirs] = make_line();
    Process process{ProcessOptions{.start_method = method}, listen_and_tell, std::move(theirs)};
    process.start();
    const std::filesystem::path path = receive_text(mine);
    EXPECT_TRUE(std::filesystem::exists(path));
    process.kill();
    process.join();
    EXPECT_TRUE(comes_true([&] { return !std::filesystem::exists(path.parent_path()); }));
  }
}

TEST(Listener, AProgramThatIsKilledLeavesNoSocket) {
  for (const int signal : {SIGKILL, SIGTERM}) {
    Program program{"listens"};
    const std::filesystem::path path = program.read_line();
    EXPECT_TRUE(std::filesystem::exists(path));
    ::kill(program.pid(), signal);
    EXPECT_EQ(program.wait(), -signal);
    EXPECT_TRUE(comes_true([&] { return !std::filesystem::exists(path.parent_path()); }));
    EXPECT_EQ(program.errors(), "");
  }
}

// What others have put in its place stays.
TEST(Listener, RemovesNoSocketButItsOwn) {
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("troupe_listener_test_" + std::to_string(::getpid()));
  Listener first{Address{path.native()}};
  std::filesystem::remove(path);
  Listener second{Address{path.native()}};
  first.close();
  EXPECT_TRUE(std::filesystem::exists(path));
  second.close();
  EXPECT_FALSE(std::filesystem::exists(path));
}

}  // namespace
