#pragma once

/// \file
/// How the templates of queues, which know types, meet the queue itself, which does not.

#include <troupe/bell.hpp>
#include <troupe/codec_core.hpp>
#include <troupe/store.hpp>
#include <troupe/wire_message.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

namespace troupe::detail {

class QueueMemory;
class QueueItem;

/// An item being encoded, in this thread's scratch memory and this process's message arena. Thread: caller.
class QueueMessage {
 public:
  /// Errors: OSError.
  QueueMessage();
  ~QueueMessage();
  QueueMessage(const QueueMessage&) = delete;
  QueueMessage& operator=(const QueueMessage&) = delete;

  wire::Value::Builder value() { return writer_.initRoot<wire::Value>(); }
  MessageWriter& writer() noexcept { return writer_; }
  /// What the item names in the store, until it is in.
  WrittenHandles& handles() noexcept { return handles_; }

 private:
  WrittenHandles handles_;
  Scratch scratch_;
  MessageWriter writer_;
};

/// An item that came out of a queue. Thread: caller.
class ReceivedMessage {
 public:
  ReceivedMessage();
  ~ReceivedMessage();
  ReceivedMessage(const ReceivedMessage&) = delete;
  ReceivedMessage& operator=(const ReceivedMessage&) = delete;

  /// What it holds, in place. Only after QueueHandle::get. Errors: CodecError.
  wire::Value::Reader value();
  /// How often the item was given to somebody, this time included.
  unsigned deliveries() const noexcept;

 private:
  friend class QueueHandle;
  std::unique_ptr<QueueItem> item_;
  std::optional<MessageReader> reader_;
};

enum class QueueKind : std::uint32_t { plain = 0, joinable = 1, simple = 2, leasing = 3 };

/// What Queue, JoinableQueue and SimpleQueue are made of. Thread: any.
class QueueHandle {
 public:
  QueueHandle(std::ptrdiff_t maxsize, QueueKind kind);

  /// See QueueMemory.
  [[nodiscard]] bool put(QueueMessage& message, Deadline deadline) const;
  [[nodiscard]] bool get(ReceivedMessage& message, Deadline deadline) const;
  std::size_t size() const noexcept;
  bool is_empty() const noexcept;
  bool is_full() const noexcept;
  /// For `wait`.
  bool has_data() const;
  int begin_wait() const;
  static void end_wait(int descriptor) noexcept;
  bool poll() const { return has_data(); }
  void task_done() const;
  bool join(Deadline deadline) const;

  void close() const noexcept;
  bool is_closed() const noexcept;
  void require_open() const;
  void require_closed() const;
  [[noreturn]] static void fail_full(std::size_t size);
  [[noreturn]] static void fail_empty();

  void encode(wire::Value::Builder out) const;
  static QueueHandle decode(wire::Value::Reader in, QueueKind kind);

  friend bool operator==(const QueueHandle& a, const QueueHandle& b) noexcept { return a.memory_ == b.memory_; }

 private:
  explicit QueueHandle(std::shared_ptr<QueueMemory> memory) noexcept;

  std::shared_ptr<QueueMemory> memory_;
};

}  // namespace troupe::detail
