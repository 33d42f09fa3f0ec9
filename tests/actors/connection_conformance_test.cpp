// The cases of CPython's _TestConnection and _TestPoll under their names and for every start method. What each pins
// down is restated in one line.

#include <troupe/connection.hpp>
#include <troupe/context.hpp>
#include <troupe/error.hpp>
#include <troupe/pipe.hpp>
#include <troupe/process.hpp>

#include "support/connections.hpp"
#include "support/processes.hpp"
#include "support/start_methods.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <fcntl.h>
#include <string>
#include <unistd.h>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe;
using namespace troupe::test;

const std::string sentinel = "";

void echo(Connection connection) {
  for (;;) {
    const auto bytes = connection.recv_bytes();
    if (bytes.empty()) break;
    connection.send_bytes(bytes);
  }
  connection.close();
}

class TestConnection : public EveryMethod {};

// Objects and bytes round-trip; receiving into a buffer; poll; 16 MiB; the end of the messages.
TEST_P(TestConnection, test_connection) {
  auto [connection, theirs] = Pipe();
  Process process{ProcessOptions{.daemon = true}, echo, std::move(theirs)};
  process.start();

  const std::vector<double> sequence{1, 2.25, -7};
  connection.send(sequence);
  EXPECT_EQ(connection.recv<std::vector<double>>(), sequence);
  connection.send_bytes("hello world");
  EXPECT_EQ(to_text(connection.recv_bytes()), "hello world");
  EXPECT_GE(connection.fileno(), 0);

  std::vector<std::byte> buffer(10 * 8);
  connection.send_bytes("abcdef");
  EXPECT_EQ(connection.recv_bytes_into(buffer), 6);
  EXPECT_EQ(to_text(buffer), "abcdef" + std::string(74, '\0'));
  buffer.assign(10 * 8, std::byte{});
  connection.send_bytes("abcdef");
  EXPECT_EQ(connection.recv_bytes_into(buffer, 3 * 8), 6);
  EXPECT_EQ(to_text(buffer), std::string(24, '\0') + "abcdef" + std::string(50, '\0'));

  const std::string longer = "hello hello hello hello hello hello";
  std::vector<std::byte> small(10);
  connection.send_bytes(longer);
  try {
    connection.recv_bytes_into(small);
    FAIL() << "it does not fit";
  } catch (const BufferTooShort& error) {
    EXPECT_EQ(to_text(error.message()), longer);
  }

  EXPECT_FALSE(connection.poll());
  const auto before = std::chrono::steady_clock::now();
  EXPECT_FALSE(connection.poll(-1s));
  EXPECT_LT(std::chrono::steady_clock::now() - before, 900ms);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_FALSE(connection.poll(100ms));
  EXPECT_GE(std::chrono::steady_clock::now() - start, 100ms);
  connection.send(std::string("late"));
  EXPECT_TRUE(connection.poll(patience));
  EXPECT_EQ(connection.recv<std::string>(), "late");

  const std::string really_big(std::size_t{16} << 20, 'X');
  connection.send_bytes(really_big);
  EXPECT_EQ(to_text(connection.recv_bytes()), really_big);

  connection.send_bytes(sentinel);
  EXPECT_TRUE(process.join(patience));
  EXPECT_TRUE(connection.readable());
  EXPECT_TRUE(connection.writable());
  EXPECT_TRUE(connection.poll());
  EXPECT_THROW(connection.recv<int>(), EOFError);
  EXPECT_THROW(connection.recv_bytes(), EOFError);
}

