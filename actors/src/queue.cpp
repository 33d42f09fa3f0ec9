#include <troupe/error.hpp>
#include <troupe/file_descriptor.hpp>
#include <troupe/queue_message.hpp>

#include "message_arena.hpp"
#include "queue_memory.hpp"

#include <cerrno>
#include <string>
#include <utility>
#include <vector>

namespace troupe::detail {

namespace {

constexpr const char* kinds[] = {"queue", "joinable queue", "simple queue", "joinable queue with leases"};

/// Large parts of an item; given back unless the queue has them.
struct OutgoingSegments {
  ~OutgoingSegments() {
    if (given) return;
    for (const SegmentRef& segment : all) MessageArena::instance().arena.release(segment.ticket);
  }
  std::vector<SegmentRef> all;
  bool given = false;
};

const char* name_of(QueueKind kind) { return kinds[static_cast<std::size_t>(kind)]; }

}  // namespace

QueueMessage::QueueMessage() : writer_(scratch_.words(), MessageArena::instance().arena) {}

QueueMessage::~QueueMessage() { scratch_.set_used(writer_.first_words().size()); }

ReceivedMessage::ReceivedMessage() = default;
ReceivedMessage::~ReceivedMessage() = default;

wire::Value::Reader ReceivedMessage::value() {
  reader_.emplace(item_->words, item_->segments, item_->arena.get());
  return guard_reading([&] { return reader_->root<wire::Value>(); });
}

unsigned ReceivedMessage::deliveries() const noexcept { return item_->deliveries; }

QueueHandle::QueueHandle(std::ptrdiff_t maxsize, QueueKind kind)
    : memory_(QueueMemory::make(maxsize > 0 ? static_cast<std::uint64_t>(maxsize) : 0, kind)) {}

QueueHandle::QueueHandle(std::shared_ptr<QueueMemory> memory) noexcept : memory_(std::move(memory)) {}

bool QueueHandle::put(QueueMessage& message, Deadline deadline) const {
  const auto words = message.writer().first_words();
  OutgoingSegments segments{message.writer().take_segments()};
  if (!segments.all.empty()) {
    MessageArena::instance().share();
    memory_->keep(MessageArena::instance().ticket);
  }
  for (const Ticket ticket : message.handles().tickets()) memory_->keep(ticket);
  segments.given = memory_->put(words, segments.all, deadline);
  if (segments.given) message.handles().sent();
  return segments.given;
}

bool QueueHandle::get(ReceivedMessage& message, Deadline deadline) const {
  message.item_ = std::make_unique<QueueItem>();
  return memory_->get(*message.item_, deadline);
}

std::size_t QueueHandle::size() const noexcept { return memory_->size(); }
bool QueueHandle::is_empty() const noexcept { return memory_->is_empty(); }
bool QueueHandle::has_data() const { return memory_->is_ready(); }
int QueueHandle::begin_wait() const { return memory_->watch().release(); }
void QueueHandle::end_wait(int descriptor) noexcept { FileDescriptor{descriptor}.reset(); }
bool QueueHandle::is_full() const noexcept { return memory_->is_full(); }

void QueueHandle::task_done() const {
  if (memory_->task_done()) return;
  if (memory_->kind() == QueueKind::leasing) throw ValueError("task_done() was called by a process that has no item");
  throw ValueError("task_done() was called more often than there were items put");
}

bool QueueHandle::join(Deadline deadline) const { return memory_->wait_done(deadline); }

void QueueHandle::close() const noexcept { memory_->is_closed = true; }
bool QueueHandle::is_closed() const noexcept { return memory_->is_closed; }

void QueueHandle::require_open() const {
  if (!memory_->is_closed) return;
  const std::string text = std::string("the ") + name_of(memory_->kind()) + " is closed";
  if (memory_->kind() == QueueKind::simple) throw OSError(EBADF, text);
  throw ValueError(text);
}

void QueueHandle::require_closed() const {
  if (!memory_->is_closed) throw AssertionError("join_thread() waits for a closed queue: call close() first");
}

void QueueHandle::fail_full(std::size_t size) {
  throw Full("the queue was full, with " + std::to_string(size) + " items");
}
void QueueHandle::fail_empty() { throw Empty("the queue was empty"); }

void QueueHandle::encode(wire::Value::Builder out) const {
  memory_->cell().encode(out, name_of(memory_->kind()));
  WrittenHandles::note(memory_->ticket());
}

QueueHandle QueueHandle::decode(wire::Value::Reader in, QueueKind kind) {
  const QueueKind found = in.isHandle() && in.getHandle().getKind() == name_of(QueueKind::leasing) &&
                                  kind == QueueKind::joinable
                              ? QueueKind::leasing
                              : kind;
  return QueueHandle{QueueMemory::open(CellHandle::decode(in, name_of(found), {CellKind::queue}))};
}

}  // namespace troupe::detail
