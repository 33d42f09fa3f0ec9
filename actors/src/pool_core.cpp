#include "pool_core.hpp"

#include <troupe/context.hpp>
#include <troupe/error.hpp>
#include <troupe/launch.hpp>
#include <troupe/process.hpp>
#include <troupe/runtime.hpp>

#include "supervisor.hpp"
#include "worker.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <sys/eventfd.h>
#include <unistd.h>

namespace troupe::detail {

namespace {

constexpr std::size_t page_bytes = 4096;
// Counts forks on the way from the root to this process: a pool belongs to the process that made it.
int& generation() {
  static int value = 0;
  return value;
}

std::string next_pool_name() {
  static std::atomic<unsigned> number{0};
  return "Pool-" + std::to_string(++number);
}

std::size_t checked_workers(const PoolOptions& options) {
  const int workers = options.workers.value_or(static_cast<int>(cpu_count()));
  if (workers < 1)
    throw ValueError("a pool needs at least one worker, not " + std::to_string(workers) +
                     "; leave the number out for one per processor");
  return static_cast<std::size_t>(workers);
}

sigset_t current_signal_mask() {
  sigset_t mask;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  return mask;
}

/// Gives this thread another signal mask while it lives.
class SignalMask {
 public:
  explicit SignalMask(const sigset_t& mask) { ::pthread_sigmask(SIG_SETMASK, &mask, &before_); }
  ~SignalMask() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalMask(const SignalMask&) = delete;
  SignalMask& operator=(const SignalMask&) = delete;

