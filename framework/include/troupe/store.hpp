#pragma once

/// \file
/// Descriptors that any process of the program can come to have: the nursery, which outlives all others, keeps copies.
/// What holds shared memory, or travels in a message, is named by a ticket there.

#include <troupe/file_descriptor.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <utility>
#include <vector>

namespace troupe {

/// Names descriptors in the store. Random, never 0: who was not told it cannot guess it.
using Ticket = std::uint64_t;
/// One that nobody has yet. Errors: OSError.
Ticket new_ticket();

/// All of these: Thread: any. Errors: AssertionError without a Runtime; OSError when the nursery cannot be reached.
namespace store {

/// Most descriptors under one ticket.
inline constexpr std::size_t max_descriptors = 16;

/// Leaves copies of `descriptors` under `ticket`. They are kept for as long as this process, one forked from it, or
/// one that takes hold, lives and does not let go; however it ends. Memory that nobody holds any more goes, unless a
/// message on its way may name it: then it stays as long as what carries that message (`attach`), or else among the
/// `max_loose` youngest of those. When a process ends that holds an eventfd, that is written: whoever waits there for
/// what the process was about to do looks for itself.
/// Shape: 1..max_descriptors, borrowed. A ticket that is known already keeps what it has. Blocks: no.
void hold(Ticket ticket, std::span<const int> descriptors);
/// Copies of what is under `ticket`, which this process holds from now on. Blocks: one round trip to the nursery, 0.1
/// ms. Errors: OSError with ENOENT when there is nothing.
std::vector<FileDescriptor> take_hold(Ticket ticket);
/// This process does not hold `ticket` any longer. Blocks: no. Nothing happens if it never did.
void let_go(Ticket ticket);
/// Grows with each let_go of this process: what it has told the store of a ticket before may not hold any more.
std::uint64_t num_let_go() noexcept;

/// Something under `carrier`, a queue for instance, holds a message that names `ticket`. Blocks: no. Nothing happens if
/// one of the two is not known.
void attach(Ticket carrier, Ticket ticket);

/// Leaves copies of `descriptors` for one who will be told the ticket: a connection in a message, for instance.
/// Shape: 1..max_descriptors, borrowed. Blocks: no.
Ticket deposit(std::span<const int> descriptors);
/// Takes what was deposited; once, so that the last copy elsewhere is the last copy. Blocks: one round trip to the
/// nursery. Errors: OSError with ENOENT when it was taken already, or left lying until there was too much that is
/// younger.
std::vector<FileDescriptor> withdraw(Ticket ticket);

/// Most descriptors that nobody holds and nothing carries; a quarter of those that the nursery may have, if that is
/// less.
inline constexpr std::size_t max_loose = 1024;

}  // namespace store

/// While it lives, notes the handles that this thread writes into a message which may not arrive, or may stay somewhere
/// for longer than the process that wrote it. Thread: caller.
class WrittenHandles {
 public:
  using TakeBack = std::function<void()>;

  WrittenHandles() noexcept : outer_(std::exchange(current_, this)) {}
  /// The message is dropped, unless it was sent: what its handles have counted is taken back.
  ~WrittenHandles();
  WrittenHandles(const WrittenHandles&) = delete;
  WrittenHandles& operator=(const WrittenHandles&) = delete;

  /// What a codec calls for each ticket that it writes. `take_back` undoes what it has counted for this message; it
  /// keeps alive what it needs. It may throw Error.
  static void note(Ticket ticket, TakeBack take_back = nullptr) {
    if (current_ != nullptr) current_->add(ticket, std::move(take_back));
  }
  const std::vector<Ticket>& tickets() const noexcept { return tickets_; }
  /// The message is on its way.
  void sent() noexcept { take_back_.clear(); }
  /// The same; what is returned is for `take_back`, should the message turn out to be read by nobody.
  [[nodiscard]] std::vector<TakeBack> sent_for_now() noexcept { return std::exchange(take_back_, {}); }
  /// Takes back what the handles of a message have counted. May ask the nursery.
  static void take_back(const std::vector<TakeBack>& all) noexcept;

 private:
  void add(Ticket ticket, TakeBack take_back);

  static inline constinit thread_local WrittenHandles* current_ = nullptr;
  std::vector<Ticket> tickets_;
  std::vector<TakeBack> take_back_;
  WrittenHandles* outer_;
};

}  // namespace troupe
