// The cases of CPython's _TestListener, _TestListenerClient, OtherTest, TestInvalidFamily, TestInvalidHandle,
// TestIgnoreEINTR and _TestPicklingConnections under their names. What each pins down is restated in one line.

#include <troupe/context.hpp>
#include <troupe/error.hpp>
#include <troupe/listener.hpp>
#include <troupe/pipe.hpp>
#include <troupe/process.hpp>

#include "support/connections.hpp"
#include "support/processes.hpp"
#include "support/start_methods.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <future>
#include <string>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe;
using namespace troupe::test;

constexpr std::array families{Family::af_inet, Family::af_unix};

// A second listener at an address in use is an OSError.
TEST(TestListener, test_multiple_bind) {
  for (const Family family : families) {
    const Listener listener{{.family = family}};
    try {
      const Listener second{listener.address(), {.family = family}};
      FAIL() << "somebody is there";
    } catch (const OSError& error) {
      EXPECT_EQ(error.errno_value(), EADDRINUSE);
    }
  }
}

// Rule: a TCP address can be listened at again at once, though connections from before linger in the kernel.
TEST(TestListener, rule_reuse_of_addresses) {
  Listener first{{.family = Family::af_inet}};
  const Address address = first.address();
  {
    Connection client = Client(address);
    first.accept().close();  // who closes first has the lingering end
    EXPECT_THROW(client.recv<int>(), EOFError);
  }
  first.close();
  Listener second{address, {.family = Family::af_inet}};
  EXPECT_EQ(second.address(), address);
  Connection client = Client(address);
  Connection accepted = second.accept();
  client.send(1729);
  EXPECT_EQ(accepted.recv<int>(), 1729);
}

void check_listener(Listener listener) {
  const Address address = listener.address();
  {
    Connection client = Client(address);
    Connection accepted = listener.accept();
    client.send(1729);
    EXPECT_EQ(accepted.recv<int>(), 1729);
  }
  listener.close();
  EXPECT_TRUE(listener.closed());
  EXPECT_THROW(listener.accept(), OSError);
  listener.close();
  if (!address.path().empty() && !address.is_abstract()) {
    EXPECT_FALSE(std::filesystem::exists(address.path()));
    EXPECT_FALSE(std::filesystem::exists(std::filesystem::path(address.path()).parent_path()) &&
                 address.path().find("troupe-") != std::string::npos);
  }
}

// The default listener carries a value; closed, accept is an OSError and its path is gone.
TEST(TestListener, test_context) { check_listener(Listener{}); }

// The same at an abstract address.
TEST(TestListener, test_abstract_socket) {
  const std::string name = std::string(1, '\0') + "troupe-test-" + std::to_string(::getpid());
  Listener listener{name};
  EXPECT_EQ(listener.address().path(), name);
  check_listener(std::move(listener));
}

class TestListenerClient : public EveryMethod {};

// For each family a child connects and sends; the accepted end receives it.
TEST_P(TestListenerClient, test_listener_client) {
  for (const Family family : families) {
    Listener listener{{.family = family}};
    Process process{ProcessOptions{.daemon = true},
                    [](const Address& address) {
                      Connection connection = Client(address);
                      connection.send("hello");
                    },
                    listener.address()};
    process.start();
    Connection connection = listener.accept();
    EXPECT_EQ(connection.recv<std::string>(), "hello");
    process.join();
  }
}

// poll sees what was sent before anything else has happened.
TEST_P(TestListenerClient, test_issue16955) {
  for (const Family family : families) {
    Listener listener{{.family = family}};
    Connection client = Client(listener.address());
    Connection accepted = listener.accept();
    accepted.send_bytes("hello");
    EXPECT_TRUE(client.poll(1s));
  }
}

// Whoever answers with anything but the right digest is refused.
TEST(OtherTest, test_deliver_challenge_auth_failure) {
  auto [mine, theirs] = Pipe();
  theirs.send_bytes("something bogus");
  EXPECT_THROW(deliver_challenge(mine, "some key"), AuthenticationError);
  EXPECT_TRUE(to_text(theirs.recv_bytes()).starts_with("#CHALLENGE#"));
  EXPECT_EQ(to_text(theirs.recv_bytes()), "#FAILURE#");
}

// Whoever is told anything but welcome knows that it was refused.
TEST(OtherTest, test_answer_challenge_auth_failure) {
  auto [mine, theirs] = Pipe();
  theirs.send_bytes("#CHALLENGE#01234567890123456789");
  theirs.send_bytes("something bogus");
  EXPECT_THROW(answer_challenge(mine, "some key"), AuthenticationError);
}

// Rule: the two halves suit each other, whichever side asks first; the connection is as new afterwards.
TEST(OtherTest, rule_challenges_both_ways) {
  auto [mine, theirs] = Pipe();
  auto other = std::async(std::launch::async, [&] {
    answer_challenge(theirs, "some key");
    deliver_challenge(theirs, "some key");
  });
  deliver_challenge(mine, "some key");
  answer_challenge(mine, "some key");
  other.get();
  mine.send(1);
  EXPECT_EQ(theirs.recv<int>(), 1);
  theirs.send(2);
  EXPECT_EQ(mine.recv<int>(), 2);
}

