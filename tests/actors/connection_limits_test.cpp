// Connections where there are no descriptors left.

#include <troupe/connection.hpp>
#include <troupe/error.hpp>
#include <troupe/file_descriptor.hpp>
#include <troupe/listener.hpp>
#include <troupe/pipe.hpp>

#include "support/connections.hpp"
#include "support/errors.hpp"
#include "support/forked.hpp"
#include "support/limits.hpp"
#include "support/nursery.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <functional>
#include <string>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace {

using namespace troupe;
using namespace troupe::test;

using Ends = std::pair<Connection, Connection>;

Ends make_pipe() { return Pipe(); }

Ends make_streams() {
  std::array<int, 2> numbers{};
  ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, numbers.data());
  return {Connection{FileDescriptor{numbers[0]}}, Connection{FileDescriptor{numbers[1]}}};
}

FileDescriptor any_file() { return create_memory_file("any", 1); }

/// The same with so many descriptors left.
template <class Action>
int error_with(rlim_t left, Action action) {
  const LimitedFiles limit{first_free_descriptor() + left};
  return errno_of(action);
}

class AtTheLimitOfDescriptors : public testing::TestWithParam<Ends (*)()> {
 protected:
  void SetUp() override {
    if (sanitized) GTEST_SKIP() << "a sanitizer needs descriptors to look at an object that is thrown";
  }
};

// What cannot be received is an error of that message; the next one comes, and descriptors as soon as there are some.
TEST_P(AtTheLimitOfDescriptors, ReceivingFailsForThatMessageOnly) {
  auto [a, b] = GetParam()();
  auto [first, second] = Pipe();
  const auto receive_connection = [&] { b.recv<Connection>(); };
  const auto receive_file = [&] { b.recv<FileDescriptor>(); };
  const auto receive_handle = [&] { b.recv_handle(); };
  const auto send_one = [&](int kind) {
    if (kind == 0) a.send(second);
    if (kind == 1) a.send(any_file());
    if (kind == 2) a.send_handle(STDERR_FILENO);
  };
  const std::array<std::function<void()>, 3> receive{receive_connection, receive_file, receive_handle};
  for (int kind = 0; kind < 3; ++kind) {
    SCOPED_TRACE(kind);
    send_one(kind);
    EXPECT_EQ(error_with(0, receive[static_cast<std::size_t>(kind)]), EMFILE);
    a.send("next");
    EXPECT_EQ(b.recv<std::string>(), "next");
    send_one(kind);
    EXPECT_EQ(errno_of(receive[static_cast<std::size_t>(kind)]), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(P, AtTheLimitOfDescriptors, testing::Values(&make_pipe, &make_streams),
                         [](const auto& its) { return its.index == 0 ? "Pipe" : "Stream"; });

// One that has a fileno takes in descriptors before their message is received: one whose own were lost then must not
// take those of the next one for its.
TEST(ConnectionLimits, AMessageWhoseDescriptorsAreLostLeavesTheNextOneIts) {
  if (sanitized) GTEST_SKIP() << "a sanitizer needs descriptors to look at an object that is thrown";
  auto [a, b] = Pipe();
  b.fileno();
  const auto receive = [&end = b] { return end.recv<FileDescriptor>(); };
  a.send(any_file());
  EXPECT_EQ(error_with(0, [&end = b] { EXPECT_TRUE(end.poll()); }), 0);
  a.send(any_file());
  EXPECT_EQ(errno_of(receive), EMFILE);
  EXPECT_TRUE(receive());
}

// What waits behind it keeps its descriptors until there is room for them.
TEST(ConnectionLimits, ReceivingOneHandleTakesNoneOfTheNext) {
  if (sanitized) GTEST_SKIP() << "a sanitizer needs descriptors to look at an object that is thrown";
  auto [a, b] = Pipe();
  a.send_handle(STDERR_FILENO);
  a.send_handle(STDERR_FILENO);
  const auto receive = [&end = b] { end.recv_handle(); };
  EXPECT_EQ(error_with(1, receive), 0);
  EXPECT_EQ(errno_of(receive), 0);
}

// Descriptors stay on their machine. What can be sent goes on.
TEST(ConnectionLimits, NoDescriptorsGoThroughTcp) {
  Listener listener{{.family = Family::af_inet}};
  Connection client = Client(listener.address());
  Connection accepted = listener.accept();
  EXPECT_EQ(errno_of([&] { client.send_handle(STDERR_FILENO); }), EOPNOTSUPP);
  client.send("next");
  EXPECT_EQ(accepted.recv<std::string>(), "next");
}

TEST(ConnectionLimits, APipeIsMadeWhollyOrNotAtAll) {
  if (sanitized) GTEST_SKIP() << "a sanitizer needs descriptors to look at an object that is thrown";
  const std::size_t before = num_descriptors();
  int error = EMFILE;
  rlim_t left = 0;
  for (; error == EMFILE && left < 100; ++left) {
    error = error_with(left, [] { Pipe(); });
    EXPECT_EQ(num_descriptors(), before) << left;
  }
  EXPECT_EQ(error, 0);
  EXPECT_GT(left, 5U) << "its memory, and two sockets each way";
}

}  // namespace
