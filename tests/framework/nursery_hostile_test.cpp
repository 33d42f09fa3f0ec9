// What a process that has gone mad can send to the nursery: it costs that process, and nobody else notices.

#include <troupe/context.hpp>
#include <troupe/error.hpp>
#include <troupe/process.hpp>
#include <troupe/runtime.hpp>

#include "control_wire.hpp"
#include "descriptors.hpp"
#include "nursery.hpp"
#include "nursery_store.hpp"
#include "process_watch.hpp"
#include "support/nursery.hpp"
#include "support/processes.hpp"

#include <capnp/message.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using namespace troupe;
using namespace troupe::test;

using Fill = std::function<void(wire::NurseryRequest::Builder)>;

int send(int socket, std::span<const int> descriptors, const Fill& fill) {
  capnp::MallocMessageBuilder message;
  fill(message.initRoot<wire::NurseryRequest>());
  const auto words = capnp::messageToFlatArray(message);
  return send_datagram(socket, std::as_bytes(std::span{words.begin(), words.size()}), descriptors, true);
}

// In a process of ours: one more connection to the nursery.
FileDescriptor connect(bool tells_senders = true) {
  auto [mine, theirs] = make_socket_pair("testing");
  if (tells_senders) tell_senders(theirs.get());
  const int number = theirs.get();
  send(child_door_number, {&number, 1}, [](auto request) { request.setAdopt(); });
  Datagram welcome;
  if (receive_datagram(mine.get(), welcome, true) != 0 || welcome.size == 0) std::exit(2);
  return std::move(mine);
}

NurseryAnswer receive(const FileDescriptor& connection, Datagram& reply) {
  if (receive_datagram(connection.get(), reply, true) != 0) std::exit(3);
  return read_reply({reply.bytes, reply.size});
}

// What `code` returns in a process that is not the main one.
template <auto code>
std::string said_by() {
  auto [mine, theirs] = make_line();
  Process process{ProcessOptions{.start_method = StartMethod::forkserver},
                  [](const FileDescriptor& line) { send_text(line, code()); }, std::move(theirs)};
  process.start();
  std::string said = receive_text(mine);
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
  return said;
}

std::string send_garbage() {
  for (const std::size_t size : {0U, 1U, 7U, 8U, 9U, 100U, 8192U, 9000U})
    for (const std::byte value : {std::byte{0}, std::byte{0x5a}, std::byte{0xff}}) {
      const std::vector<std::byte> bytes(size, value);
      if (const int error = send_datagram(child_door_number, bytes, {}, true)) return std::to_string(error);
    }
  const FileDescriptor file{::open("/proc/self/exe", O_RDONLY | O_CLOEXEC)};  // cannot be watched
  const int number = file.get();
  return std::to_string(send(child_door_number, {&number, 1}, [](auto request) { request.setAdopt(); }));
}

std::string start_another() {
  Process inner{ProcessOptions{.start_method = StartMethod::forkserver}, [] {}};
  inner.start();
  inner.join();
  return std::to_string(inner.exitcode().value_or(-1));
}

// All processes come through the door: it stays open.
TEST(NurseryHostile, GarbageAtItsDoorHarmsNobodyElse) {
  const pid_t nursery = pid_of_starting_nursery();
  EXPECT_EQ(said_by<send_garbage>(), "0");
  EXPECT_EQ(said_by<start_another>(), "0");
  EXPECT_EQ(pid_of_starting_nursery(), nursery);
}

[[maybe_unused]] const bool role = add_role("send_garbage", [](int argc, char** argv, const std::string&) {
  const Runtime runtime{argc, argv};
  for (int i = 0; i < 10; ++i) said_by<send_garbage>();
  return 0;
});

TEST(NurseryHostile, GarbageDoesNotFillTheLog) {
  Program program{"send_garbage"};
  EXPECT_EQ(program.wait(), 0);
  const std::string errors = program.errors();
  EXPECT_EQ(std::ranges::count(errors, '\n'), 10) << errors;
  EXPECT_TRUE(errors.ends_with("; it will not say so again\n")) << errors;
}

// Asks what is answered.
int ask(const FileDescriptor& connection) {
  return send(connection.get(), {}, [](auto request) {
    request.initName().setName("there is no such name");
    request.getName().setWhat(wire::NameNote::What::OPENING);
  });
}

std::string read_no_answers() {
  const FileDescriptor connection = connect();
  for (;;) {
    const int error = ask(connection);
    if (error != 0) return error == EPIPE || error == ECONNRESET ? "dropped" : std::to_string(error);
  }
}

TEST(NurseryHostile, WhoReadsNoAnswersIsNotWaitedFor) {
  const pid_t nursery = pid_of_starting_nursery();
  EXPECT_EQ(said_by<read_no_answers>(), "dropped");
  EXPECT_EQ(pid_of_starting_nursery(), nursery);
}

std::string stay_anonymous() {
  const FileDescriptor connection = connect(false);
  send(connection.get(), {}, [](auto request) { request.setTakeHold(5); });
  Datagram reply;
  return receive_datagram(connection.get(), reply, true) == 0 && reply.size == 0 ? "dropped" : "answered";
}

