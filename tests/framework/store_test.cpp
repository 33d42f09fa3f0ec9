// The store: descriptors that any process of the program can come to have, however those end that had them before.

#include <troupe/store.hpp>

#include <troupe/error.hpp>
#include <troupe/process.hpp>

#include "support/errors.hpp"
#include "support/nursery.hpp"
#include "support/pools.hpp"
#include "support/processes.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <string>
#include <sys/eventfd.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using namespace troupe;
using namespace troupe::test;

struct PipeEnds {
  PipeEnds() {
    std::array<int, 2> numbers{};
    EXPECT_EQ(::pipe2(numbers.data(), O_CLOEXEC), 0);
    reader.reset(numbers[0]);
    writer.reset(numbers[1]);
  }
  // Whether nobody has the writing end any more.
  bool at_end() const { return is_readable(reader.get()); }
  bool comes_to_end() const { return is_readable(reader.get(), patience); }

  FileDescriptor reader;
  FileDescriptor writer;
};

Ticket hold(const FileDescriptor& descriptor) {
  const Ticket ticket = new_ticket();
  const int number = descriptor.get();
  store::hold(ticket, {&number, 1});
  return ticket;
}

Ticket deposit(const FileDescriptor& descriptor) {
  const int number = descriptor.get();
  return store::deposit({&number, 1});
}

int error_of_withdraw(Ticket ticket) {
  return errno_of([&] { store::withdraw(ticket); });
}

class StoreEveryMethod : public testing::TestWithParam<StartMethod> {};

// What one process holds another can take, by the ticket alone.
TEST_P(StoreEveryMethod, GivesToWhoeverNamesTheTicket) {
  auto [mine, theirs] = make_line();
  const Ticket ticket = hold(theirs);
  Process process{ProcessOptions{.start_method = GetParam()},
                  [](Ticket name) { send_text(store::take_hold(name).at(0), "taken"); }, ticket};
  process.start();
  EXPECT_EQ(receive_text(mine), "taken");
  process.join();
  store::let_go(ticket);
}

// What a process made lives on in those that took it, however it ended itself.
TEST_P(StoreEveryMethod, KeepsWhatAnotherHoldsWhenTheMakerIsKilled) {
  PipeEnds pipe;
  auto [mine, theirs] = make_line();
  Process maker{ProcessOptions{.start_method = GetParam()},
                [](const FileDescriptor& line, const FileDescriptor& writer) {
                  send_text(line, std::to_string(hold(writer)));
                  receive_text(line);
                },
                std::move(theirs), std::move(pipe.writer)};
  maker.start();
  const Ticket ticket = std::stoull(receive_text(mine));
  store::take_hold(ticket);
  maker.kill();
  maker.join();
  push_out_what_is_loose();
  EXPECT_FALSE(pipe.at_end());
  store::let_go(ticket);
  push_out_what_is_loose();
  EXPECT_TRUE(pipe.comes_to_end());
}

// A holder that is killed holds no longer.
TEST_P(StoreEveryMethod, DropsWhatOnlyAKilledProcessHeld) {
  PipeEnds pipe;
  auto [mine, theirs] = make_line();
  Process holder{ProcessOptions{.start_method = GetParam()},
                 [](const FileDescriptor& line, const FileDescriptor& writer) {
                   hold(writer);
                   EXPECT_EQ(error_of_withdraw(1), ENOENT);  // answered after that
                   send_text(line, "holds");
                   receive_text(line);
                 },
                 std::move(theirs), std::move(pipe.writer)};
  holder.start();
  EXPECT_EQ(receive_text(mine), "holds");
  push_out_what_is_loose();
  EXPECT_FALSE(pipe.at_end());
  holder.kill();
  holder.join();
  // The nursery may hear of the end after it has told us of it.
  EXPECT_TRUE(comes_true([&] {
    push_out_what_is_loose();
    return pipe.at_end();
  }));
}

INSTANTIATE_TEST_SUITE_P(P, StoreEveryMethod,
                         testing::Values(StartMethod::forkserver, StartMethod::fork, StartMethod::spawn),
                         [](const auto& method) { return std::string(to_string(method.param)); });

// A forked process has what its parent has, so it holds that as well.
TEST(Store, HoldsForAForkedProcessWhatItsParentHeld) {
  PipeEnds pipe;
  const Ticket ticket = hold(pipe.writer);
  auto [mine, theirs] = make_line();
  Process process{ProcessOptions{.start_method = StartMethod::fork},
                  [](const FileDescriptor& line, int writer) {
                    ::close(writer);  // its own copy
                    send_text(line, "started");
                    receive_text(line);
                  },
                  std::move(theirs), pipe.writer.get()};
  process.start();
  pipe.writer.reset();
  EXPECT_EQ(receive_text(mine), "started");
  store::let_go(ticket);
  push_out_what_is_loose();
  EXPECT_FALSE(pipe.at_end());
  send_text(mine, "end");
  process.join();
  EXPECT_TRUE(comes_true([&] {
    push_out_what_is_loose();
    return pipe.at_end();
  }));
}