 private:
  sigset_t before_;
};

}  // namespace

PoolCore::PoolCore(const PoolOptions& options)
    : name_(options.name.empty() ? next_pool_name() : options.name),
      start_method_(options.start_method ? *options.start_method : get_start_method()),
      task_arena_("troupe-" + name_ + "-tasks"),
      page_file_(create_memory_file("troupe-" + name_, page_bytes)),
      page_(page_file_.get(), 0, page_bytes, Mapping::Access::read_write, "a pool's page"),
      eventfd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      signal_mask_(current_signal_mask()),
      generation_(generation()) {
  detail::at_child_start([] { ++generation(); });
  if (!eventfd_) throw OSError(errno, "making the doorbell of " + name_);
  for (std::size_t i = 0; i < checked_workers(options); ++i) slots_.push_back(std::make_unique<WorkerSlot>(i, name_));
  auto* word = &reinterpret_cast<PoolPage*>(page_.data())->bell;
  waiting_room_ = std::make_unique<WaitingRoom>(*this, Bell{word, eventfd_.get()}, word);
}

PoolCore::~PoolCore() = default;

Ref<PoolCore> PoolCore::create(const PoolOptions& options) {
  detail::require_runtime();
  auto core = Ref<PoolCore>::adopt(new PoolCore(options));
  core->start();
  return core;
}

void PoolCore::start() {
  auto supervisor = std::make_unique<Supervisor>(*this);
  std::vector<Launched> launched;
  try {
    for (const auto& slot : slots_) launched.push_back(launch(*slot));
  } catch (...) {
    for (const auto& [child, arena] : launched) child.send_signal(SIGKILL);
    for (const auto& [child, arena] : launched) child.wait(no_deadline);
    throw;
  }
  supervisor_ = ActorRef{std::move(supervisor)};
  gone_ = make_ref<AllGone>(Ref<PoolCore>::share(this));
  bell_watch_ = Pump::instance().watch(eventfd_.get(), [core = Ref<PoolCore>::share(this)] {
    std::uint64_t count = 0;
    [[maybe_unused]] const auto size = ::read(core->eventfd_.get(), &count, sizeof count);
    core->waiting_room_->serve_from_pump();
  });
  // The actor gets its workers by mail: the first of them may end while the others are being taken over.
  for (std::size_t i = 0; i < slots_.size(); ++i)
    tell(Supervisor::worker_started, static_cast<std::int64_t>(i), make_ref<WorkerStarted>(std::move(launched[i])));
}

PoolCore::Launched PoolCore::launch(const WorkerSlot& slot) {
  FileDescriptor arena_file = create_memory_file(slot.name + "-results", arena_bytes);
  auto arena = std::make_shared<ArenaView>(arena_file.get(), true);
  const LaunchSpec spec{
      .name = name_ + "-worker-" + std::to_string(slot.number + 1),
      .identity = {},
      .daemon = true,
      .method = start_method_,
      .authkey = {},
      .descriptors = {slot.file.get(), page_file_.get(), task_arena_.file(), arena_file.get(), eventfd_.get()},
      .message = std::make_shared<LaunchMessage>(worker_entry()),
      .closure = {}};
  // New processes inherit the mask of the thread that starts them, and the pump blocks everything.
  const SignalMask creator{signal_mask_};
  return {Child::launch(spec), std::move(arena)};
}

void PoolCore::require_running() const {
  if (generation_ != generation())
    throw AssertionError(name_ + " belongs to the process that made it; make a pool of your own here");
  if (state() != State::running)
    throw ValueError(name_ + " is not running: it was " + (state() == State::closed ? "closed" : "terminated"));
}

void PoolCore::submit(Ref<TaskRecord> task) {
  require_running();
  task_submitted(1);
  tell(Supervisor::submit, 0, std::move(task));
}

void PoolCore::submit_all(std::vector<Ref<TaskRecord>> tasks) {
  require_running();
  task_submitted(static_cast<std::int64_t>(tasks.size()));
  auto batch = make_ref<Batch>();
  batch->tasks = std::move(tasks);
  tell(Supervisor::submit_batch, 0, std::move(batch));
}

void PoolCore::close() {
  auto expected = State::running;
  if (state_.compare_exchange_strong(expected, State::closed)) tell(Supervisor::close);
}

void PoolCore::terminate() {
  if (state_.exchange(State::terminated) != State::terminated) tell(Supervisor::terminate);
}

bool PoolCore::join(Deadline deadline) {
  if (state() == State::running) throw ValueError(name_ + " is running: close() or terminate() it before join()");
  // The last worker's end may come while we look; then all_gone has let go of it.
  const Ref<AllGone> gone = [&] {
    const std::lock_guard lock{gone_mutex_};
    return gone_;
  }();
  return !gone || gone->wait(deadline);
}

void PoolCore::all_gone() {
  Pump::instance().cancel(bell_watch_);
  Ref<AllGone> gone;
  {
    const std::lock_guard lock{gone_mutex_};
    gone = std::move(gone_);
  }
  gone->complete_now();
}

bool PoolCore::drain() {
  if (drain_told_.load(std::memory_order_relaxed) || drain_told_.exchange(true)) return false;
  tell(Supervisor::drain);
  return true;
}

bool PoolCore::has_results() const noexcept {
  return std::ranges::any_of(slots_, [](const auto& slot) { return slot->has_results(); });
}

std::vector<pid_t> PoolCore::worker_pids() const {
  std::vector<pid_t> pids;
  for (const auto& slot : slots_)
    if (const pid_t pid = slot->pid.load(); pid != 0) pids.push_back(pid);
  return pids;
}

// --- The face to Pool's templates ---

void acquire_ref(PoolCore* core) noexcept { core->add_owner(); }
void release_ref(PoolCore* core) noexcept { core->remove_owner(); }

TaskBuilder::TaskBuilder(PoolCore& core)
    : core_(core), message_(scratch_.words(), core.task_arena()), id_(core.next_task_id()) {}

Ref<TaskRecord> TaskBuilder::finish(Ref<TaskListener> listener) {
  const auto words = message_.first_words();
  auto task = TaskRecord::create(Ref<PoolCore>::share(&core_), id_, words, message_.take_segments(), std::move(listener));
  scratch_.set_used(words.size());
  return task;
}

PoolVisit::PoolVisit(PoolCore& core) : core_(core) { core_.waiting_room().enter(); }
PoolVisit::~PoolVisit() { core_.waiting_room().leave(); }

void submit(PoolCore& core, Ref<TaskRecord> task) { core.submit(std::move(task)); }

void submit_group(PoolCore& core, TaskGroup& group) {
  if (!group.tasks.empty()) return core.submit_all(group.tasks);
  core.require_running();
  group.complete_empty();
}

void require_running(const PoolCore& core) { core.require_running(); }

std::size_t num_workers(const PoolCore& core) noexcept { return core.slots().size(); }

}  // namespace troupe::detail
