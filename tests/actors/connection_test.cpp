// Connections beyond what Python's cases ask: what travels, who holds an end, what is left when a process is killed.

#include <troupe/connection.hpp>
#include <troupe/dynamic.hpp>
#include <troupe/error.hpp>
#include <troupe/pipe.hpp>
#include <troupe/pool.hpp>
#include <troupe/process.hpp>

#include "support/connections.hpp"
#include "support/errors.hpp"
#include "support/one_piece.hpp"
#include "support/pools.hpp"
#include "support/processes.hpp"
#include "support/processor_time.hpp"

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <fcntl.h>
#include <map>
#include <memory>
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

struct Point {
  int x = 0;
  std::string name;
  bool operator==(const Point&) const = default;
};

/// Two ends over a socket pair instead of shared memory.
std::pair<Connection, Connection> make_streams() {
  std::array<int, 2> numbers{};
  ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, numbers.data());
  return {Connection{FileDescriptor{numbers[0]}}, Connection{FileDescriptor{numbers[1]}}};
}

// What can be an argument of a task can be sent; what is sent in a row stays in order.
TEST(Connection, SendsValuesOfEveryKindInOrder) {
  for (const auto& make : {+[] { return Pipe(); }, +[] { return make_streams(); }}) {
    auto [a, b] = make();
    a.send(42);
    a.send("text");
    a.send(std::vector{1.5, 2.5});
    a.send(Point{7, "seven"});
    a.send(std::map<std::string, int>{{"one", 1}});
    a.send(std::optional<int>{});
    EXPECT_EQ(b.recv<int>(), 42);
    EXPECT_EQ(b.recv<std::string>(), "text");
    EXPECT_EQ(b.recv<std::vector<double>>(), (std::vector{1.5, 2.5}));
    EXPECT_EQ(b.recv<Point>(), (Point{7, "seven"}));
    EXPECT_EQ((b.recv<std::map<std::string, int>>()), (std::map<std::string, int>{{"one", 1}}));
    EXPECT_EQ(b.recv<std::optional<int>>(), std::nullopt);
  }
}

// The wrong type is an error of that message; the next one is received.
TEST(Connection, GoesOnAfterAMessageOfAnotherType) {
  auto [a, b] = Pipe();
  a.send("text");
  a.send_bytes("no value");
  a.send_bytes("12345");
  a.send(1);
  EXPECT_THROW(b.recv<int>(), CodecError);
  EXPECT_THROW(b.recv<int>(), CodecError);
  EXPECT_THROW(b.recv<int>(), CodecError);
  EXPECT_EQ(b.recv<int>(), 1);
}

// The other side is closed: sending is an error, never a signal; what it had sent can still be received.
TEST(Connection, SendingToAClosedEndIsABrokenPipe) {
  for (const auto& make : {+[] { return Pipe(); }, +[] { return make_streams(); }}) {
    auto [a, b] = make();
    b.send(1);
    a.send(2);
    b.recv<int>();
    b.close();
    EXPECT_EQ(errno_of([&] { a.send(3); }), EPIPE);
    EXPECT_EQ(a.recv<int>(), 1);
    EXPECT_THROW(a.recv<int>(), EOFError);
    EXPECT_TRUE(a.poll());
  }
}

void wait_to_be_killed(Connection connection) {
  connection.send(::getpid());
  connection.recv<int>();
}

// The other side is killed: the end for the receiver, a broken pipe for the sender, at once.
TEST(Connection, AKilledProcessIsTheEnd) {
  auto [mine, theirs] = Pipe();
  Process process{wait_to_be_killed, std::move(theirs)};
  process.start();
  mine.recv<int>();
  process.kill();
  EXPECT_THROW(mine.recv<int>(), EOFError);
  EXPECT_EQ(errno_of([&] { mine.send(1); }), EPIPE);
  process.join();
}

// The same seen from one that only sends, and learns of the death by the join.
TEST(Connection, SendingToAJoinedProcessIsABrokenPipe) {
  for (int i = 0; i < 20; ++i) {
    auto [mine, theirs] = Pipe();
    Process process{[](Connection connection) { connection.send(connection.recv<int>()); }, std::move(theirs)};
    process.start();
    mine.send(5);
    EXPECT_EQ(mine.recv<int>(), 5);
    process.join();
    EXPECT_EQ(errno_of([&] { mine.send(6); }), EPIPE);
  }
}

// There are several copies of an end: the other side sees the end when the last one is gone.
TEST(Connection, EndsWithItsLastCopy) {
  auto [mine, theirs] = Pipe();
  Connection second = theirs.copy();
  Process process{wait_to_be_killed, theirs.copy()};
  process.start();
  mine.recv<int>();
  theirs.close();
  process.kill();
  process.join();
  EXPECT_FALSE(mine.poll(50ms));
  second.send(1);
  EXPECT_EQ(mine.recv<int>(), 1);
  mine.send(2);
  EXPECT_EQ(second.recv<int>(), 2);
  second.close();
  EXPECT_THROW(mine.recv<int>(), EOFError);
}

