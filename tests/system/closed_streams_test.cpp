// Programs that have closed their standard streams, and may open others in their place: nothing of ours lies there.

#include <troupe/listener.hpp>
#include <troupe/pipe.hpp>
#include <troupe/pool.hpp>
#include <troupe/queue.hpp>
#include <troupe/runtime.hpp>
#include <troupe/wait.hpp>

#include "support/pools.hpp"
#include "support/processes.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <fcntl.h>
#include <unistd.h>

namespace {

using namespace std::chrono_literals;
using namespace troupe;
using namespace troupe::test;

/// Puts the null device in place of what is closed.
void reopen_streams() {
  const int null_device = ::open("/dev/null", O_RDWR);
  for (const int number : {STDIN_FILENO, STDOUT_FILENO}) ::dup2(null_device, number);
}

// Each step that fails is an exit status of its own.
const bool without_streams = add_role("without streams", [](int argc, char** argv, const std::string&) {
  const Runtime runtime{argc, argv};
  ::close(STDIN_FILENO);
  ::close(STDOUT_FILENO);
  Pool pool{2};
  auto [reader, writer] = Pipe();
  if (reader.fileno() <= STDERR_FILENO) return 1;
  const Queue<int> queue;
  if (!wait({queue}, 0s).empty()) return 2;
  const Listener listener{{.family = Family::af_unix}};
  if (listener.fileno() <= STDERR_FILENO) return 3;
  reopen_streams();
  std::atomic<int> called_back{0};
  for (int i = 0; i < 3; ++i) {  // with the workers awake, and asleep
    pool.callback([&](int value) { called_back = value; }).apply_async(square, i + 2);
    if (!comes_true([&] { return called_back == (i + 2) * (i + 2); })) return 4;
  }
  queue.put(1);
  if (wait({queue}, 20s).size() != 1 || queue.get() != 1) return 5;
  writer.send(7);
  if (wait({reader}, 20s).size() != 1 || reader.recv<int>() != 7) return 6;
  pool.terminate();
  return 0;
});

TEST(ClosedStreams, AreNotTakenByWhatPoolsPipesAndQueuesOpen) {
  Program program{"without streams"};
  EXPECT_EQ(program.wait(), 0) << program.errors();
}

}  // namespace