// Rule: what is longer than 256 bytes is no answer, not even a wrong one.
TEST(OtherTest, rule_longest_answer) {
  auto [mine, theirs] = Pipe();
  theirs.send_bytes(std::string(256, 'x'));
  EXPECT_THROW(deliver_challenge(mine, "some key"), AuthenticationError);
  theirs.send_bytes(std::string(257, 'x'));
  EXPECT_THROW(deliver_challenge(mine, "some key"), OSError);
}

// The name of a Windows pipe is no address here.
TEST(TestInvalidFamily, test_invalid_family) { EXPECT_THROW(Listener{"\\\\.\\test"}, ValueError); }

// A number that is no descriptor is refused, and does no harm.
TEST(TestInvalidHandle, test_invalid_handles) {
  EXPECT_THROW(Connection{FileDescriptor{44977608}}, OSError);
  EXPECT_THROW(Connection{FileDescriptor{-1}}, OSError);
}

constexpr std::size_t large = std::size_t{16} * 1024 * 1024 + 1;

void receive_and_send_signalled(Connection connection) {
  struct sigaction nothing {};
  nothing.sa_handler = [](int) {};
  ::sigaction(SIGUSR1, &nothing, nullptr);
  connection.send("ready");
  const auto value = connection.recv<int>();
  connection.send(value);
  connection.send_bytes(std::string(large, 'x'));
}

class TestIgnoreEINTR : public EveryMethod {};

// A process is signalled while it receives and while it sends: both finish with the data intact.
TEST_P(TestIgnoreEINTR, test_ignore) {
  auto [connection, theirs] = Pipe();
  Process process{ProcessOptions{.daemon = true}, receive_and_send_signalled, std::move(theirs)};
  process.start();
  EXPECT_EQ(connection.recv<std::string>(), "ready");
  EXPECT_TRUE(wait_for_state(*process.pid(), 'S'));
  ::kill(*process.pid(), SIGUSR1);
  EXPECT_TRUE(wait_for_state(*process.pid(), 'S'));  // the signal has woken it, and it goes on to wait
  connection.send(1234);
  EXPECT_EQ(connection.recv<int>(), 1234);
  EXPECT_TRUE(wait_for_state(*process.pid(), 'S'));
  ::kill(*process.pid(), SIGUSR1);
  EXPECT_EQ(to_text(connection.recv_bytes()), std::string(large, 'x'));
  EXPECT_TRUE(process.join(patience));
  EXPECT_EQ(process.exitcode(), 0);
}

void accept_and_pass_on(Connection control) {
  for (const Family family : families) {
    Listener listener{{.family = family}};
    control.send(listener.address());
    control.send(listener.accept());
  }
  Listener plain{{.family = Family::af_inet}};  // a raw socket: the descriptor is passed on
  control.send(plain.address());
  Connection accepted = plain.accept();
  control.send_handle(accepted.fileno());
  control.recv<bool>();
}

void send_upper_case(Connection control) {
  for (;;) {
    const auto [address, text] = control.recv<std::pair<Address, std::string>>();
    if (text.empty()) return;
    std::string upper = text;
    std::ranges::transform(upper, upper.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    Connection connection = Client(address);
    connection.send_bytes(upper);
  }
}

class TestPicklingConnections : public EveryMethod {};

// A child sends on the connections that it accepts; the parent reads from them what another process wrote.
TEST_P(TestPicklingConnections, test_pickling) {
  auto [listening, their_listening] = Pipe();
  Process acceptor{ProcessOptions{.daemon = true}, accept_and_pass_on, std::move(their_listening)};
  acceptor.start();
  auto [writing, their_writing] = Pipe();
  Process writer{ProcessOptions{.daemon = true}, send_upper_case, std::move(their_writing)};
  writer.start();

  for (const Family family : families) {
    const auto address = listening.recv<Address>();
    EXPECT_EQ(address.family(), family);
    writing.send(std::pair{address, std::string("message in a bottle")});
    auto accepted = listening.recv<Connection>();
    EXPECT_EQ(to_text(accepted.recv_bytes()), "MESSAGE IN A BOTTLE");
  }
  writing.send(std::pair{listening.recv<Address>(), std::string("raw socket")});
  const FileDescriptor raw = listening.recv_handle();
  std::string text(4 + 10, '\0');
  EXPECT_EQ(::recv(raw.get(), text.data(), text.size(), MSG_WAITALL), static_cast<ssize_t>(text.size()));
  EXPECT_EQ(text, std::string("\0\0\0\x0a", 4) + "RAW SOCKET");

  listening.send(true);
  writing.send(std::pair{Address{}, std::string()});
  acceptor.join();
  writer.join();
}

INSTANTIATE_TEST_SUITE_P(P, TestListenerClient, every_start_method, name_of_method);
INSTANTIATE_TEST_SUITE_P(P, TestIgnoreEINTR, every_start_method, name_of_method);
INSTANTIATE_TEST_SUITE_P(P, TestPicklingConnections, every_start_method, name_of_method);

}  // namespace
