#pragma once

// The task that commits a fault, in the phase of its way that it is ordered to. Where code of the user runs, the codec
// of its Order or the callable commits it; where none does (in a ring, idle), the worker has been told to commit it
// when a signal comes.

#include <troupe/codec.hpp>

#include "support/faults.hpp"
#include "support/pools.hpp"

#include <array>
#include <atomic>
#include <csignal>
#include <cstddef>
#include <semaphore.h>
#include <span>
#include <thread>
#include <tuple>
#include <unistd.h>
#include <vector>

namespace troupe::test {

enum class Phase {
  arguments_encoded,
  in_ring_unstarted,
  arguments_decoded,
  running,
  result_encoded,
  result_in_ring,
  idle,
  during_close,
  during_terminate,
};
inline constexpr std::array phase_names{"arguments_encoded",
                                        "in_ring_unstarted",
                                        "arguments_decoded",
                                        "running",
                                        "result_encoded",
                                        "result_in_ring",
                                        "idle",
                                        "during_close",
                                        "during_terminate"};

// --- What all processes share, made before main and its nursery ---

inline constexpr int num_around = 20;  // good tasks before the guilty one, and as many behind it

struct Board {
  std::atomic<pid_t> guilty;                          // the process that commits the fault, or is about to
  std::array<std::atomic<int>, 2 * num_around> runs;  // of the good tasks
};
inline Board& board = make_shared_memory<Board>();
inline const bool without_core_files = forbid_core_files();

// --- The guilty task ---

inline void strike_here(Fault fault) {
  board.guilty = ::getpid();
  commit(fault);
}

inline Fault ordered_fault{};  // in a worker: what to do when the signal comes

inline void obey_at(int signal_number, Fault fault) {
  ordered_fault = fault;
  std::signal(signal_number, [](int) {
    if (!is_thrown(ordered_fault)) strike_here(ordered_fault);
  });
}

/// A thread that a task leaves behind, and that begins to fill the memory when the signal comes.
inline void leave_filler(int signal_number) {
  static sem_t signalled;
  static const int once = ::sem_init(&signalled, 0, 0);  // several such tasks may come to one worker
  static_cast<void>(once);
  std::thread([] {
    while (::sem_wait(&signalled) != 0) {
    }
    fill_memory();
  }).detach();
  std::signal(signal_number, [](int) { ::sem_post(&signalled); });
}

struct Order {
  Phase phase{};
  Fault fault{};

  /// An argument alone takes too much.
  bool is_large() const { return phase == Phase::arguments_decoded && fault == Fault::memory_limit; }
};

struct Reply {
  Order order;
};

/// The callable of guilty tasks.
inline Reply obey(Order order) {
  const int signal_number = order.phase == Phase::during_terminate ? SIGTERM : SIGUSR1;
  sigset_t only;
  sigset_t before;
  sigemptyset(&only);
  sigaddset(&only, signal_number);
  switch (order.phase) {
    case Phase::running: strike_here(order.fault); break;
    case Phase::result_in_ring:
    case Phase::idle:
      if (order.fault == Fault::memory_limit)
        leave_filler(signal_number);
      else
        obey_at(signal_number, order.fault);
      board.guilty = ::getpid();
      break;
    case Phase::in_ring_unstarted:
    case Phase::during_close:
    case Phase::during_terminate:
      ::sigprocmask(SIG_BLOCK, &only, &before);
      obey_at(signal_number, order.fault);
      board.guilty = ::getpid();
      ::sigsuspend(&before);
      ::sigprocmask(SIG_SETMASK, &before, nullptr);
      if (is_thrown(order.fault)) strike_here(order.fault);
      break;
    default: break;
  }
  return {order};
}

}  // namespace troupe::test

template <>
struct troupe::Codec<troupe::test::Order> {
  static void encode(const test::Order& order, wire::Value::Builder out) {
    if (order.phase == test::Phase::arguments_encoded) {
      test::strike_here(order.fault);
      if (order.fault == test::Fault::larger_than_any_message) return test::encode_too_large(out);
    }
    const std::vector<std::byte> load(order.is_large() ? test::memory_hard_limit : 0);
    troupe::encode(std::tuple{static_cast<int>(order.phase), static_cast<int>(order.fault), std::span{load}}, out);
  }
  static test::Order decode(wire::Value::Reader in) {
    const auto [phase, fault, load] = troupe::decode<std::tuple<int, int, std::span<const std::byte>>>(in);
    const test::Order order{static_cast<test::Phase>(phase), static_cast<test::Fault>(fault)};
    if (order.phase != test::Phase::arguments_decoded) return order;
    test::board.guilty = ::getpid();
    const std::vector<std::byte> copy(load.begin(), load.end());
    test::strike_here(order.fault);
    return order;
  }
};

template <>
struct troupe::Codec<troupe::test::Reply> {
  static void encode(const test::Reply& reply, wire::Value::Builder out) {
    if (reply.order.phase == test::Phase::result_encoded) {
      test::strike_here(reply.order.fault);
      if (reply.order.fault == test::Fault::larger_than_any_message) return test::encode_too_large(out);
    }
    troupe::encode(static_cast<int>(reply.order.fault), out);
  }
  static test::Reply decode(wire::Value::Reader in) {
    return {{{}, static_cast<test::Fault>(troupe::decode<int>(in))}};
  }
};