// Nobody could be told of the end of one that is not known, and what it holds would stay.
TEST(NurseryHostile, WhoIsNotKnownIsDropped) { EXPECT_EQ(said_by<stay_anonymous>(), "dropped"); }

// Asks for a process that is given `status` and `num_extras` descriptors while its Launch is for `num_told`.
NurseryAnswer start_strange(const FileDescriptor& connection, int status, unsigned num_extras, unsigned num_told,
                            Datagram& reply) {
  auto [lifeline, writer] = make_pipe("testing");
  const FileDescriptor directory{::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC)};
  std::vector<int> numbers{status, lifeline.get(), directory.get()};
  numbers.insert(numbers.end(), num_extras, directory.get());
  capnp::MallocMessageBuilder launch;
  launch.initRoot<wire::Launch>().setDescriptors(num_told);
  const auto words = capnp::messageToFlatArray(launch);
  send(connection.get(), numbers, [&](auto request) {
    auto start = request.initStart();
    start.setLaunch(words.asBytes());
    start.setDescriptors(num_extras);
  });
  return receive(connection, reply);
}

std::string give_a_full_pipe() {
  const FileDescriptor connection = connect();
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return "no pipe";
  const FileDescriptor reader{ends[0]};
  const FileDescriptor writer{ends[1]};
  ::fcntl(writer.get(), F_SETFL, O_NONBLOCK);
  const std::array<char, 4096> page{};
  while (::write(writer.get(), page.data(), page.size()) > 0) {
  }
  ::fcntl(writer.get(), F_SETFL, 0);
  Datagram reply;
  if (start_strange(connection, writer.get(), 0, 0, reply).pid == 0) return "not started";
  if (!is_readable(reply.descriptors.at(0).get(), patience)) return "still runs";
  ask(connection);
  return is_readable(connection.get(), patience) ? "answered" : "no answer";
}

// Its end is told there, if it can be.
TEST(NurseryHostile, AStatusThatCannotBeWrittenIsNotWaitedFor) {
  const pid_t nursery = pid_of_starting_nursery();
  EXPECT_EQ(said_by<give_a_full_pipe>(), "answered");
  EXPECT_EQ(pid_of_starting_nursery(), nursery);
}

std::string tell_another_number() {
  const FileDescriptor connection = connect();
  auto [mine, theirs] = make_socket_pair("testing");
  Datagram reply;
  start_strange(connection, theirs.get(), 1, ~0U, reply);
  Datagram report;
  if (receive_datagram(mine.get(), report, true) != 0) return "no report";
  return std::to_string(read_exit_report({report.bytes, report.size}).exitcode);
}

// The new process would take over, and close, what is not its own.
TEST(NurseryHostile, ALaunchForOtherDescriptorsEndsTheProcess) { EXPECT_EQ(said_by<tell_another_number>(), "1"); }

// What is kept for nobody is bounded by its descriptors: without any there is nothing to keep.
TEST(NurseryHostile, ADepositOfNothingIsNotKept) {
  NurseryStore store{4};
  store.deposit(5, std::vector<FileDescriptor>{});
  std::vector<FileDescriptor> something;
  something.emplace_back(::dup(STDERR_FILENO));
  store.deposit(5, std::move(something));
  EXPECT_EQ(store.withdraw(5).size(), 1U);
}

// Items that lie in queues that lie in queues: however long the chain is.
TEST(NurseryHostile, LongChainsNeedNoStack) {
  constexpr Ticket length = 100'000;
  constexpr pid_t holder = 1;
  NurseryStore store{length};
  for (Ticket ticket = 1; ticket <= length; ++ticket) {
    store.hold(ticket, std::nullopt, holder);
    if (ticket > 1) store.attach(ticket - 1, ticket);
  }
  for (Ticket ticket = length; ticket > 0; --ticket) store.let_go(ticket, holder);  // the last makes all loose
  EXPECT_TRUE(store.has_lost(length));
  store.attach(length, 1);  // and a circle
  store.hold(1, std::nullopt, holder);  // none is loose any more
  store.let_go(1, holder);
  std::vector<FileDescriptor> something;
  something.emplace_back(::dup(STDERR_FILENO));
  store.deposit(length + 1, std::move(something));  // one too many: the oldest goes
  EXPECT_FALSE(store.has_lost(1));
}

// A number that was closed while epoll told of it may be that of a process now: what that holds must not be freed.
TEST(NurseryHostile, AnEventOfWhatHadTheNumberBeforeEndsNobody) {
  const FileDescriptor epoll{::epoll_create1(EPOLL_CLOEXEC)};
  std::vector<pid_t> ended;
  ProcessWatch watch{epoll.get(), [&](pid_t pid) { ended.push_back(pid); }};
  const pid_t child = ::fork();
  if (child == 0) {
    for (;;) ::pause();
  }
  watch.watch(child);
  for (int number = 0; number < 100; ++number) watch.serve(number);
  EXPECT_EQ(ended, std::vector<pid_t>{});
  ::kill(child, SIGKILL);
  epoll_event event{};
  ASSERT_EQ(::epoll_wait(epoll.get(), &event, 1, static_cast<int>(std::chrono::milliseconds(patience).count())), 1);
  watch.serve(event.data.fd);
  EXPECT_EQ(ended, std::vector<pid_t>{child});
  ::waitpid(child, nullptr, 0);
}

}  // namespace
