#include "task_queue.hpp"

#include <utility>

namespace troupe::detail {

TaskQueue::~TaskQueue() {
  while (!empty()) pop_front();
}

void TaskQueue::push_back(Ref<TaskRecord> task) noexcept {
  TaskRecord* added = task.release();
  added->next_in_queue = nullptr;
  (last_ == nullptr ? first_ : last_->next_in_queue) = added;
  last_ = added;
}

void TaskQueue::push_front(Ref<TaskRecord> task) noexcept {
  TaskRecord* added = task.release();
  added->next_in_queue = first_;
  first_ = added;
  if (last_ == nullptr) last_ = added;
}

Ref<TaskRecord> TaskQueue::pop_front() noexcept {
  TaskRecord* taken = first_;
  first_ = taken->next_in_queue;
  if (first_ == nullptr) last_ = nullptr;
  taken->next_in_queue = nullptr;
  return Ref<TaskRecord>::adopt(taken);
}

namespace {

bool is_empty_without_ended(TaskQueue& queue) noexcept {
  while (!queue.empty() && queue.front().has_ended()) queue.pop_front();
  return queue.empty();
}

}  // namespace

bool Backlog::empty() noexcept {
  if (!is_empty_without_ended(usual_)) return false;
  while (!others_.empty() && is_empty_without_ended(others_.begin()->second)) others_.erase(others_.begin());
  return others_.empty();
}

TaskQueue& Backlog::queue_of(const TaskRecord& task) {
  const int priority = task.priority();
  return priority == 0 ? usual_ : others_[priority];
}

void Backlog::push_back(Ref<TaskRecord> task) { queue_of(*task).push_back(std::move(task)); }

void Backlog::push_front(Ref<TaskRecord> task) { queue_of(*task).push_front(std::move(task)); }

Ref<TaskRecord> Backlog::pop_front() noexcept {
  while (!others_.empty() && is_empty_without_ended(others_.begin()->second)) others_.erase(others_.begin());
  const auto first = others_.begin();
  if (first == others_.end() || (first->first < 0 && !is_empty_without_ended(usual_))) return usual_.pop_front();
  Ref<TaskRecord> task = first->second.pop_front();
  if (first->second.empty()) others_.erase(first);
  return task;
}

}  // namespace troupe::detail
