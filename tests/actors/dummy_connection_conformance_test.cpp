// The cases of CPython's _TestConnection, _TestPoll and _TestListenerClient under their names, between threads. What
// each pins down is restated in one line.

#include <troupe/dummy.hpp>
#include <troupe/dummy_connection.hpp>
#include <troupe/error.hpp>

#include "support/connections.hpp"
#include "support/processes.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe;
using namespace troupe::test;
namespace mp = troupe::dummy;

void echo(mp::Connection connection) {
  for (;;) {
    const auto bytes = connection.recv_bytes();
    if (bytes.empty()) break;
    connection.send_bytes(bytes);
  }
  connection.close();
}

// Values and bytes round-trip; poll; 16 MiB; the end of the messages.
TEST(TestConnection, test_connection) {
  auto [connection, theirs] = mp::Pipe();
  mp::Process process{mp::ProcessOptions{.daemon = true}, echo, std::move(theirs)};
  process.start();
  connection.send_bytes("hello world");
  EXPECT_EQ(to_text(connection.recv_bytes()), "hello world");
  EXPECT_FALSE(connection.poll());
  EXPECT_FALSE(connection.poll(-1s));
  const auto start = std::chrono::steady_clock::now();
  EXPECT_FALSE(connection.poll(100ms));
  EXPECT_GE(std::chrono::steady_clock::now() - start, 100ms);
  connection.send_bytes("late");
  EXPECT_TRUE(connection.poll(patience));
  EXPECT_EQ(to_text(connection.recv_bytes()), "late");
  const std::string really_big(std::size_t{16} << 20, 'X');
  connection.send_bytes(really_big);
  EXPECT_EQ(to_text(connection.recv_bytes()), really_big);

  connection.send_bytes("");
  process.join();
  EXPECT_TRUE(connection.readable());
  EXPECT_TRUE(connection.writable());
  EXPECT_TRUE(connection.poll());
  EXPECT_THROW(connection.recv<int>(), EOFError);
  EXPECT_THROW(connection.recv_bytes(), EOFError);
}

// The first end of a one-way pipe only receives, the second only sends.
TEST(TestConnection, test_duplex_false) {
  auto [reader, writer] = mp::Pipe(Duplex::no);
  writer.send(1);
  EXPECT_EQ(reader.recv<int>(), 1);
  EXPECT_TRUE(reader.readable());
  EXPECT_FALSE(reader.writable());
  EXPECT_FALSE(writer.readable());
  EXPECT_TRUE(writer.writable());
  EXPECT_THROW(reader.send(2), OSError);
  EXPECT_THROW(writer.recv<int>(), OSError);
  EXPECT_THROW(writer.poll(), OSError);
}

// The starter may give up its copy of the other end right after the start.
TEST(TestConnection, test_spawn_close) {
  auto [connection, theirs] = mp::Pipe();
  mp::Process process{echo, theirs.copy()};
  process.start();
  theirs.close();
  connection.send_bytes("hello");
  EXPECT_EQ(to_text(connection.recv_bytes()), "hello");
  connection.send_bytes("");
  connection.close();
  process.join();
}

// What a scope owns is closed at its end.
TEST(TestConnection, test_context) {
  auto [a, b] = mp::Pipe();
  {
    mp::Connection scoped = std::move(a);
    EXPECT_FALSE(scoped.closed());
    scoped.send(1729);
    EXPECT_EQ(b.recv<int>(), 1729);
  }
  EXPECT_TRUE(a.closed());
  EXPECT_THROW(b.recv<int>(), EOFError);
  EXPECT_THROW(b.send(1), OSError);
  b.close();
  b.close();
  EXPECT_THROW(b.recv<int>(), OSError);
}

// Polling takes nothing, and an empty message counts.
TEST(TestPoll, test_empty_string) {
  auto [a, b] = mp::Pipe();
  EXPECT_FALSE(a.poll());
  b.send_bytes("");
  EXPECT_TRUE(a.poll());
  EXPECT_TRUE(a.poll());
}

