#include <troupe/child.hpp>
#include <troupe/error.hpp>
#include <troupe/file_descriptor.hpp>
#include <troupe/pump.hpp>

#include "../support/forked.hpp"
#include "pump_fixture.hpp"

#include <gmock/gmock.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <future>
#include <latch>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace troupe {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;
using test::let_pump_run;
using test::patience;
using test::Pipe;
using test::rounds;

/// What a callback reports and a test waits for.
class Reports {
 public:
  void add(int value) {
    const std::lock_guard lock{mutex_};
    values_.push_back(value);
    changed_.notify_all();
  }
  std::vector<int> wait_for(std::size_t count) {
    std::unique_lock lock{mutex_};
    EXPECT_TRUE(changed_.wait_for(lock, patience, [&] { return values_.size() >= count; }));
    return values_;
  }
  std::size_t count() {
    const std::lock_guard lock{mutex_};
    return values_.size();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<int> values_;
};

TEST(Pump, RunsACallbackWheneverItsDescriptorIsReadable) {
  const Pipe pipe;
  Reports reports;
  const auto id = Pump::instance().watch(pipe.read_end.get(), [&] {
    EXPECT_TRUE(Pump::instance().is_pump_thread());
    while (pipe.read()) reports.add(1);
  });
  EXPECT_FALSE(Pump::instance().is_pump_thread());
  let_pump_run();
  EXPECT_EQ(reports.count(), 0U);
  pipe.write();
  reports.wait_for(1);
  pipe.write();
  pipe.write();
  reports.wait_for(3);
  Pump::instance().cancel(id);
  pipe.write();
  let_pump_run();
  EXPECT_EQ(reports.count(), 3U);
}

TEST(Pump, TellsAboutTheEndOfADescriptor) {
  Pipe pipe;
  Reports reports;
  std::atomic<Pump::Id> id{0};
  id = Pump::instance().watch(pipe.read_end.get(), [&] {
    while (id == 0) std::this_thread::yield();
    Pump::instance().cancel(id);  // or it would be told again and again
    reports.add(static_cast<int>(pipe.read()));
  });
  let_pump_run();
  EXPECT_EQ(reports.count(), 0U);
  pipe.write_end.reset();
  EXPECT_THAT(reports.wait_for(1), testing::ElementsAre(0));
  let_pump_run();
  EXPECT_EQ(reports.count(), 1U);
}

TEST(Pump, WatchesTheEndsOfProcesses) {
  const Child child = Child::launch({.name = "short", .method = StartMethod::fork, .closure = [] {}});
  Reports reports;
  const auto id = Pump::instance().watch(child.sentinel(), [&] { reports.add(child.poll_exitcode().value_or(-1000)); });
  EXPECT_EQ(reports.wait_for(1).front(), 0);
  Pump::instance().cancel(id);
}

TEST(Pump, RunsTimersInTheirOrder) {
  Reports reports;
  const auto now = steady_clock::now();
  for (const int i : {3, 1, 4, 2, 0}) {
    Pump::instance().call_at(now + i * 2ms, [&reports, now, i] {
      EXPECT_GE(steady_clock::now(), now + i * 2ms);
      reports.add(i);
    });
  }
  EXPECT_THAT(reports.wait_for(5), testing::ElementsAre(0, 1, 2, 3, 4));
}

TEST(Pump, RunsWhatIsDueAlreadyAtOnce) {
  Reports reports;
  for (const Deadline past : {Deadline{}, Deadline::min(), steady_clock::now() - 1h})
    Pump::instance().call_at(past, [&] { reports.add(1); });
  reports.wait_for(3);
  const auto never = Pump::instance().call_at(no_deadline, [&] { reports.add(2); });
  let_pump_run();
  EXPECT_EQ(reports.count(), 3U);
  Pump::instance().cancel(never);
}

TEST(Pump, RunsWorkInOrderAlsoWhatComesFromCallbacks) {
  Reports reports;
  std::latch all_posted{1};
  Pump::instance().run_soon([&] {
    all_posted.wait();
    Pump::instance().run_soon([&] {
      Pump::instance().call_at(Deadline{}, [&] { reports.add(4); });
      reports.add(3);
    });
    reports.add(1);
  });
  Pump::instance().run_soon([&] { reports.add(2); });
  all_posted.count_down();
  EXPECT_EQ(reports.wait_for(4), (std::vector<int>{1, 2, 3, 4}));
}

TEST(Pump, RunsNoCallbackAfterItsCancelReturned) {
  for (int round = 0; round < rounds(500); ++round) {
    const Pipe pipe;
    pipe.write();
    auto alive = std::make_unique<std::atomic<bool>>(true);
    const auto touch = [flag = alive.get()] { EXPECT_TRUE(*flag); };
    const auto watch = Pump::instance().watch(pipe.read_end.get(), touch);
    const auto timer = Pump::instance().call_at(steady_clock::now() + std::chrono::microseconds(round % 50), touch);
    if (round % 3 == 0) std::this_thread::yield();
    Pump::instance().cancel(watch);
    Pump::instance().cancel(timer);
    *alive = false;
    alive.reset();
  }
}

TEST(Pump, CancelWaitsForACallbackThatRuns) {
  std::promise<void> begun;
  std::promise<void> may_end;
  std::atomic<bool> ended{false};
  const auto timer = Pump::instance().call_at(Deadline{}, [&] {
    begun.set_value();
    may_end.get_future().wait();
    ended = true;
  });
  begun.get_future().wait();
  std::thread canceller{[&] {
    Pump::instance().cancel(timer);
    EXPECT_TRUE(ended);
  }};
  EXPECT_FALSE(ended);
  may_end.set_value();
  canceller.join();
}

TEST(Pump, CancelIgnoresWhatIsNotThere) {
  std::promise<void> ran;
  const auto timer = Pump::instance().call_at(Deadline{}, [&] { ran.set_value(); });
  ran.get_future().wait();
  auto done = std::async(std::launch::async, [&] {
    for (const Pump::Id id : {Pump::Id{0}, timer, timer, Pump::Id{1} << 60U}) Pump::instance().cancel(id);
  });
  ASSERT_EQ(done.wait_for(patience), std::future_status::ready);
}

TEST(Pump, ACallbackMayCancelItself) {
  const Pipe pipe;
  pipe.write();
  Reports reports;
  std::atomic<Pump::Id> id{0};
  auto owned = std::make_shared<int>(5);
  id = Pump::instance().watch(pipe.read_end.get(), [&, owned] {
    while (id == 0) std::this_thread::yield();
    Pump::instance().cancel(id);
    reports.add(*owned);
  });
  EXPECT_THAT(reports.wait_for(1), testing::ElementsAre(5));
  let_pump_run();
  EXPECT_EQ(owned.use_count(), 1);
}

// What a callback owns may be the last reference to a pool, whose end cancels its own watches.
TEST(Pump, CallbacksMayUseThePumpWhenTheyAreDestroyed) {
  struct LastWill {
    LastWill() = default;
    LastWill(const LastWill&) = delete;
    LastWill& operator=(const LastWill&) = delete;
    ~LastWill() {
      Pump::instance().cancel(Pump::instance().call_at(no_deadline, [] {}));
      Pump::instance().run_soon([reports = reports] { reports->add(1); });
    }
    std::shared_ptr<Reports> reports;
  };
  const auto reports = std::make_shared<Reports>();
  const auto make_will = [&] {
    auto will = std::make_shared<LastWill>();
    will->reports = reports;
    return will;
  };
  auto& pump = Pump::instance();
  auto everything = std::async(std::launch::async, [&] {
    const Pipe pipe;
    pump.cancel(pump.watch(pipe.read_end.get(), [will = make_will()] {}));
    pump.cancel(pump.call_at(no_deadline, [will = make_will()] {}));
    pump.call_at(Deadline{}, [will = make_will()] {});
    pump.run_soon([will = make_will()] {});
    std::atomic<Pump::Id> id{0};
    const Pipe readable;
    readable.write();
    id = pump.watch(readable.read_end.get(), [will = make_will(), &id, &pump] {
      while (id == 0) std::this_thread::yield();
      pump.cancel(id);
    });
    reports->wait_for(5);
  });
  ASSERT_EQ(everything.wait_for(patience), std::future_status::ready);
}

TEST(Pump, SaysWhatItCannotWatch) {
  const FileDescriptor file = create_memory_file("regular", 4096);
  try {
    Pump::instance().watch(file.get(), [] {});
    FAIL() << "no error";
  } catch (const OSError& error) {
    EXPECT_EQ(error.errno_value(), EPERM);
    EXPECT_THAT(error.what(), testing::HasSubstr("watching descriptor " + std::to_string(file.get())));
  }
  EXPECT_THROW(Pump::instance().watch(-1, [] {}), OSError);
  const Pipe pipe;
  const auto id = Pump::instance().watch(pipe.read_end.get(), [] {});
  EXPECT_THROW(Pump::instance().watch(pipe.read_end.get(), [] {}), OSError);  // one watch at a time
  Pump::instance().cancel(id);
  Pump::instance().cancel(Pump::instance().watch(pipe.read_end.get(), [] {}));
}

}  // namespace
}  // namespace troupe