// Copies in several processes use the end one after another.
TEST(Connection, IsUsedByOneProcessAfterAnother) {
  auto [mine, theirs] = Pipe();
  for (int i = 0; i < 10; ++i) {
    theirs.send(-1);
    Process process{[](Connection connection, int number) {
                      for (int k = 0; k < 100; ++k) connection.send(connection.recv<int>() + number);
                    },
                    theirs.copy(), i};
    process.start();
    EXPECT_EQ(mine.recv<int>(), -1);
    for (int k = 0; k < 100; ++k) {
      mine.send(k);
      ASSERT_EQ(mine.recv<int>(), k + i);
    }
    process.join();
  }
}

void echo_bytes(Connection connection) {
  for (;;) {
    try {
      connection.send_bytes(connection.recv_bytes());
    } catch (const Error&) {
      return;
    }
  }
}

// Messages around the sizes where a ring's parts, quarters and wraps begin, and much longer ones, come back as they
// were.
TEST(Connection, MessagesOfAllSizesComeBack) {
  auto [mine, theirs] = Pipe();
  Process process{echo_bytes, std::move(theirs)};
  process.start();
  constexpr std::size_t sizes[] = {0,     1,     47,      48,      49,      112,     4096,    65519,     65520,    65521,
                                   65536, 200'000, 262'127, 262'128, 262'129, 262'144, 300'000, 1'000'000, 20'000'000};
  for (const std::size_t size : sizes) {
    std::string text(size, 'x');
    for (std::size_t i = 0; i < size; i += 61) text[i] = static_cast<char>(i);
    mine.send_bytes(text);
    ASSERT_EQ(to_text(mine.recv_bytes()) == text, true) << size;
  }
}

