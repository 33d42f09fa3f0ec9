// The cases of CPython's TestWait under their names. What each pins down is restated in one line.

#include <troupe/context.hpp>
#include <troupe/error.hpp>
#include <troupe/listener.hpp>
#include <troupe/pipe.hpp>
#include <troupe/process.hpp>
#include <troupe/wait.hpp>

#include "support/processes.hpp"
#include "support/start_methods.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <map>
#include <string>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe;
using namespace troupe::test;

class TestWait : public EveryMethod {};

/// The slow cases, which write with pauses in the original, do so only when the reader waits.
void pause_if(bool slow) {
  if (slow && !wait_for_state(*parent_process()->pid(), 'S')) throw RuntimeError("the reader does not wait");
}

void send_ten(Connection writer, bool slow) {
  for (int i = 0; i < 10; ++i) {
    pause_if(slow);
    writer.send(std::pair{i, static_cast<int>(::getpid())});
  }
}

// Four one-way pipes: exactly what was sent is read; the end counts as ready.
void check_wait(bool slow) {
  std::vector<Connection> readers;
  std::vector<Process> processes;
  std::vector<std::pair<int, int>> expected;
  for (int i = 0; i < 4; ++i) {
    auto [reader, writer] = Pipe(Duplex::no);
    auto& process = processes.emplace_back(ProcessOptions{.daemon = true}, send_ten, std::move(writer), slow);
    process.start();
    readers.push_back(std::move(reader));
    for (int k = 0; k < 10; ++k) expected.emplace_back(k, *process.pid());
  }
  std::vector<std::pair<int, int>> messages;
  while (!readers.empty()) {
    for (Connection* ready : wait(readers)) {
      try {
        messages.push_back(ready->recv<std::pair<int, int>>());
      } catch (const EOFError&) {
        ready->close();
      }
    }
    std::erase_if(readers, [](const Connection& reader) { return reader.closed(); });
  }
  std::ranges::sort(messages);
  std::ranges::sort(expected);
  EXPECT_EQ(messages, expected);
}

TEST_P(TestWait, test_wait) { check_wait(false); }

TEST_P(TestWait, test_wait_slow) { check_wait(true); }

void send_lines(const Address& address, bool slow) {
  const Connection connection = Client(address);
  for (int i = 0; i < 10; ++i) {
    pause_if(slow);
    const std::string line = std::to_string(i) + "\n";
    if (::send(connection.fileno(), line.data(), line.size(), 0) != static_cast<ssize_t>(line.size())) std::exit(1);
  }
}

// Four raw sockets: each stream is "0" to "9", one per line.
void check_wait_socket(bool slow) {
  Listener listener{{.family = Family::af_inet}};
  std::vector<Process> processes;
  for (int i = 0; i < 4; ++i)
    processes.emplace_back(ProcessOptions{.daemon = true}, send_lines, listener.address(), slow).start();
  std::vector<FileDescriptor> sockets;
  for (int i = 0; i < 4; ++i) sockets.emplace_back(::dup(listener.accept().fileno()));
  std::map<const FileDescriptor*, std::string> texts;
  std::vector<FileDescriptor*> open;
  for (auto& socket : sockets) open.push_back(&socket);
  while (!open.empty()) {
    for (FileDescriptor* ready : wait(open)) {
      std::array<char, 32> part{};
      const ssize_t size = ::recv(ready->get(), part.data(), part.size(), 0);
      if (size <= 0) std::erase(open, ready);
      if (size > 0) texts[ready].append(part.data(), static_cast<std::size_t>(size));
    }
  }
  EXPECT_EQ(texts.size(), 4);
  for (const auto& [socket, text] : texts) EXPECT_EQ(text, "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n");
}

TEST_P(TestWait, test_wait_socket) { check_wait_socket(false); }

TEST_P(TestWait, test_wait_socket_slow) { check_wait_socket(true); }

// Both ends of an idle pipe: nothing, after the whole timeout; then exactly the one that has something.
TEST_P(TestWait, test_wait_timeout) {
  auto [a, b] = Pipe();
  const auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(wait({a, b}, 500ms).empty());
  EXPECT_GE(std::chrono::steady_clock::now() - start, 500ms);
  b.send(1);
  const auto again = std::chrono::steady_clock::now();
  const auto ready = wait({a, b}, 20s);
  EXPECT_LT(std::chrono::steady_clock::now() - again, 10s);
  ASSERT_EQ(ready.size(), 1);
  EXPECT_EQ(ready[0], a);
}

// A negative timeout only looks.
TEST_P(TestWait, test_neg_timeout) {
  auto [a, b] = Pipe();
  const auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(wait({a}, -1s).empty());
  EXPECT_LT(std::chrono::steady_clock::now() - start, 1s);
  EXPECT_TRUE(wait(std::vector<Waitable>{}, 0s).empty());
}

INSTANTIATE_TEST_SUITE_P(P, TestWait, every_start_method, name_of_method);

}  // namespace
