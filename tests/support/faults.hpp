#pragma once

// The faults that tests have workers commit.

#include <troupe/codec.hpp>
#include <troupe/error.hpp>

#include "forked.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <poll.h>
#include <span>
#include <string>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

namespace troupe::test {

enum class Fault {
  exception,
  alien_exception,  // of a type that cannot travel
  larger_than_any_message,
  exit_0,
  exit_3,
  abort,
  segfault,
  sigkill,
  sigterm,
  memory_limit,  // has more than the pool allows, and takes more until it is killed
  sigstop_sigcont,
  sigstop_sigkill,
};
inline constexpr std::array fault_names{"exception",    "alien_exception", "larger_than_any_message",
                                        "exit_0",       "exit_3",          "abort",
                                        "segfault",     "sigkill",         "sigterm",
                                        "memory_limit", "sigstop_sigcont", "sigstop_sigkill"};

/// What pools allow their workers where some are to exceed it: more than a worker has at first.
inline constexpr std::uint64_t memory_hard_limit = std::uint64_t{sanitized ? 80 : 40} << 20U;

/// For the options of a pool whose workers are to commit `fault`.
inline std::optional<std::uint64_t> hard_limit_for(Fault fault) {
  return fault == Fault::memory_limit ? std::optional{memory_hard_limit} : std::nullopt;
}

/// For codecs that commit larger_than_any_message: refused before anything is read.
inline void encode_too_large(wire::Value::Builder out) {
  static const std::byte first{};
  encode(std::span{&first, std::size_t{1} << 29U}, out);
}

/// An error of the task; the others strike the process.
inline bool is_thrown(Fault fault) { return fault <= Fault::larger_than_any_message; }
inline bool is_stop(Fault fault) { return fault >= Fault::sigstop_sigcont; }

struct Alien {};

/// Takes the limit at once, and then little by little, so that the machine has enough for many who do this.
/// May be called in handlers of signals.
[[noreturn]] inline void fill_memory() {
  const auto take = [](std::size_t bytes) {
    ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  };
  for (take(memory_hard_limit);; take(std::size_t{64} << 10U)) ::poll(nullptr, 0, 1);
}

/// A stopped process goes on from here when somebody lets it. `larger_than_any_message` is up to a codec.
inline void commit(Fault fault) {
  for (const int number : {SIGABRT, SIGSEGV, SIGTERM}) std::signal(number, SIG_DFL);  // sanitizers catch the first two
  switch (fault) {
    case Fault::exception: throw ValueError("as ordered");
    case Fault::alien_exception: throw Alien{};
    case Fault::larger_than_any_message: break;
    case Fault::exit_0: std::exit(0);
    case Fault::exit_3: std::exit(3);
    case Fault::abort: std::abort();
    case Fault::segfault: {
      void* guarded = ::mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      *static_cast<volatile char*>(guarded) = 1;
      break;
    }
    case Fault::sigkill: ::raise(SIGKILL); break;
    case Fault::sigterm: ::raise(SIGTERM); break;
    case Fault::memory_limit: fill_memory();
    case Fault::sigstop_sigcont:
    case Fault::sigstop_sigkill: ::raise(SIGSTOP); break;
  }
}

inline int exitcode_of(Fault fault) {
  switch (fault) {
    case Fault::exit_0: return 0;
    case Fault::exit_3: return 3;
    case Fault::abort: return -SIGABRT;
    case Fault::segfault: return -SIGSEGV;
    case Fault::sigterm: return -SIGTERM;
    default: return -SIGKILL;
  }
}

/// It is the one that was ordered.
inline void expect_death_by(Fault fault, const WorkerDied& death) {
  EXPECT_EQ(death.exitcode(), exitcode_of(fault));
  const std::string limit = "MiB in use, the limit is " + std::to_string(memory_hard_limit >> 20U) + " MiB";
  if (fault == Fault::memory_limit)
    EXPECT_THAT(death.record().reason, testing::HasSubstr(limit));
  else
    EXPECT_EQ(death.record().reason, "");
}

/// The class of what `action` throws; "nothing".
template <class Action>
std::string thrown_by(Action action) {
  try {
    action();
    return "nothing";
  } catch (const CodecError&) {
    return "CodecError";
  } catch (const ValueError&) {
    return "ValueError";
  } catch (const RemoteError&) {
    return "RemoteError";
  } catch (const WorkerDied&) {
    return "WorkerDied";
  } catch (const Cancelled&) {
    return "Cancelled";
  } catch (const Alien&) {
    return "Alien";
  } catch (const std::exception& error) {
    return error.what();
  }
}

/// What thrown_by gives when a task has done this to its worker and its result is asked for.
inline std::string error_of(Fault fault) {
  switch (fault) {
    case Fault::exception: return "ValueError";
    case Fault::alien_exception: return "RemoteError";
    case Fault::larger_than_any_message: return "CodecError";
    case Fault::sigstop_sigcont: return "nothing";
    default: return "WorkerDied";
  }
}

/// Memory that all processes of a test share. To be made before main, so that the nursery inherits it.
template <class T>
T& make_shared_memory() {
  return *static_cast<T*>(::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
}

/// No files of dead workers. To be called before main.
inline bool forbid_core_files() {
  const rlimit none{0, 0};
  return ::setrlimit(RLIMIT_CORE, &none) == 0;
}

}  // namespace troupe::test