// The first end of a one-way pipe only receives, the second only sends.
TEST_P(TestConnection, test_duplex_false) {
  auto [reader, writer] = Pipe(Duplex::no);
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

// The parent may give up its copy of the child's end right after the start.
TEST_P(TestConnection, test_spawn_close) {
  auto [connection, theirs] = Pipe();
  Process process{ProcessOptions{.daemon = true}, echo, theirs.copy()};
  process.start();
  theirs.close();
  connection.send_bytes("hello");
  EXPECT_EQ(to_text(connection.recv_bytes()), "hello");
  connection.send_bytes(sentinel);
  connection.close();
  EXPECT_TRUE(process.join(patience));
}

// Parts of bytes: from an offset, of a size, empty ones; what reaches outside is a ValueError.
TEST_P(TestConnection, test_sendbytes) {
  auto [a, b] = Pipe();
  const std::string letters = "abcdefghijklmnopqrstuvwxyz";
  a.send_bytes(letters);
  EXPECT_EQ(to_text(b.recv_bytes()), letters);
  a.send_bytes(letters, 5);
  EXPECT_EQ(to_text(b.recv_bytes()), letters.substr(5));
  a.send_bytes(letters, 7, 8);
  EXPECT_EQ(to_text(b.recv_bytes()), letters.substr(7, 8));
  a.send_bytes(letters, 26);
  EXPECT_EQ(to_text(b.recv_bytes()), "");
  a.send_bytes(letters, 26, 0);
  EXPECT_EQ(to_text(b.recv_bytes()), "");
  EXPECT_THROW(a.send_bytes(letters, 27), ValueError);
  EXPECT_THROW(a.send_bytes(letters, 22, 5), ValueError);
  EXPECT_THROW(a.send_bytes(letters, 26, 1), ValueError);
  EXPECT_THROW(a.send_bytes(letters, -1), ValueError);
  EXPECT_THROW(a.send_bytes(letters, 4, -1), ValueError);
}

void write_to_received(Connection connection, const std::string& text) {
  const FileDescriptor file = connection.recv_handle();
  if (::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) std::exit(1);
}

// A descriptor goes over a pipe, and the child writes to the parent's file.
TEST_P(TestConnection, test_fd_transfer) {
  auto [connection, theirs] = Pipe();
  Process process{ProcessOptions{.daemon = true}, write_to_received, std::move(theirs), std::string("foo")};
  process.start();
  const FileDescriptor file = create_memory_file("received", 0);
  connection.send_handle(file);
  EXPECT_TRUE(process.join(patience));
  EXPECT_EQ(process.exitcode(), 0);
  std::string text(10, '\0');
  text.resize(static_cast<std::size_t>(::pread(file.get(), text.data(), text.size(), 0)));
  EXPECT_EQ(text, "foo");
}

// What a scope owns is closed at its end; any use after close is an OSError.
TEST_P(TestConnection, test_context) {
  auto [a, b] = Pipe();
  {
    Connection scoped = std::move(a);
    EXPECT_FALSE(scoped.closed());
    scoped.send(1729);
    EXPECT_EQ(b.recv<int>(), 1729);
  }
  EXPECT_TRUE(a.closed());
  EXPECT_THROW(b.recv<int>(), EOFError);
  EXPECT_FALSE(b.closed());
  b.close();
  EXPECT_TRUE(b.closed());
  EXPECT_THROW(b.recv<int>(), OSError);
  b.close();
}

class TestPoll : public TestConnection {};

// Polling takes nothing, and an empty message counts.
TEST_P(TestPoll, test_empty_string) {
  auto [a, b] = Pipe();
  EXPECT_FALSE(a.poll());
  b.send_bytes("");
  EXPECT_TRUE(a.poll());
  EXPECT_TRUE(a.poll());
}

/// Sends each when asked to, and when whoever asked, the parent, waits for it.
void send_strings(Connection connection, const std::vector<std::string>& strings) {
  for (const std::string& text : strings) {
    connection.recv_bytes();
    if (!wait_for_state(*parent_process()->pid(), 'S')) throw RuntimeError("nobody waits for it");
    connection.send_bytes(text);
  }
}

// Messages, empty ones too, come one by one while the receiver polls.
TEST_P(TestPoll, test_strings) {
  const std::vector<std::string> strings{"hello", "", "a", "b", "", "bye", "", "lop"};
  auto [a, b] = Pipe();
  Process process{send_strings, std::move(b), strings};
  process.start();
  for (const std::string& text : strings) {
    EXPECT_FALSE(a.poll());
    a.send_bytes("next");
    EXPECT_TRUE(a.poll(patience));
    EXPECT_EQ(to_text(a.recv_bytes()), text);
  }
  process.join();
}

void send_three(Connection connection, Connection done) {
  connection.send_bytes("a");
  connection.send_bytes("b");
  connection.send_bytes("cd");
  done.recv<bool>();
}

// Messages sent in a row stay apart.
TEST_P(TestPoll, test_dont_merge) {
  auto [a, b] = Pipe();
  auto [done, may_end] = Pipe();
  Process process{send_three, std::move(b), std::move(may_end)};
  process.start();
  for (const std::string text : {"a", "b", "cd"}) {
    EXPECT_TRUE(a.poll(patience));
    EXPECT_TRUE(a.poll(patience));
    EXPECT_EQ(to_text(a.recv_bytes()), text);
  }
  done.send(true);
  process.join();
}

INSTANTIATE_TEST_SUITE_P(P, TestConnection, every_start_method, name_of_method);
INSTANTIATE_TEST_SUITE_P(P, TestPoll, every_start_method, name_of_method);

}  // namespace
