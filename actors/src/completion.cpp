#include <troupe/block_cache.hpp>
#include <troupe/callback.hpp>
#include <troupe/completion.hpp>
#include <troupe/error.hpp>
#include <troupe/pump.hpp>

#include "pool_core.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

namespace troupe::detail {

Completion::Completion(Ref<PoolCore> core) : core_(std::move(core)) {}

Completion::~Completion() = default;

bool Completion::wait(Deadline deadline) {
  if (ready()) return true;
  core_->require_ours();
  if ((state_.load(std::memory_order_relaxed) & callback_bit) != 0 && CallbackThread::is_current())
    throw AssertionError("a callback may not wait for a result that has a callback itself: that one runs after it");
  const WaitingRoom::Visit visit{core_->waiting_room()};
  core_->waiting_room().wait(*this, deadline);
  return ready();
}

void Completion::then(std::function<void()> next) {
  core_->require_ours();
  if ((state_.fetch_or(claimed_bit, std::memory_order_acq_rel) & claimed_bit) != 0)
    throw AssertionError("somebody waits for this result with co_await already");
  CallbackThread::start();  // the supervisor, which posts to it, must not fail
  next_ = std::make_unique<std::function<void()>>(std::move(next));
  if ((state_.fetch_or(continued_bit, std::memory_order_acq_rel) & ready_bit) != 0)
    CallbackThread::post(std::move(*next_));
}

void Completion::set_callback(std::function<void()> callback) {
  CallbackThread::start();
  callback_ = std::make_unique<std::function<void()>>(std::move(callback));
  state_.fetch_or(callback_bit, std::memory_order_relaxed);
}

void Completion::complete() {
  if (!callback_) return make_ready();
  core_->callback_begins();
  CallbackThread::post([self = Ref<Completion>::share(this)] { self->run_callback(); });
}

void Completion::run_callback() noexcept {
  if (core_->state() != PoolCore::State::terminated) detail::run_callback(*callback_, core_->name());
  callback_.reset();
  make_ready();
  core_->callback_ended();
}

void Completion::make_ready() {
  const std::uint32_t before = state_.fetch_or(ready_bit, std::memory_order_seq_cst);
  if ((before & waited_bit) != 0) core_->waiting_room().wake(*this);
  if ((before & continued_bit) != 0) CallbackThread::post(std::move(*next_));
}

// --- TaskRecord ---

namespace {

/// Words behind a record of a small task; so much fits the same block of malloc's as the message of a call with an int.
constexpr std::size_t small_capacity = 15;
using SmallRecords = BlockCache<sizeof(TaskRecord) + small_capacity * sizeof(std::uint64_t)>;

}  // namespace

Ref<TaskRecord> TaskRecord::create(Ref<PoolCore> core, std::uint64_t id, std::span<const std::uint64_t> words,
                                   std::vector<SegmentRef> segments, Ref<TaskListener> listener) {
  const std::size_t capacity = std::max(words.size(), small_capacity);
  void* memory = capacity == small_capacity ? SmallRecords::take()
                                            : ::operator new(sizeof(TaskRecord) + capacity * sizeof(std::uint64_t));
  auto task = Ref<TaskRecord>::adopt(new (memory) TaskRecord(std::move(core), id, std::move(listener), capacity));
  std::memcpy(task->data_, words.data(), words.size_bytes());
  task->num_words_ = static_cast<std::uint32_t>(words.size());
  if (!segments.empty()) task->extras().segments = std::move(segments);
  return task;
}

void TaskRecord::set_options(Ref<SharedOptions> options, Deadline deadline) {
  extras().options = std::move(options);
  extras().deadline = deadline;
}

TaskRecord::TaskRecord(Ref<PoolCore> core, std::uint64_t id, Ref<TaskListener> listener, std::size_t capacity)
    : Completion(std::move(core)),
      id_(id),
      listener_(std::move(listener)),
      data_(reinterpret_cast<std::uint64_t*>(this + 1)),
      capacity_(static_cast<std::uint32_t>(capacity)) {}

TaskRecord::~TaskRecord() {
  release_segments();
  if (!ended_) take_back_handles();  // it was never submitted
}

void TaskRecord::destroy() const noexcept {
  auto* self = const_cast<TaskRecord*>(this);
  const bool is_small = capacity_ == small_capacity;
  self->~TaskRecord();
  if (is_small)
    SmallRecords::give(self);
  else
    ::operator delete(self);
}

TaskRecord::Extras& TaskRecord::extras() {
  if (!extras_) extras_ = std::make_unique<Extras>();
  return *extras_;
}

std::size_t TaskRecord::message_bytes() const noexcept {
  std::size_t words = num_words_;
  for (const auto& segment : segments()) words += segment.words;
  return words * sizeof(std::uint64_t);
}

std::span<const SegmentRef> TaskRecord::segments() const noexcept {
  if (!extras_) return {};
  return extras_->segments;
}

void TaskRecord::release_segments() noexcept {
  if (!extras_ || !core().is_ours()) return;  // a copy of the process must not give back what the original reads
  for (const auto& segment : extras_->segments) {
    if (extras_->arena)
      extras_->arena->release(segment.ticket);
    else
      core().task_arena().release(segment.ticket);
  }
  extras_->segments.clear();
}

void TaskRecord::take_back_handles() noexcept {
  if (!extras_ || attempts > 0 || !core().is_ours()) return;
  WrittenHandles::take_back(std::exchange(extras_->take_back, {}));
}

void TaskRecord::finish(std::span<const std::uint64_t> result, std::span<const SegmentRef> result_segments,
                        std::shared_ptr<ArenaView> arena, bool is_failure) {
  release_segments();
  failed_ = is_failure;
  if (result.size() > capacity_) {
    large_ = std::make_unique_for_overwrite<std::uint64_t[]>(result.size());
    data_ = large_.get();
  }
  std::memcpy(data_, result.data(), result.size_bytes());
  num_words_ = static_cast<std::uint32_t>(result.size());
  if (!result_segments.empty()) {
    extras().segments.assign(result_segments.begin(), result_segments.end());
    extras().arena = std::move(arena);
  }
  ended();
}

void TaskRecord::fail(std::exception_ptr error) {
  release_segments();
  extras().error = std::move(error);
  failed_ = true;
  ended();
}

void TaskRecord::ended() {
  ended_ = true;
  if (extras_) extras_->take_back.clear();
  core().task_ended(extras_ ? extras_->counted_bytes : 0);
  const auto listener = std::move(listener_);
  complete();
  if (listener) listener->task_ended(*this);
}

std::exception_ptr TaskRecord::error() const { return extras_ ? extras_->error : nullptr; }

MessageReader TaskRecord::open() const { return {words(), segments(), extras_ ? extras_->arena.get() : nullptr}; }

// --- TaskGroup, Arrivals ---

TaskGroup::TaskGroup(Ref<PoolCore> core, std::size_t num_tasks) : TaskListener(std::move(core)), left_(num_tasks) {}

void TaskGroup::task_ended(TaskRecord& task) {
  if (first_failure_ == nullptr && task.has_failed()) first_failure_ = &task;
  const std::size_t left = left_.load(std::memory_order_relaxed) - 1;
  left_.store(left, std::memory_order_relaxed);
  if (left == 0) complete();
}

void Arrivals::task_ended(TaskRecord& task) {
  const std::lock_guard lock{mutex_};
  tasks_.push_back(Ref<TaskRecord>::share(&task));
  complete();
}

Ref<TaskRecord> Arrivals::try_take() {
  const std::lock_guard lock{mutex_};
  Ref<TaskRecord> task;
  if (!tasks_.empty()) {
    task = std::move(tasks_.front());
    tasks_.pop_front();
  }
  if (tasks_.empty()) rearm();
  return task;
}

}  // namespace troupe::detail
