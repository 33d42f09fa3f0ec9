// All that processes share, each used by some processes that are killed, terminated and stopped at random moments.
// Usage: shared_soak [--what NAME] [--kills N] [--minutes M] [--seed N]
// Every thing that can be shared, or the one named, is soaked until so many processes were killed with it in their
// hands (10,000), for at most so many minutes in all. NAME is one of those that a run prints.

#include <troupe/file_descriptor.hpp>
#include <troupe/listener.hpp>
#include <troupe/process.hpp>
#include <troupe/queue.hpp>
#include <troupe/runtime.hpp>

#include "soak/footprint.hpp"
#include "soak/options.hpp"
#include "soak/scenes.hpp"
#include "soak/verdict.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fcntl.h>
#include <fstream>
#include <malloc.h>
#include <span>
#include <stdexcept>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using troupe::test::NamedScene;

std::vector<NamedScene> scenes_named(const std::string& what) {
  std::vector<NamedScene> scenes;
  std::string names;
  using namespace troupe::test;
  for (const auto& some : {lock_scenes(), meeting_scenes(), queue_scenes(), connection_scenes(), stream_scenes(),
                           memory_scenes()})
    for (const NamedScene& scene : some) {
      names += std::string(" ") + scene.name;
      if (what == "all" || what == scene.name) scenes.push_back(scene);
    }
  if (scenes.empty()) throw std::invalid_argument("nothing is called " + what + "; there are all" + names);
  return scenes;
}

/// The nursery's spare, memory for locks and for large items of queues, what proves keys: made once, kept to the end.
void make_what_stays() {
  troupe::Process process{[] {}};
  process.start();
  process.join();
  process.close();
  const troupe::Queue<int> queue;
  queue.put(1);
  queue.get();
  troupe::Listener listener{{.authkey = "key"}};
  const std::jthread client{[&] { troupe::Client(listener.address(), {.authkey = "key"}); }};
  listener.accept();
}

/// What the nursery writes to its standard error: every death of a maker of names is told there.
class NurseryErrors {
 public:
  NurseryErrors() { ::dup2(file_.get(), STDERR_FILENO); }
  /// From here on this process writes to its own again. Behind the Runtime.
  void give_back() { ::dup2(own_.get(), STDERR_FILENO); }
  /// Fails if there was anything else.
  void check() {
    std::ifstream lines{"/proc/self/fd/" + std::to_string(file_.get())};
    for (std::string line; std::getline(lines, line);)
      troupe::test::require(line.find("leaked shared_memory objects were removed") != std::string::npos,
                            "the nursery says: " + line);
  }

 private:
  troupe::FileDescriptor file_{::memfd_create("errors of the nursery", MFD_CLOEXEC)};
  troupe::FileDescriptor own_{::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1)};
};

void soak(std::span<char* const> arguments) {
  std::string what = "all";
  std::uint64_t seed = 1;
  double minutes = 0;
  troupe::test::SoakLimits limits;
  troupe::test::read_options(
      arguments, {{"--what", &what}, {"--kills", &limits.kills}, {"--minutes", &minutes}, {"--seed", &seed}});
  const auto scenes = scenes_named(what);
  if (minutes > 0) limits.seconds = minutes * 60 / static_cast<double>(scenes.size());
  make_what_stays();
  auto held = troupe::test::settled(troupe::test::nursery_and_spare);
  for (const NamedScene& scene : scenes)
    held = troupe::test::soak_scene(scene, limits, static_cast<unsigned>(seed), held);
}

}  // namespace

int main(int argc, char** argv) {
  // Threads that meet get an arena of malloc each, which stays: hundreds of KiB, once in a while.
  ::mallopt(M_ARENA_MAX, 1);
  // Large messages go back to the system when they are freed.
  ::mallopt(M_MMAP_THRESHOLD, 64 * 1024);
  NurseryErrors errors;
  const troupe::Runtime runtime{argc, argv};
  errors.give_back();
  try {
    soak({argv, static_cast<std::size_t>(argc)});
    errors.check();
  } catch (const std::invalid_argument& error) {
    std::fprintf(stderr, "shared_soak: %s\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    troupe::test::fail(error.what());
  }
  return 0;
}
