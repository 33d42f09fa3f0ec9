#include <troupe/sync_slab.hpp>

#include <troupe/error.hpp>
#include <troupe/lock_cell.hpp>
#include <troupe/process.hpp>

#include "../support/processes.hpp"

#include <capnp/message.h>
#include <gtest/gtest.h>

#include <array>
#include <fcntl.h>
#include <functional>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <unistd.h>
#include <vector>

namespace troupe {
namespace {

using test::make_line;
using test::patience;
using test::receive_text;
using test::send_text;

constexpr const char* kind = "lock";

CellHandle new_cell(std::size_t num_lines = 1) { return CellHandle::make(CellKind::lock, num_lines); }

/// A handle as it is on its way in a message.
class Letter {
 public:
  explicit Letter(const CellHandle& cell) { cell.encode(message_->initRoot<wire::Value>(), kind); }
  CellHandle read() { return CellHandle::decode(message_->getRoot<wire::Value>(), kind, {CellKind::lock}); }
  wire::Value::Builder root() { return message_->getRoot<wire::Value>(); }

 private:
  std::unique_ptr<capnp::MallocMessageBuilder> message_ = std::make_unique<capnp::MallocMessageBuilder>();
};

/// Cells that can be arguments of processes.
struct Sent {
  CellHandle cell;
};

}  // namespace

template <>
struct Codec<Sent> {
  static void encode(const Sent& sent, wire::Value::Builder out) { sent.cell.encode(out, kind); }
  static Sent decode(wire::Value::Reader in) { return {CellHandle::decode(in, kind, {CellKind::lock})}; }
};

namespace {

LockState& state(const CellHandle& cell) { return cell.as<LockCell>().state; }

// The books: what is given out is counted, and is there again when the last handle is gone.
TEST(SyncSlab, GivesLinesOutAndTakesThemBack) {
  const std::size_t before = detail::num_own_lines();
  {
    const CellHandle one = new_cell();
    const CellHandle same = one;
    const CellHandle long_one = new_cell(100);
    EXPECT_EQ(detail::num_own_lines(), before + 101);
    EXPECT_TRUE(one == same);
    EXPECT_FALSE(one == long_one);
  }
  EXPECT_EQ(detail::num_own_lines(), before);
}

TEST(SyncSlab, MakesAsManySlabsAsItNeeds) {
  const std::size_t before = detail::num_own_lines();
  std::vector<CellHandle> cells;
  for (int i = 0; i < 3000; ++i) cells.push_back(new_cell());
  EXPECT_TRUE(state(cells.back()).try_take(own_pid()));
  EXPECT_FALSE(state(cells.back()).try_take(own_pid()));
  EXPECT_TRUE(state(cells.front()).try_take(own_pid()));
  cells.clear();
  EXPECT_EQ(detail::num_own_lines(), before);
  EXPECT_TRUE(state(new_cell()).try_take(own_pid())) << "a cell that was used before is not as good as new";
  EXPECT_THROW(new_cell(max_cell_lines + 1), ValueError);
  EXPECT_NO_THROW(new_cell(max_cell_lines));
}

// A lock in a message outlives the sender's handle, until the message is read.
TEST(SyncSlab, KeepsWhatIsOnItsWay) {
  const std::size_t before = detail::num_own_lines();
  std::optional<CellHandle> cell = new_cell();
  state(*cell).try_take(own_pid());
  Letter letter{*cell};
  cell.reset();
  EXPECT_EQ(detail::num_own_lines(), before + 1);
  cell = letter.read();
  EXPECT_TRUE(state(*cell).is_own());
  cell.reset();
  EXPECT_EQ(detail::num_own_lines(), before);
  EXPECT_THROW(letter.read(), OSError);
}

TEST(SyncSlab, ReadsTheSameHandleAsTheSameCell) {
  const CellHandle cell = new_cell();
  Letter letter{cell};
  EXPECT_TRUE(letter.read() == cell);
  EXPECT_TRUE(letter.read() == cell);
}

void hold_until_told(const Sent& sent, const FileDescriptor& line) {
  send_text(line, state(sent.cell).try_take(own_pid()) ? "taken" : "not free");
  receive_text(line);
  state(sent.cell).give();
}

class SyncSlabProcesses : public testing::TestWithParam<StartMethod> {};

// Another process's handle keeps a cell alive whose maker has none any more, and gives it free when it ends.
TEST_P(SyncSlabProcesses, KeepsWhatAnotherProcessUses) {
  const std::size_t before = detail::num_own_lines();
  std::optional<Sent> sent = Sent{new_cell()};
  auto [mine, theirs] = make_line();
  std::optional<Process> process;
  process.emplace(ProcessOptions{.start_method = GetParam()}, hold_until_told, *sent, std::move(theirs));
  process->start();
  EXPECT_EQ(receive_text(mine), "taken");
  EXPECT_TRUE(process->is_alive());
  sent.reset();
  EXPECT_GE(detail::num_own_lines(), before + 1);
  send_text(mine, "end");
  ASSERT_TRUE(process->join(patience));
  EXPECT_EQ(process->exitcode(), 0);
  process.reset();
  EXPECT_EQ(detail::num_own_lines(), before);
}

// The nursery gives back what a process had that was killed.
TEST_P(SyncSlabProcesses, AreRecoveredWhenOneIsKilled) {
  const Sent sent{new_cell()};
  auto [mine, theirs] = make_line();
  Process process{ProcessOptions{.start_method = GetParam()}, hold_until_told, sent, std::move(theirs)};
  process.start();
  EXPECT_EQ(receive_text(mine), "taken");
  EXPECT_FALSE(state(sent.cell).try_take(own_pid()));
  process.kill();
  EXPECT_TRUE(state(sent.cell).take(own_pid(), std::chrono::steady_clock::now() + patience));
  EXPECT_TRUE(state(sent.cell).is_abandoned());
}

INSTANTIATE_TEST_SUITE_P(P, SyncSlabProcesses,
                         testing::Values(StartMethod::forkserver, StartMethod::fork, StartMethod::spawn),
                         [](const auto& method) { return std::string(to_string(method.param)); });

void pass_on(const Sent& sent, const FileDescriptor& line) {
  Process process{hold_until_told, sent, test::copy_of(line)};
  process.start();
  process.join();
}

// A forked process has what it took along, even if its parent drops it before the process has had time to say so, and
// wants new cells at once.
TEST(SyncSlab, KeepsWhatForkedProcessesTookAlong) {
  auto [mine, theirs] = make_line();
  const std::uint32_t here = own_pid();
  for (int round = 0; round < 30; ++round) {
    {
      const CellHandle cell = new_cell();
      state(cell).try_take(own_pid());
      Process{ProcessOptions{.start_method = StartMethod::fork},
              [cell, here, &line = theirs] {
                receive_text(line);
                send_text(line, lock_word::owner(state(cell).word) == here ? "still held" : "taken away");
              }}
          .start();
    }
    std::vector<CellHandle> others;
    for (int i = 0; i < 20; ++i) {
      others.push_back(new_cell());
      ASSERT_TRUE(state(others.back()).try_take(own_pid()));
      state(others.back()).give();
    }
    send_text(mine, "look");
    ASSERT_EQ(receive_text(mine), "still held");
  }
}

// A handle can be passed on by a process that has not made the cell.
TEST(SyncSlab, PassesHandlesOn) {
  const Sent sent{new_cell()};
  auto [mine, theirs] = make_line();
  Process process{ProcessOptions{.daemon = false}, pass_on, sent, std::move(theirs)};
  process.start();
  EXPECT_EQ(receive_text(mine), "taken");
  EXPECT_FALSE(state(sent.cell).try_take(own_pid()));
  send_text(mine, "end");
  process.join();
  EXPECT_TRUE(state(sent.cell).try_take(own_pid()));
}

struct Maker {
  // Never used again over there: it ends while the other still has what it made.
  static void make_and_send(const FileDescriptor& line) {
    const CellHandle cell = new_cell();
    Letter letter{cell};
    const auto address = letter.root().getHandle().getAddress().asReader();
    std::string text;
    for (const auto part : address) text += std::to_string(part.getUint64()) + " ";
    send_text(line, text);
    receive_text(line);
  }
};

// The cell of a process that has ended stays for whoever has it.
TEST(SyncSlab, StaysWhenItsMakerHasEnded) {
  auto [mine, theirs] = make_line();
  Process process{&Maker::make_and_send, std::move(theirs)};
  process.start();
  std::istringstream text{receive_text(mine)};
  Letter letter{new_cell()};
  for (auto part : letter.root().getHandle().getAddress()) {
    std::uint64_t number = 0;
    text >> number;
    part.setUint64(number);
  }
  const CellHandle cell = letter.read();
  send_text(mine, "end");
  ASSERT_TRUE(process.join(patience));
  EXPECT_TRUE(state(cell).try_take(own_pid()));
  EXPECT_TRUE(state(cell).give());
}

// Addresses that were made up are refused.
TEST(SyncSlab, RefusesWhatIsNoHandle) {
  const CellHandle cell = new_cell();
  const auto expect_refused = [&](const std::function<void(wire::Handle::Builder)>& damage) {
    Letter letter{cell};
    damage(letter.root().getHandle());
    EXPECT_THROW(letter.read(), Error);
  };
  expect_refused([](auto handle) { handle.setKind("semaphore"); });
  expect_refused([](auto handle) { handle.initAddress(2); });
  expect_refused([](auto handle) { handle.getAddress()[0].setUint64(1234); });
  expect_refused([](auto handle) { handle.getAddress()[0].setText("x"); });
  expect_refused([](auto handle) { handle.getAddress()[1].setUint64(0); });
  expect_refused([](auto handle) { handle.getAddress()[1].setUint64(max_cell_lines + 1); });
  expect_refused([](auto handle) { handle.getAddress()[1].setUint64(~std::uint64_t{0}); });
  expect_refused([](auto handle) { handle.getAddress()[2].setUint64(0); });
  const CellHandle event = CellHandle::make(CellKind::event);
  EXPECT_THROW(Letter(event).read(), CodecError);
  EXPECT_THROW(Letter(CellHandle{}), CodecError);
  EXPECT_THROW(Letter(CellHandle::make_local(CellKind::lock)), CodecError);
}

// What is no slab is left alone by the recovery.
TEST(SyncSlab, RecoversNothingElse) {
  const FileDescriptor file = create_memory_file("something else", slab_bytes);
  recover_slab(file.get(), 1);
  recover_slab(-1, 1);
  const FileDescriptor null{::open("/dev/null", O_RDWR | O_CLOEXEC)};
  recover_slab(null.get(), 1);
  std::array<char, 8> start{};
  EXPECT_EQ(::pread(file.get(), start.data(), start.size(), 0), 8);
  EXPECT_EQ(start, (std::array<char, 8>{}));
}

}  // namespace
}  // namespace troupe
