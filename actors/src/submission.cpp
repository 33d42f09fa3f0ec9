#include <troupe/error.hpp>
#include <troupe/submission.hpp>
#include <troupe/wire/task.capnp.h>

#include "pool_core.hpp"
#include "pool_requests.hpp"

#include <limits>
#include <utility>
#include <vector>

namespace troupe::detail {

void acquire_ref(PoolCore* core) noexcept { core->add_owner(); }
void release_ref(PoolCore* core) noexcept { core->remove_owner(); }

TaskBuilder::TaskBuilder(PoolCore& core, SharedOptions* options)
    : core_(core), options_(options), message_(scratch_.words(), core.task_arena()) {
  core.require_running();
  id_ = core.next_task_id();
}

Ref<TaskRecord> TaskBuilder::finish(Ref<TaskListener> listener) {
  const Deadline deadline = deadline_of(options_);
  if (options_ != nullptr && !options_->options.name.empty())
    message_.getRoot<wire::Task>().setName(options_->options.name);
  if (deadline != no_deadline)
    message_.getRoot<wire::Task>().setDeadline(static_cast<std::uint64_t>(deadline.time_since_epoch().count()));
  const auto words = message_.first_words();
  auto task =
      TaskRecord::create(Ref<PoolCore>::share(&core_), id_, words, message_.take_segments(), std::move(listener));
  scratch_.set_used(words.size());
  if (auto take_back = handles_.sent_for_now(); !take_back.empty()) task->set_take_back(std::move(take_back));
  if (options_ != nullptr || deadline != no_deadline) task->set_options(Ref<SharedOptions>::share(options_), deadline);
  return task;
}

PoolVisit::PoolVisit(PoolCore& core) : core_(core) { core_.waiting_room().enter(); }
PoolVisit::~PoolVisit() { core_.waiting_room().leave(); }
void PoolVisit::wait(TaskRecord& task) { core_.waiting_room().wait(task, no_deadline); }

void submit(PoolCore& core, Ref<TaskRecord> task) { core.submit(std::move(task)); }
void submit_when_room(PoolCore& core, Ref<TaskRecord> task) { core.submit_when_room(std::move(task)); }
bool try_submit(PoolCore& core, Ref<TaskRecord> task) { return core.try_submit(std::move(task)); }

void submit_group(PoolCore& core, TaskGroup& group, std::vector<Ref<TaskRecord>> tasks) {
  core.require_running();
  if (tasks.empty()) return group.complete_empty();
  group.tasks = tasks;  // from now on group and tasks own each other, until the tasks have ended
  if (!core.has_bounds()) return core.submit_all(std::move(tasks));
  try {
    for (auto& task : tasks) core.submit_when_room(std::move(task));
  } catch (...) {
    group.tasks.clear();  // those that were not submitted would own the group for ever
    throw;
  }
}

std::size_t checked_chunksize(std::size_t chunksize) {
  // A negative number arrives as a huge one.
  if (chunksize == 0 || chunksize > std::numeric_limits<std::size_t>::max() / 2)
    throw ValueError("chunksize must be at least 1; leave it out for a good one");
  return chunksize;
}

namespace {

bool cancel_all(PoolCore& core, std::vector<Ref<TaskRecord>> tasks, const CancelOptions& options) {
  auto request = make_ref<CancelRequest>(std::move(tasks), options);
  core.ask(request);
  return request->done;
}

}  // namespace

bool cancel(TaskRecord& task, const CancelOptions& options) {
  return cancel_all(task.core(), {Ref<TaskRecord>::share(&task)}, options);
}

bool cancel(TaskGroup& group, const CancelOptions& options) {
  return !group.tasks.empty() && cancel_all(group.core(), group.tasks, options);
}

void require_running(const PoolCore& core) { core.require_running(); }

std::size_t num_workers(const PoolCore& core) noexcept { return core.num_workers(); }

}  // namespace troupe::detail
