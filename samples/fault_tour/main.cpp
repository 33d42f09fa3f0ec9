// Shows what a pool makes of what goes wrong: crashes, hangs, retries, cancelled tasks, bounds; and what it tells.
// Run: fault_tour
// Prints a paragraph per fault, then the statistics of the pool and the deaths of its workers.

#include <troupe/error.hpp>
#include <troupe/pool.hpp>
#include <troupe/runtime.hpp>

#include "tasks.hpp"

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <iostream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

namespace {

using namespace std::chrono_literals;

/// A folder of the tour's own, removed at its end.
class Folder {
 public:
  Folder() {
    std::string name = std::filesystem::temp_directory_path() / "fault_tour-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) throw std::system_error(errno, std::generic_category(), "make " + name);
    path_ = name;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::string path(const char* name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

/// Shows the error that `call` throws.
template <class Error, class F>
void show_error(F&& call) {
  try {
    std::forward<F>(call)();
  } catch (const Error& error) {
    std::cout << error.what() << '\n';
  }
}

void crash(troupe::Pool& pool) {
  std::cout << "- a task that crashes costs its worker and itself:\n";
  show_error<troupe::WorkerDied>([&] { pool.with({.name = "careless"}).apply(read_at, 0); });
}

void timeout(troupe::Pool& pool, const Folder& folder) {
  std::cout << "- one that hangs has a timeout:\n";
  show_error<troupe::TimeoutError>(
      [&] { pool.with({.timeout = 100ms, .name = "hanging"}).apply(hang, folder.path("timeout")); });
}

void retries(troupe::Pool& pool, const Folder& folder) {
  std::cout << "- retries, after its worker died and after exceptions that were chosen:\n";
  const troupe::TaskOptions often{.retries = 5, .backoff = {.initial = 1ms}, .name = "shaky"};
  std::cout << "crashed until attempt " << pool.with(often).apply(crash_first, folder.path("crash"), 2U) << '\n';
  const troupe::TaskOptions on_error{.retries = 5,
                                     .retry_on = troupe::exceptions<std::runtime_error>(),
                                     .backoff = {.initial = 1ms},
                                     .name = "service"};
  std::cout << "refused until attempt " << pool.with(on_error).apply(refuse_first, folder.path("refuse"), 2U) << '\n';
}

void quarantine(troupe::Pool& pool, const Folder& folder) {
  std::cout << "- but what kills worker after worker is given up:\n";
  const troupe::TaskOptions very_often{.retries = 100, .backoff = {.initial = 1ms}, .name = "poison"};
  try {
    pool.with(very_often).apply(crash_first, folder.path("poison"), 1000U);
  } catch (const troupe::Quarantined& error) {
    const std::string text = error.what();  // goes on with the three deaths
    std::cout << text.substr(0, text.find(';')) << '\n';
  }
}

void cancel(troupe::Pool& pool, const Folder& folder) {
  std::cout << "- cancel takes out what waits, and by force what runs:\n";
  const std::string begun = folder.path("begun");
  const auto running = pool.with({.name = "hours"}).apply_async(hang, begun);
  const auto waiting = pool.with({.name = "waiting"}).apply_async(square, 3);
  waiting.cancel();
  show_error<troupe::Cancelled>([&] { waiting.get(); });
  while (!std::filesystem::exists(begun)) running.wait(1ms);
  std::cout << std::boolalpha << "the running one without force: " << running.cancel()
            << ", with force: " << running.cancel({.force = true}) << '\n';
  show_error<troupe::Cancelled>([&] { running.get(); });
}

void bound(const Folder& folder) {
  std::cout << "- a pool may refuse what it has no room for:\n";
  troupe::Pool narrow{{.workers = 1, .name = "narrow", .max_pending_tasks = 2, .when_full = troupe::WhenFull::fail}};
  narrow.apply_async(hang, folder.path("narrow"));
  narrow.apply_async(square, 1);
  show_error<troupe::Full>([&] { narrow.apply_async(square, 2); });
  narrow.terminate();
}

void tell(const troupe::Pool& pool) {
  const troupe::PoolStatistics all = pool.statistics();
  std::cout << "- statistics: " << all.done << " done, " << all.failed << " failed (" << all.cancelled
            << " of them cancelled), " << all.retried << " retried, " << all.deaths << " deaths\n";
  for (const troupe::DeathRecord& death : pool.deaths())
    std::cout << death.task << ", attempt " << death.attempts << ": " << troupe::describe_exitcode(death.exitcode)
              << (death.reason.empty() ? "" : "; killed by the pool") << '\n';
}

void run() {
  const Folder folder;
  troupe::Pool pool{1};
  crash(pool);
  timeout(pool, folder);
  retries(pool, folder);
  quarantine(pool, folder);
  cancel(pool, folder);
  bound(folder);
  tell(pool);
  pool.terminate();
}

}  // namespace

int main(int argc, char** argv) {
  const troupe::Runtime runtime{argc, argv};
  try {
    run();
  } catch (const std::exception& error) {
    std::cerr << "fault_tour: " << error.what() << '\n';
    return 1;
  }
}
