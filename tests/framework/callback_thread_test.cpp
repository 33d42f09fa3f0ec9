#include <troupe/pump.hpp>

#include "../support/forked.hpp"
#include "../support/processes.hpp"

#include <troupe/child.hpp>
#include <troupe/error.hpp>
#include <troupe/file_descriptor.hpp>

#include <gmock/gmock.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

namespace troupe {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;
using test::patience;

/// Waits until what was posted so far has run.
void let_callbacks_run() {
  std::promise<void> done;
  CallbackThread::post([&] { done.set_value(); });
  ASSERT_EQ(done.get_future().wait_for(patience), std::future_status::ready);
}

/// Runs `body` in a process forked through troupe: how it ended and what it wrote to stderr.
std::pair<int, std::string> run_in_child(const std::function<void()>& body) {
  if (test::thread_sanitized) {
    CallbackThread::stop();
    Pump::stop();
  }
  const FileDescriptor file = create_memory_file("stderr", 0);
  const Child child = Child::launch({.name = "callback test", .method = StartMethod::fork, .closure = [&] {
                                       ::dup2(file.get(), STDERR_FILENO);
                                       body();
                                       if (testing::Test::HasFailure()) ::_exit(1);
                                     }});
  const int exitcode = child.wait(steady_clock::now() + patience).value_or(-1000);
  std::string text(4096, '\0');
  text.resize(static_cast<std::size_t>(::pread(file.get(), text.data(), text.size(), 0)));
  return {exitcode, text};
}

TEST(CallbackThread, RunsCallbacksOneByOneInOrderOnAThreadOfItsOwn) {
  std::vector<int> seen;
  std::vector<std::thread::id> threads;
  for (int i = 0; i < 1000; ++i)
    CallbackThread::post([&, i] {
      seen.push_back(i);
      threads.push_back(std::this_thread::get_id());
    });
  let_callbacks_run();
  ASSERT_EQ(seen.size(), 1000U);
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(seen[static_cast<std::size_t>(i)], i);
  for (const auto& thread : threads) ASSERT_EQ(thread, threads.front());
  EXPECT_NE(threads.front(), std::this_thread::get_id());
}

TEST(CallbackThread, KeepsTheOrderOfEveryPostingThread) {
  constexpr std::size_t num_threads = 4;
  std::vector<int> last(num_threads, -1);
  std::vector<std::thread> threads;
  for (std::size_t id = 0; id < num_threads; ++id)
    threads.emplace_back([&, id] {
      for (int i = 0; i < 2000; ++i)
        CallbackThread::post([&last, id, i] {
          EXPECT_EQ(last[id], i - 1);
          last[id] = i;
        });
    });
  for (auto& thread : threads) thread.join();
  let_callbacks_run();
  for (const int number : last) EXPECT_EQ(number, 1999);
}

TEST(CallbackThread, CallbacksMayPost) {
  std::atomic<int> depth{0};
  std::promise<void> done;
  std::function<void()> post_again = [&] {
    if (++depth < 100)
      CallbackThread::post(post_again);
    else
      done.set_value();
  };
  CallbackThread::post(post_again);
  ASSERT_EQ(done.get_future().wait_for(patience), std::future_status::ready);
  EXPECT_EQ(depth, 100);
}

TEST(CallbackThread, SurvivesExceptionsAndReportsThem) {
  const auto [exitcode, text] = run_in_child([] {
    CallbackThread::post([] { throw std::runtime_error("spilled coffee"); });
    CallbackThread::post([] { throw 5; });
    let_callbacks_run();
  });
  EXPECT_EQ(exitcode, 0);
  EXPECT_THAT(text, testing::HasSubstr("troupe: a callback threw: spilled coffee"));
  EXPECT_THAT(text, testing::HasSubstr("a callback threw something that is not an exception"));
}

TEST(CallbackThread, ASlowCallbackDelaysOnlyCallbacks) {
  std::promise<void> may_end;
  std::promise<void> next_ran;
  CallbackThread::post([&] { may_end.get_future().wait(); });
  CallbackThread::post([&] { next_ran.set_value(); });
  std::promise<void> pump_ran;
  Pump::instance().run_soon([&] { pump_ran.set_value(); });
  EXPECT_EQ(pump_ran.get_future().wait_for(patience), std::future_status::ready);
  auto next = next_ran.get_future();
  EXPECT_EQ(next.wait_for(0s), std::future_status::timeout);
  may_end.set_value();
  EXPECT_EQ(next.wait_for(patience), std::future_status::ready);
}

TEST(CallbackThread, CallbacksMayPostWhenTheyAreDestroyed) {
  struct LastWill {
    explicit LastWill(std::promise<void>& told) : done(told) {}
    LastWill(const LastWill&) = delete;
    LastWill& operator=(const LastWill&) = delete;
    ~LastWill() {
      CallbackThread::post([&told = done] { told.set_value(); });
    }
    std::promise<void>& done;
  };
  std::promise<void> done;
  CallbackThread::post([will = std::make_shared<LastWill>(done)] {});
  ASSERT_EQ(done.get_future().wait_for(patience), std::future_status::ready);
}

TEST(CallbackThread, EndsWithTheRuntimeAfterWhatIsQueued) {
  const auto [exitcode, text] = run_in_child([] {
    for (int i = 0; i < 3; ++i)
      CallbackThread::post([i] {
        if (i == 0) test::wait_for_state(::getpid(), 'S');  // until the end has come, which waits for this
        CallbackThread::post([i] { ::dprintf(STDERR_FILENO, "callback %d\n", i); });
      });
  });
  EXPECT_EQ(exitcode, 0);
  EXPECT_EQ(text, "callback 0\ncallback 1\ncallback 2\n");
}

TEST(CallbackThread, ACallbackMayEndTheProgram) {
  const auto [exitcode, text] = run_in_child([] {
    CallbackThread::post([] { std::exit(7); });
    for (;;) ::pause();
  });
  EXPECT_EQ(exitcode, 7);
  EXPECT_EQ(text, "");
}

TEST(CallbackThread, EveryProcessHasItsOwn) {
  if (test::thread_sanitized) GTEST_SKIP() << "ThreadSanitizer does not see threads of such processes";
  let_callbacks_run();
  std::promise<void> may_end;
  CallbackThread::post([&] { may_end.get_future().wait(); });  // busy while we fork
  EXPECT_EQ(run_in_child([] { let_callbacks_run(); }).first, 0);
  may_end.set_value();
  let_callbacks_run();
}

}  // namespace
}  // namespace troupe
