#pragma once

/// \file
/// Actors, run to completion: whoever delivers a message runs the actor, on its own thread, before it returns.
///
/// A thread hop costs 20 us and an actor's message 0.1, so there are no hops: `post` hands an idle actor to the posting
/// thread, which runs it at once; when another thread is running it already, the message is appended to the mailbox
/// and that thread goes on with it. One thread at a time, in order per sender, no threads of their own, no cost when
/// idle. Underneath is CAF; nothing of it shows here.

#include <troupe/ref.hpp>

#include <cstdint>
#include <memory>

namespace troupe {

/// What travels to an actor. `topic` is the actor's own enumeration; `object` is owned by the message until the actor
/// takes it.
struct Mail {
  std::uint32_t topic = 0;
  std::int64_t number = 0;
  Ref<Shared> object;
};

/// Behaviour of an actor: the only thing that touches its own state.
class Actor {
 public:
  virtual ~Actor() = default;
  /// Handles one message. Thread: actor. Must not block and must not call user code. An exception is a bug: it ends
  /// the process with a report, because the actor's state can no longer be trusted.
  virtual void receive(Mail& mail) = 0;
};

/// Lives where a handler runs user code: posts from there run their actors at once, as they do outside of handlers, so
/// that user code can wait for them. Thread: caller.
class UserCodeScope {
 public:
  UserCodeScope() noexcept;
  ~UserCodeScope();
  UserCodeScope(const UserCodeScope&) = delete;
  UserCodeScope& operator=(const UserCodeScope&) = delete;

 private:
  bool* running_;
  bool was_running_;
};

/// Names a running actor; the actor ends when its last ActorRef is gone. Thread: any.
class ActorRef {
 public:
  ActorRef() = default;
  /// Starts an actor. Errors: AssertionError without a Runtime.
  explicit ActorRef(std::unique_ptr<Actor> behaviour);
  ActorRef(const ActorRef& other);
  ActorRef(ActorRef&& other) noexcept;
  ActorRef& operator=(ActorRef other) noexcept;
  ~ActorRef();

  explicit operator bool() const noexcept { return cell_ != nullptr; }
  /// Unique in this process. Empty refs have 0.
  std::uint64_t id() const noexcept;
  /// Delivers `mail`. Runs the actor (and actors that it posts to) on this thread unless another thread is at it.
  /// Blocks: no, apart from running handlers. From inside a handler: the mail is handled after that handler returns.
  void post(Mail mail) const;

 private:
  void* cell_ = nullptr;  // a caf::actor_control_block with one reference held
};

}  // namespace troupe