// Messages, empty ones too, come one by one while the receiver polls.
TEST(TestPoll, test_strings) {
  const std::vector<std::string> strings{"hello", "", "a", "b", "", "bye", "", "lop"};
  auto [a, b] = mp::Pipe();
  mp::Process process{[reader = ::gettid()](mp::Connection connection, const std::vector<std::string>& all) {
                        for (const std::string& text : all) {
                          connection.recv_bytes();
                          EXPECT_TRUE(wait_for_state(reader, 'S'));
                          connection.send_bytes(text);
                        }
                      },
                      std::move(b), strings};
  process.start();
  for (const std::string& text : strings) {
    EXPECT_FALSE(a.poll());
    a.send_bytes("next");
    EXPECT_TRUE(a.poll(patience));
    EXPECT_EQ(to_text(a.recv_bytes()), text);
  }
  process.join();
}

// Messages sent in a row stay apart.
TEST(TestPoll, test_dont_merge) {
  auto [a, b] = mp::Pipe();
  mp::Process process{[](mp::Connection connection) {
                        for (const char* text : {"a", "b", "cd"}) connection.send_bytes(text);
                        connection.recv<bool>();
                      },
                      std::move(b)};
  process.start();
  for (const char* text : {"a", "b", "cd"}) {
    EXPECT_TRUE(a.poll(patience));
    EXPECT_TRUE(a.poll(patience));
    EXPECT_EQ(to_text(a.recv_bytes()), text);
  }
  a.send(true);
  process.join();
}

// A thread connects and sends; the accepted end receives it.
TEST(TestListenerClient, test_listener_client) {
  mp::Listener listener;
  mp::Process process{[](const mp::Address& address) { mp::Client(address).send("hello"); }, listener.address()};
  process.start();
  mp::Connection connection = listener.accept();
  EXPECT_EQ(connection.recv<std::string>(), "hello");
  process.join();
}

// poll sees what was sent before anything else has happened.
TEST(TestListenerClient, test_issue16955) {
  mp::Listener listener;
  mp::Connection client = mp::Client(listener.address());
  mp::Connection accepted = listener.accept();
  accepted.send_bytes("hello");
  EXPECT_TRUE(client.poll(1s));
}

// Beyond Python's cases: what cannot travel can be sent; numbers arrive as other numbers, the rest as what it is.
TEST(DummyConnection, HandsOverWhateverThereIs) {
  auto [a, b] = mp::Pipe();
  a.send(std::make_unique<int>(3));
  EXPECT_EQ(*b.recv<std::unique_ptr<int>>(), 3);
  a.send(5u);
  EXPECT_EQ(b.recv<long>(), 5);
  a.send(-1);
  EXPECT_THROW(b.recv<unsigned>(), TypeError);
  a.send(1e300);
  EXPECT_THROW(b.recv<int>(), TypeError);
  a.send(300);
  EXPECT_THROW(b.recv<signed char>(), TypeError);
  a.send("text");
  EXPECT_THROW(b.recv<int>(), TypeError);
  auto [c, d] = mp::Pipe();
  a.send(std::move(c));
  b.recv<mp::Connection>().send(7);
  EXPECT_EQ(d.recv<int>(), 7);
  EXPECT_THROW(d.recv<int>(), EOFError);
  a.send_bytes("longer");
  EXPECT_THROW(b.recv_bytes(3), OSError);
  EXPECT_FALSE(b.readable());
}

TEST(DummyConnection, ReceivesIntoABufferBehindAnOffset) { expect_receives_behind_an_offset(mp::Pipe()); }

// A listener that is closed serves nobody, and who had come sees the end.
TEST(DummyConnection, AClosedListenerSendsClientsAway) {
  mp::Listener listener;
  EXPECT_THROW(listener.accept(10ms), TimeoutError);
  const mp::Address address = listener.address();
  mp::Connection client = mp::Client(address);
  listener.close();
  EXPECT_THROW(client.recv<int>(), EOFError);
  EXPECT_THROW(mp::Client(address), OSError);
  EXPECT_THROW(listener.accept(), OSError);
}

}  // namespace