// Some hundred thousand messages of changing sizes while the receiver is late: none is lost, changed or out of order.
TEST(Connection, AFullPipeMakesItsSenderWait) {
  auto [mine, theirs] = Pipe(Duplex::no);
  Process process{[](Connection connection) {
                    std::vector<int> values;
                    for (int i = 0; i < 20'000; ++i) {
                      values.assign(static_cast<std::size_t>(i % 300), i);
                      connection.send(values);
                    }
                  },
                  std::move(theirs)};
  process.start();
  for (int i = 0; i < 20'000; ++i)
    ASSERT_EQ(mine.recv<std::vector<int>>(), std::vector<int>(static_cast<std::size_t>(i % 300), i));
  EXPECT_THROW(mine.recv<int>(), EOFError);
}

// One thread sends while another one receives at the same end.
TEST(Connection, SendsAndReceivesAtOnce) {
  auto [mine, theirs] = Pipe();
  Process process{echo_bytes, std::move(theirs)};
  process.start();
  const std::string text(100'000, 'y');
  std::jthread sender{[&] {
    for (int i = 0; i < 100; ++i) mine.send_bytes(text);
  }};
  for (int i = 0; i < 100; ++i) ASSERT_EQ(mine.recv_bytes().size(), text.size());
}

// A process is killed in the middle of a long message: an error for that one, not a hang and not a part of it.
TEST(Connection, HalfAMessageIsAnError) {
  for (const auto& make : {+[] { return Pipe(); }, +[] { return make_streams(); }}) {
    auto [mine, theirs] = make();
    Process process{[](Connection connection) {
                      connection.send(1);
                      connection.send_bytes(std::string(std::size_t{16} << 20, 'z'));
                    },
                    std::move(theirs)};
    process.start();
    EXPECT_EQ(mine.recv<int>(), 1);
    EXPECT_TRUE(mine.poll(patience));
    process.kill();
    process.join();
    EXPECT_EQ(errno_of([&] { mine.recv_bytes(); }), ECONNRESET);
  }
}

// The other side ends while a long message waits for room.
TEST(Connection, ASenderThatWaitsSeesTheEnd) {
  auto [mine, theirs] = Pipe();
  Process process{[](const Connection&) { ::pause(); }, std::move(theirs)};
  process.start();
  const std::jthread killer{[&, main = ::gettid()] {
    wait_for_state(main, 'S');
    process.kill();
  }};
  EXPECT_EQ(errno_of([&] { mine.send_bytes(std::string(std::size_t{16} << 20, 'z')); }), EPIPE);
}

// A message that was left half written by one process spoils the pipe for the others, and they are told.
TEST(Connection, AMessageLeftHalfWrittenIsSeenByTheNextSender) {
  auto [mine, theirs] = Pipe();
  Process process{[](Connection connection) { connection.send_bytes(std::string(std::size_t{16} << 20, 'z')); },
                  theirs.copy()};
  process.start();
  EXPECT_TRUE(mine.poll(patience));
  EXPECT_TRUE(wait_for_state(*process.pid(), 'S'));
  process.kill();
  process.join();
  EXPECT_EQ(errno_of([&] { theirs.send(1); }), EIO);
  EXPECT_EQ(errno_of([&] { mine.recv_bytes(); }), EIO);
}

// Connections and descriptors are parts of messages; the receiver's copy works when the sender's is closed.
TEST(Connection, SendsConnectionsAndDescriptors) {
  for (const auto& make : {+[] { return Pipe(); }, +[] { return make_streams(); }}) {
    auto [mine, theirs] = make();
    auto [first, second] = Pipe();
    auto [third, fourth] = make_streams();
    mine.send(std::pair{std::string("take"), std::move(second)});
    mine.send(fourth);
    fourth.close();
    const FileDescriptor file = create_memory_file("sent", 5);
    mine.send(file);
    auto [text, other] = theirs.recv<std::pair<std::string, Connection>>();
    first.send(3);
    EXPECT_EQ(other.recv<int>(), 3);
    auto stream = theirs.recv<Connection>();
    stream.send(4);
    EXPECT_EQ(third.recv<int>(), 4);
    stream.close();
    EXPECT_THROW(third.recv<int>(), EOFError);
    const auto arrived = theirs.recv<FileDescriptor>();
    EXPECT_EQ(::lseek(arrived.get(), 0, SEEK_END), 5);
    other.close();
    EXPECT_THROW(first.recv<int>(), EOFError);
  }
}

Connection answer_to(Connection connection) {
  connection.send(connection.recv<int>() + 1);
  auto [mine, theirs] = Pipe();
  mine.send("from the worker");
  return std::move(theirs);
}

// Connections are arguments and results of tasks.
TEST(Connection, GoesThroughTasks) {
  Pool pool{2};
  auto [mine, theirs] = Pipe();
  auto result = pool.apply_async(answer_to, theirs);
  theirs.close();
  mine.send(41);
  EXPECT_EQ(mine.recv<int>(), 42);
  auto from_worker = result.get();
  EXPECT_EQ(from_worker.recv<std::string>(), "from the worker");
  EXPECT_THROW(from_worker.recv<int>(), EOFError);
  EXPECT_THROW(mine.recv<int>(), EOFError);
  pool.close();
  pool.join();
}

TEST(Connection, ReceivesIntoABufferBehindAnOffset) {
  expect_receives_behind_an_offset(Pipe());
  expect_receives_behind_an_offset(make_streams());
}

// A message longer than the maximum spoils receiving for good: a duplex end can only send then, another one is closed.
TEST(Connection, AMessageBeyondTheMaximumSpoilsReceiving) {
  for (const auto& make : {+[] { return Pipe(); }, +[] { return make_streams(); }}) {
    auto [a, b] = make();
    a.send_bytes("abc");
    EXPECT_THROW(b.recv_bytes(-1), ValueError);
    EXPECT_EQ(to_text(b.recv_bytes(3)), "abc");
    a.send_bytes("abcd");
    EXPECT_THROW(b.recv_bytes(3), OSError);
    EXPECT_FALSE(b.readable());
    EXPECT_TRUE(b.writable());
    EXPECT_THROW(b.recv_bytes(), OSError);
    b.send(1);
    EXPECT_EQ(a.recv<int>(), 1);
  }
  auto [reader, writer] = Pipe(Duplex::no);
  writer.send_bytes("abcd");
  EXPECT_THROW(reader.recv_bytes(3), OSError);
  EXPECT_TRUE(reader.closed());
}

// An event loop of the user's watches the descriptor: readable exactly while something can be received.
TEST(Connection, FilenoIsReadableWhileThereIsSomething) {
  for (const auto& make : {+[] { return Pipe(); }, +[] { return make_streams(); }}) {
    auto [a, b] = make();
    b.send(0);
    EXPECT_TRUE(is_readable(a.fileno(), patience));
    EXPECT_EQ(a.recv<int>(), 0);
    for (int round = 0; round < 20; ++round) {
      EXPECT_FALSE(is_readable(a.fileno()));
      b.send(1);
      b.send(2);
      EXPECT_TRUE(is_readable(a.fileno()));
      EXPECT_TRUE(a.poll());
      EXPECT_EQ(a.recv<int>(), 1);
      EXPECT_TRUE(is_readable(a.fileno()));
      EXPECT_EQ(a.recv<int>(), 2);
    }
    EXPECT_FALSE(is_readable(a.fileno()));
    b.close();
    EXPECT_TRUE(is_readable(a.fileno()));
  }
}

// Whoever waits for a message sleeps.
TEST(Connection, WaitingTakesNoProcessorTime) {
  auto [a, b] = Pipe();
  expect_sleeps([&](auto timeout) { EXPECT_FALSE(a.poll(timeout)); });
}

}  // namespace
