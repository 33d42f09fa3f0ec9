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
#include <thread>
#include <unistd.h>
#include <utility>

namespace troupe::detail {

namespace {

constexpr std::size_t page_bytes = 4096;
/// Where many tasks are under way, who submits gives the processor to others every so often: workers may lack it.
constexpr std::int64_t many_outstanding = 1024;
constexpr std::uint64_t submissions_between_yields = 256;

std::string next_pool_name() {
  static std::atomic<unsigned> number{0};
  return "Pool-" + std::to_string(++number);
}

constexpr int most_workers = 4096;

std::size_t checked_workers(int workers) {
  if (workers < 1)
    throw ValueError("a pool needs at least one worker, not " + std::to_string(workers) +
                     "; leave the number out for one per processor");
  if (workers > most_workers)
    throw ValueError("a pool has at most " + std::to_string(most_workers) + " workers, not " + std::to_string(workers));
  return static_cast<std::size_t>(workers);
}

PoolOptions complete(PoolOptions options) {
  options.workers = static_cast<int>(checked_workers(options.workers.value_or(cpu_count())));
  if (options.name.empty()) options.name = next_pool_name();
  if (!options.start_method) options.start_method = get_start_method();
  if (options.maxtasksperchild && *options.maxtasksperchild < 1)
    throw ValueError("maxtasksperchild must be at least 1, not " + std::to_string(*options.maxtasksperchild) +
                     "; leave it out for workers that stay");
  if (options.quarantine_after < 1) throw ValueError("quarantine_after must be at least 1: the deaths that it takes");
  if (options.max_pending_tasks == 0 || options.max_pending_bytes == 0)
    throw ValueError(
        "a pool that may have no pending tasks can run none: max_pending_tasks and max_pending_bytes must be "
        "at least 1");
  if (options.memory_soft_limit == 0 || options.memory_hard_limit == 0)
    throw ValueError("a worker's memory limit must be more than 0 bytes");
  return options;
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

void end(const Child& child) {
  child.send_signal(SIGKILL);
  child.wait(no_deadline);
}

// --- Pools that run when the Runtime ends ---

struct RunningPools {
  std::mutex mutex;
  std::vector<PoolCore*> pools;
  bool end_is_hooked = false;
};

// Replaced in forked processes, which have none of these; never destroyed: pools may be static objects.
RunningPools*& running_pools() {
  static auto* all = [] {
    detail::at_child_start([] { running_pools() = new RunningPools; });
    return new RunningPools;
  }();
  return all;
}
// Before main: the copy of a process in which another thread just makes it would wait for that thread for ever.
const bool made = (running_pools(), true);

// Without this process's pump nobody would notice the end of their workers any more.
void end_running_pools() {
  for (;;) {
    Ref<PoolCore> pool;
    {
      RunningPools& all = *running_pools();
      const std::lock_guard lock{all.mutex};
      if (all.pools.empty()) {
        all.end_is_hooked = false;
        return;
      }
      pool = Ref<PoolCore>::share(all.pools.back());
    }
    pool->terminate();
    if (CallbackThread::is_current()) pool->forget_callbacks();  // the one that has called std::exit never returns
    pool->join(no_deadline);
  }
}

void add_running(PoolCore& pool) {
  RunningPools& all = *running_pools();
  const std::lock_guard lock{all.mutex};
  if (!std::exchange(all.end_is_hooked, true)) detail::at_runtime_end(end_running_pools);
  all.pools.push_back(&pool);
}

void remove_running(PoolCore& pool) {
  RunningPools& all = *running_pools();
  const std::lock_guard lock{all.mutex};
  std::erase(all.pools, &pool);
}

}  // namespace

PoolCore::PoolCore(PoolOptions options)
    : options_(complete(std::move(options))),
      task_arena_("troupe-" + name() + "-tasks"),
      page_file_(create_memory_file("troupe-" + name(), page_bytes)),
      page_(page_file_.get(), 0, page_bytes, Mapping::Access::read_write, "a pool's page"),
      eventfd_(above_standard(FileDescriptor{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)})),
      signal_mask_(current_signal_mask()),
      fork_depth_(fork_depth()) {
  if (!eventfd_) throw OSError(errno, "making the doorbell of " + name());
  slots_.reserve(most_workers);
  num_workers_ = static_cast<std::size_t>(*options_.workers);
  add_slots(num_workers());
  auto* page = reinterpret_cast<PoolPage*>(page_.data());
  waiting_room_ = std::make_unique<WaitingRoom>(*this, Bell{&page->bell, eventfd_.get()}, &page->bell);
  if (options_.initializer) encode_initializer();
  page->has_initializer.store(initializer_.empty() ? 0 : 1);
}

void PoolCore::encode_initializer() {
  Scratch scratch;
  MessageWriter message{scratch.words(), task_arena_};
  options_.initializer.encode(message);
  const auto words = message.first_words();
  initializer_.assign(words.begin(), words.end());
  initializer_segments_ = message.take_segments();
}

void PoolCore::add_slots(std::size_t count) {
  for (; slots_.size() < count; num_slots_.store(slots_.size(), std::memory_order_release))
    slots_.push_back(std::make_unique<WorkerSlot>(slots_.size(), name()));
}

PoolCore::~PoolCore() = default;

Ref<PoolCore> PoolCore::create(PoolOptions options) {
  detail::require_runtime();
  auto core = Ref<PoolCore>::adopt(new PoolCore(std::move(options)));
  if (core->options().max_pending_tasks || core->options().max_pending_bytes)
    core->gate_ = std::make_unique<Gate>(*core);
  core->start();
  return core;
}

void PoolCore::start() {
  supervisor_ = ActorRef{std::make_unique<Supervisor>(*this)};
  bell_watch_ = Pump::instance().watch(eventfd_.get(), [core = Ref<PoolCore>::share(this)] {
    std::uint64_t count = 0;
    [[maybe_unused]] const auto size = ::read(core->eventfd_.get(), &count, sizeof count);
    core->waiting_room_->serve_from_pump();
  });
  std::vector<Launched> launched;
  try {
    for (const auto& slot : slots_) launched.push_back(launch(*slot));
  } catch (...) {
    for (auto& started : launched) {
      Pump::instance().cancel(started.exit_watch);
      end(started.child);
    }
    Pump::instance().cancel(bell_watch_);
    throw;
  }
  gone_ = make_ref<AllGone>(Ref<PoolCore>::share(this));
  add_running(*this);
  // The actor gets its workers by mail: the first of them may end while the others are being taken over.
  for (std::size_t i = 0; i < slots_.size(); ++i)
    tell(Supervisor::worker_started, static_cast<std::int64_t>(i), make_ref<WorkerStarted>(std::move(launched[i])));
}

PoolCore::Launched PoolCore::launch(const WorkerSlot& slot) {
  FileDescriptor arena_file = create_memory_file(slot.name + "-results", arena_bytes);
  auto arena = std::make_shared<ArenaView>(arena_file.get(), true);
  const LaunchSpec spec{
      .name = name() + "-worker-" + std::to_string(slot.number + 1),
      .identity = {},
      .daemon = options_.daemon,
      .method = *options_.start_method,
      .authkey = {},
      .descriptors = {slot.file.get(), page_file_.get(), task_arena_.file(), arena_file.get(), eventfd_.get()},
      .message = std::make_shared<LaunchMessage>(worker_entry()),
      .closure = {}};
  // New processes inherit the mask of the thread that starts them, and the pump blocks everything.
  const SignalMask creator{signal_mask_};
  Launched launched{.child = Child::launch(spec), .arena = std::move(arena), .exit_watch = 0};
  try {
    launched.exit_watch =
        Pump::instance().watch(launched.child.sentinel(),
                               [core = Ref<PoolCore>::share(this), number = static_cast<std::int64_t>(slot.number)] {
                                 core->tell(Supervisor::worker_exited, number);
                               });
  } catch (...) {
    end(launched.child);
    throw;
  }
  return launched;
}

void PoolCore::write_initializer(WorkerSlot& slot) {
  if (initializer_.empty()) return;
  slot.requests.try_write(initializer_segments_, initializer_);  // the ring is empty: there is room
  slot.requests.ring();
}

bool PoolCore::is_ours() const noexcept { return fork_depth_ == fork_depth(); }

void PoolCore::require_ours() const {
  if (!is_ours()) throw AssertionError(name() + " belongs to the process that made it; make a pool of your own here");
}

void PoolCore::require_running() const {
  require_ours();
  if (state() != State::running)
    throw ValueError(name() + " is not running: it was " + (state() == State::closed ? "closed" : "terminated"));
}

void PoolCore::submit(Ref<TaskRecord> task) {
  if (gate_)
    gate_->enter(*task);  // checks as well; one that is closed from then on ends the task
  else
    require_running();
  hand_over(std::move(task));
}

void PoolCore::submit_when_room(Ref<TaskRecord> task) {
  if (!gate_) return submit(std::move(task));
  gate_->wait_and_enter(*task);
  hand_over(std::move(task));
}

bool PoolCore::try_submit(Ref<TaskRecord> task) {
  require_running();
  if (gate_ && !gate_->try_enter(*task)) return false;
  hand_over(std::move(task));
  return true;
}

void PoolCore::hand_over(Ref<TaskRecord> task) {
  task_submitted(1);
  const bool yields = task->id() % submissions_between_yields == 0 && num_outstanding() > many_outstanding;
  tell(Supervisor::submitted, 0, std::move(task));
  if (yields) std::this_thread::yield();
}

void PoolCore::submit_all(std::vector<Ref<TaskRecord>> tasks) {
  task_submitted(static_cast<std::int64_t>(tasks.size()));
  auto batch = make_ref<Batch>();
  batch->tasks = std::move(tasks);
  tell(Supervisor::batch_submitted, 0, std::move(batch));
}

void PoolCore::resize(int workers) {
  const std::size_t wanted = checked_workers(workers);
  const std::lock_guard lock{resize_mutex_};
  require_running();
  add_slots(wanted);
  num_workers_.store(wanted);
  tell(Supervisor::resized);
}

void PoolCore::ask(const Ref<PoolRequest>& request) {
  require_ours();
  tell(Supervisor::asked, 0, request);
  request->wait();
}

void PoolCore::close() {
  require_ours();
  auto expected = State::running;
  if (state_.compare_exchange_strong(expected, State::closed)) tell(Supervisor::close);
}

void PoolCore::terminate() {
  require_ours();
  if (state_.exchange(State::terminated) != State::terminated) tell(Supervisor::terminate);
}

bool PoolCore::join(Deadline deadline) {
  require_ours();
  if (state() == State::running) throw ValueError(name() + " is running: close() or terminate() it before join()");
  // The last worker's end may come while we look; then all_gone has let go of it.
  const Ref<AllGone> gone = [&] {
    const std::lock_guard lock{gone_mutex_};
    return gone_;
  }();
  return !gone || gone->wait(deadline);
}

void PoolCore::all_gone() {
  remove_running(*this);
  Pump::instance().cancel(bell_watch_);
  Ref<AllGone> gone;
  {
    const std::lock_guard lock{gone_mutex_};
    gone = std::move(gone_);
  }
  gone->complete_now();
}

void PoolCore::callback_ended() {
  num_callbacks_.fetch_sub(1);
  tell(Supervisor::callback_ended);
}

void PoolCore::forget_callbacks() {
  forgets_callbacks_.store(true);
  tell(Supervisor::callback_ended);
}

bool PoolCore::drain() {
  if (drain_told_.load(std::memory_order_relaxed) || drain_told_.exchange(true)) return false;
  tell(Supervisor::drain);
  return true;
}

bool PoolCore::has_results() const noexcept {
  return std::ranges::any_of(slots(), [](const auto& slot) { return slot->has_results(); });
}

std::vector<pid_t> PoolCore::worker_pids() const {
  std::vector<pid_t> pids;
  for (const auto& slot : slots())
    if (const pid_t pid = slot->pid.load(); pid != 0) pids.push_back(pid);
  return pids;
}

}  // namespace troupe::detail
