#pragma once

/// \file
/// How a process sleeps until another one has written something, and how long it looks before it sleeps.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>

namespace troupe {

/// When a wait is to end at the latest; time_point::max() means never.
using Deadline = std::chrono::steady_clock::time_point;
inline constexpr Deadline no_deadline = Deadline::max();
/// The deadline of a wait of at most `timeout`: now if that is not positive, never if it is beyond what a clock can
/// tell.
template <class Rep, class Period>
Deadline deadline_after(std::chrono::duration<Rep, Period> timeout) {
  const auto now = std::chrono::steady_clock::now();
  if (timeout <= timeout.zero()) return now;
  // Compared as floating point, because hours::max() must not overflow.
  if (std::chrono::duration<double>(timeout) >= std::chrono::duration<double>(no_deadline - now)) return no_deadline;
  return now + std::chrono::ceil<Deadline::duration>(timeout);
}
/// Whether a wait that ends at `deadline` is over.
inline bool is_over(Deadline deadline) noexcept {
  return deadline != no_deadline && std::chrono::steady_clock::now() >= deadline;
}

/// A doorbell in shared memory. The sleeper arms it, looks once more, then sleeps; whoever produces rings, which costs
/// one load unless somebody sleeps. Two kinds of sleepers share one bell: a thread that sleeps in the kernel's futex
/// queue, and an event loop that watches an eventfd.
/// Thread: any; one sleeper at a time. Robust: the ring of a process that is killed meanwhile may be lost; the next
/// ring of another one gets through, unless that of a third one ended just then. `rouse` gets through always.
class Bell {
 public:
  enum class Sleeper : std::uint32_t { none = 0, thread = 1, event_loop = 2 };
  using Word = std::atomic<std::uint32_t>;

  /// `word` lies in shared memory; `eventfd` is needed only by who rings for an event loop.
  explicit Bell(Word* word = nullptr, int eventfd = -1) noexcept : word_(word), eventfd_(eventfd) {}

  /// Announces a sleeper. What was produced before may not ring: look again after this call, before sleeping.
  void arm(Sleeper sleeper) noexcept {
    word_->store(static_cast<std::uint32_t>(sleeper), std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }
  /// Takes the announcement back.
  void disarm() noexcept { word_->store(0, std::memory_order_seq_cst); }
  /// Whether nobody is announced whom nobody has rung for yet.
  bool is_disarmed() const noexcept {
    const std::uint32_t word = word_->load(std::memory_order_relaxed);
    return word == 0 || (word & waking) != 0;
  }

  /// Sleeps until rung, until `deadline`, or for no reason. Blocks. Only after arm(Sleeper::thread), again each time.
  void sleep(Deadline deadline) noexcept;
  /// Sleeps until `found()`, at most until `deadline`; whether it is found then. Blocks. Whoever makes it true rings.
  template <class Predicate>
  bool sleep_until(Predicate found, Deadline deadline) noexcept {
    while (!found()) {
      if (is_over(deadline)) return found();
      arm(Sleeper::thread);
      if (!found()) sleep(deadline);
      disarm();
    }
    return true;
  }

  /// Wakes the sleeper if there is one. Never blocks. Everything written before is visible to who wakes up.
  void ring() noexcept {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (word_->load(std::memory_order_relaxed) != 0) wake();
  }

  /// Rings for a process that was killed. Wakes threads also if nobody is announced any more, because a ring that ends
  /// may take the mark of another one away. Never blocks.
  void rouse() noexcept;

 private:
  /// Set beside the sleeper's kind while somebody is about to wake it.
  static constexpr std::uint32_t waking = 4;

  void wake() noexcept;

  Word* word_;
  int eventfd_;
};

/// Sleeps while `*word == expected`, at most until `deadline`; may return for no reason. Blocks. Works across
/// processes.
void futex_wait(std::atomic<std::uint32_t>* word, std::uint32_t expected, Deadline deadline) noexcept;
/// From now on whoever sleeps in futex_wait calls `look` once a second; null: nobody does. Thread: any.
void sleep_in_pieces(void (*look)() noexcept) noexcept;
/// Wakes up to `count` threads that sleep on `word`, in whichever process; returns how many.
int futex_wake(std::atomic<std::uint32_t>* word, int count) noexcept;

/// Tells the processor that this thread looks again and again.
inline void pause_processor() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Looks for a condition for a short while before the thread sleeps. How long adapts to how long waits are in all, the
/// sleep included: if looking up to `longest` would have seen the end, the next look lasts that long; if not, looks get
/// shorter. Two sides that wake each other from short sleeps would otherwise do so for ever. When others want the
/// processor, the look ends at once.
/// Thread: caller.
class SpinWait {
 public:
  using Clock = std::chrono::steady_clock;
  /// Longest look. Waking a sleeping process and being woken costs 30 to 90 us, and a look has to outlast that.
  static constexpr std::chrono::nanoseconds longest = std::chrono::microseconds{200};
  static constexpr std::chrono::nanoseconds shortest = std::chrono::microseconds{3};

  /// Returns true as soon as `found()` does, false when the look has lasted long enough.
  template <class Predicate>
  bool operator()(Predicate found) {
    for (int i = 0; i < looks_before_clock; ++i) {
      if (found()) return true;
      pause_processor();
    }
    start_ = Clock::now();
    int crowds = 0;
    for (auto before = start_; before - start_ < limit_ && crowds < crowds_to_leave;) {
      for (int i = 0; i < looks_between_yields; ++i) {
        if (found()) return true;
        pause_processor();
      }
      const auto after_looks = Clock::now();
      yield();
      before = Clock::now();
      crowds = before - after_looks > crowded ? crowds + 1 : 0;
    }
    return found();
  }

  /// After a look in vain: what was waited for has come now, mostly after a sleep.
  void found_later() noexcept { limit_ = Clock::now() - start_ < longest ? longest : std::max(limit_ / 2, shortest); }

  /// How long the next look may last.
  std::chrono::nanoseconds limit() const noexcept { return limit_; }

 private:
  static constexpr int looks_before_clock = 64;
  static constexpr int looks_between_yields = 32;
  /// A yield that takes longer than this has let somebody else run; with nobody else it takes a third of it. If the
  /// next one does as well, there are more threads than processors, or the one we wait for was put on ours while
  /// another one is idle, and only going to sleep lets the kernel part us.
  static constexpr std::chrono::nanoseconds crowded = std::chrono::nanoseconds{1500};
  static constexpr int crowds_to_leave = 2;

  static void yield() noexcept;

  std::chrono::nanoseconds limit_ = longest;
  Clock::time_point start_;
};

}  // namespace troupe