// What lies in something else stays as long as that, and goes with it.
TEST(Store, KeepsWhatSomethingCarries) {
  const PipeEnds carrier_file;
  const Ticket carrier = hold(carrier_file.writer);
  PipeEnds pipe;
  const Ticket taken = deposit(pipe.writer);
  const Ticket left = deposit(pipe.writer);
  for (const Ticket ticket : {taken, left}) store::attach(carrier, ticket);
  pipe.writer.reset();
  push_out_what_is_loose();
  EXPECT_EQ(store::withdraw(taken).size(), 1U);
  EXPECT_FALSE(pipe.at_end());
  store::let_go(carrier);
  push_out_what_is_loose();
  EXPECT_TRUE(pipe.comes_to_end());
  EXPECT_EQ(error_of_withdraw(left), ENOENT);
}

// Unknown tickets carry nothing and are not carried.
TEST(Store, AttachesOnlyWhatItKnows) {
  const PipeEnds pipe;
  const Ticket ticket = deposit(pipe.writer);
  store::attach(new_ticket(), ticket);
  store::attach(ticket, new_ticket());
  store::attach(ticket, ticket);
  EXPECT_EQ(store::withdraw(ticket).size(), 1U);
}

// Who waits for something that a process was about to do hears of its end.
TEST(Store, WritesAnEventfdWhenAHolderEnds) {
  const FileDescriptor event{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  auto [mine, theirs] = make_line();
  Process process{[](Ticket name, const FileDescriptor& line) {
                    const auto held = store::take_hold(name);
                    send_text(line, "taken");
                    receive_text(line);
                  },
                  hold(event), std::move(theirs)};
  process.start();
  EXPECT_EQ(receive_text(mine), "taken");
  EXPECT_FALSE(is_readable(event.get()));
  process.kill();
  EXPECT_TRUE(is_readable(event.get(), patience));
  process.join();
}

// What is deposited is taken once: who closes it then has closed the last copy.
TEST(Store, GivesADepositOnce) {
  PipeEnds pipe;
  const Ticket ticket = deposit(pipe.writer);
  pipe.writer.reset();
  EXPECT_FALSE(pipe.at_end());
  store::withdraw(ticket).clear();
  EXPECT_TRUE(pipe.comes_to_end());
  EXPECT_EQ(error_of_withdraw(ticket), ENOENT);
}

TEST(Store, RefusesTicketsAndCountsThatCannotBe) {
  EXPECT_EQ(error_of_withdraw(new_ticket()), ENOENT);
  EXPECT_THROW(store::take_hold(new_ticket()), OSError);
  EXPECT_NO_THROW(store::let_go(new_ticket()));
  EXPECT_THROW(store::deposit({}), ValueError);
  const PipeEnds pipe;
  EXPECT_THROW(store::hold(new_ticket(), std::vector<int>(store::max_descriptors + 1, pipe.writer.get())), ValueError);
  EXPECT_THROW(store::deposit(std::vector<int>{-1}), OSError);
}

// Several descriptors come back in their order, from several threads at once.
TEST(Store, ServesThreadsSideBySide) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([] {
      for (int round = 0; round < 50; ++round) {
        PipeEnds pipe;
        const std::vector<int> numbers{pipe.reader.get(), pipe.writer.get()};
        const auto copies = store::withdraw(store::deposit(numbers));
        ASSERT_EQ(copies.size(), 2U);
        ASSERT_EQ(::write(copies[1].get(), "x", 1), 1);
        EXPECT_TRUE(pipe.at_end());  // readable
      }
    });
  for (auto& thread : threads) thread.join();
}

// A new nursery knows what the main process holds.
TEST(Store, OutlivesTheNursery) {
  auto [mine, theirs] = make_line();
  const Ticket ticket = hold(theirs);
  Process asked{[](const FileDescriptor& line) { send_text(line, std::to_string(::getppid())); }, copy_of(theirs)};
  asked.start();
  const pid_t nursery = std::stoi(receive_text(mine));
  asked.join();
  ASSERT_EQ(::kill(nursery, SIGKILL), 0);
  ASSERT_TRUE(still_running_after({nursery}, patience).empty());
  Process process{[](Ticket name) { send_text(store::take_hold(name).at(0), "taken"); }, ticket};
  process.start();
  EXPECT_EQ(receive_text(mine), "taken");
  process.join();
  store::let_go(ticket);
}

}  // namespace
