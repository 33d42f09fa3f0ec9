#pragma once

/// \file
/// Tasks that no worker was given yet.

#include <troupe/completion.hpp>

#include <functional>
#include <map>

namespace troupe::detail {

/// First in, first out; linked through the records. Thread: actor.
class TaskQueue {
 public:
  TaskQueue() = default;
  ~TaskQueue();
  TaskQueue(const TaskQueue&) = delete;
  TaskQueue& operator=(const TaskQueue&) = delete;

  bool empty() const noexcept { return first_ == nullptr; }
  void push_back(Ref<TaskRecord> task) noexcept;
  void push_front(Ref<TaskRecord> task) noexcept;
  Ref<TaskRecord> pop_front() noexcept;
  const TaskRecord& front() const noexcept { return *first_; }

 private:
  TaskRecord* first_ = nullptr;  // each link is an owner
  TaskRecord* last_ = nullptr;
};

/// A pool's queue: the highest priority first, in order within one. Tasks that have ended meanwhile, as by cancel, are
/// left out. Thread: actor.
class Backlog {
 public:
  /// Whether no task waits.
  bool empty() noexcept;
  void push_back(Ref<TaskRecord> task);
  void push_front(Ref<TaskRecord> task);
  /// Only when not empty.
  Ref<TaskRecord> pop_front() noexcept;

 private:
  using Others = std::map<int, TaskQueue, std::greater<>>;

  TaskQueue& queue_of(const TaskRecord& task);

  TaskQueue usual_;  // priority 0
  Others others_;    // none of them empty
};

}  // namespace troupe::detail
