// What this machine can do at best, without any framework: the figures that troupe's own are held against.
// Usage: limits ROW

#include "figure.hpp"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <linux/futex.h>
#include <memory>
#include <sched.h>
#include <spawn.h>
#include <stdexcept>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>
#include <vector>

namespace {

using Word = std::atomic<std::uint32_t>;

/// Ends the program's measurement with errno's text unless `succeeded`.
void check(bool succeeded, const char* attempted) {
  if (!succeeded) throw std::system_error(errno, std::generic_category(), attempted);
}

/// Two words in memory shared with children, each in a cache line of its own.
struct Court {
  alignas(64) Word ping{0};
  alignas(64) Word pong{0};
};

/// Maps a Court; it stays until the program ends.
Court& shared_court() {
  void* memory = ::mmap(nullptr, sizeof(Court), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  check(memory != MAP_FAILED, "mmap");
  return *new (memory) Court;
}

void wait_for_end(pid_t pid) {
  int status = 0;
  check(::waitpid(pid, &status, 0) == pid, "waitpid");
}

/// The processors that this process may use.
std::vector<int> processors() {
  cpu_set_t allowed;
  check(::sched_getaffinity(0, sizeof(allowed), &allowed) == 0, "sched_getaffinity");
  std::vector<int> numbers;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &allowed)) numbers.push_back(cpu);
  }
  return numbers;
}

void stay_on(int processor) {
  cpu_set_t only;
  CPU_ZERO(&only);
  CPU_SET(processor, &only);
  check(::sched_setaffinity(0, sizeof(only), &only) == 0, "sched_setaffinity");
}

/// Seconds per round trip of a counter between this process and a child: `wait(word, value)` returns once the word
/// has the value, `set(word, value)` writes it. On two processors: when the kernel puts both on one, it measures the
/// switch between them instead of the way from one to the other.
template <class Wait, class Set>
double round_trip(std::uint32_t batch, Wait wait, Set set) {
  constexpr std::uint32_t num_batches = 11;
  const std::uint32_t last = batch * (num_batches + 1);
  Court& court = shared_court();
  const std::vector<int> available = processors();
  if (available.size() < 2) throw std::runtime_error("a round trip between processors needs two of them");
  const pid_t child = ::fork();
  check(child >= 0, "fork");
  stay_on(child == 0 ? available.front() : available.back());
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (std::uint32_t i = 1; i <= last; ++i) {
      wait(court.ping, i);
      set(court.pong, i);
    }
    ::_exit(0);
  }
  std::uint32_t count = 0;
  const double seconds = bench::median_seconds(num_batches, [&] {
    for (const std::uint32_t end = count + batch; count < end;) {
      set(court.ping, ++count);
      wait(court.pong, count);
    }
  });
  wait_for_end(child);
  return seconds / batch;
}

double spin_round_trip() {
  const auto wait = [](const Word& word, std::uint32_t value) {
    while (word.load(std::memory_order_acquire) != value) {
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
  };
  const auto set = [](Word& word, std::uint32_t value) { word.store(value, std::memory_order_release); };
  return round_trip(50'000, wait, set) * 1e6;
}

double futex_round_trip() {
  const auto wait = [](Word& word, std::uint32_t value) {
    for (std::uint32_t seen = word.load(); seen != value; seen = word.load()) {
      ::syscall(SYS_futex, &word, FUTEX_WAIT, seen, nullptr, nullptr, 0);
    }
  };
  const auto set = [](Word& word, std::uint32_t value) {
    word.store(value);
    ::syscall(SYS_futex, &word, FUTEX_WAKE, 1, nullptr, nullptr, 0);
  };
  return round_trip(1'000, wait, set) * 1e6;
}

double memcpy_speed() {
  constexpr std::size_t num_bytes = std::size_t{64} << 20U;
  const auto source = std::make_unique<std::byte[]>(num_bytes);
  const auto target = std::make_unique<std::byte[]>(num_bytes);
  std::memset(source.get(), 1, num_bytes);
  const double seconds = bench::median_seconds(11, [&] {
    std::memcpy(target.get(), source.get(), num_bytes);
    asm volatile("" : : "r"(target.get()) : "memory");
  });
  return static_cast<double>(num_bytes) / seconds / 1e9;
}

double fork_exit_wait() {
  return 1e3 * bench::median_seconds(200, [] {
           const pid_t child = ::fork();
           check(child >= 0, "fork");
           if (child == 0) ::_exit(0);
           wait_for_end(child);
         });
}

double fork_exec_wait() {
  return 1e3 * bench::median_seconds(100, [] {
           char program[] = "/bin/true";
           char* arguments[] = {program, nullptr};
           pid_t child = 0;
           const int error = ::posix_spawn(&child, program, nullptr, nullptr, arguments, environ);
           if (error != 0) throw std::system_error(error, std::generic_category(), "posix_spawn");
           wait_for_end(child);
         });
}

constexpr bench::Row rows[] = {
    {"spin_round_trip", "us", spin_round_trip}, {"futex_round_trip", "us", futex_round_trip},
    {"memcpy", "GB/s", memcpy_speed},           {"fork_exit_wait", "ms", fork_exit_wait},
    {"fork_exec_wait", "ms", fork_exec_wait},
};

}  // namespace

int main(int argc, char** argv) { return bench::run_row(rows, {argv, static_cast<std::size_t>(argc)}); }
