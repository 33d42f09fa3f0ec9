// What a worker process does:
//
//   wait for a frame ─► queued→running by compare-and-swap ─► thunk: decode, call, encode ─► result ring ─► done, pop,
//   ring
//                        └ revoked: skip

#include "worker.hpp"

#include <troupe/actor.hpp>
#include <troupe/dynamic.hpp>
#include <troupe/error.hpp>
#include <troupe/launch.hpp>
#include <troupe/runtime.hpp>
#include <troupe/task_call.hpp>
#include <troupe/this_task.hpp>
#include <troupe/thread_task.hpp>

#include "worker_slot.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <unistd.h>
#include <utility>

namespace troupe::detail {

namespace {

using Clock = std::chrono::steady_clock;

struct Channel {
  explicit Channel(std::vector<FileDescriptor>& descriptors)
      : slot(descriptors.at(0).get()),
        page(descriptors.at(1).get(), 0, slot_control_bytes, Mapping::Access::read_write, "a pool's page"),
        task_arena(descriptors.at(2).get(), false),
        result_arena(std::move(descriptors.at(3))),
        eventfd(std::move(descriptors.at(4))),
        requests(&slot.shared().requests, slot.request_data.data()),
        results(&slot.shared().results, slot.result_data.data()),
        bell(&reinterpret_cast<PoolPage*>(page.data())->bell, eventfd.get()) {}

  bool has_initializer() const { return reinterpret_cast<PoolPage*>(page.data())->has_initializer.load() != 0; }

  SlotMemory slot;
  Mapping page;
  ArenaView task_arena;
  Arena result_arena;
  FileDescriptor eventfd;
  RingReader requests;
  RingWriter results;
  Bell bell;
};

/// What this process runs. Kept when it has ended, until the next.
struct Running {
  std::atomic<const FrameHeader*> frame{nullptr};
  std::atomic<std::uint64_t> id{0};           // 0: nothing
  std::atomic<std::uint64_t> deadline_ns{0};  // steady clock; 0: none

  void begin(const FrameHeader* its_frame, std::uint64_t its_id, std::uint64_t its_deadline) noexcept {
    frame.store(its_frame, std::memory_order_relaxed);
    deadline_ns.store(its_deadline, std::memory_order_relaxed);
    id.store(its_id, std::memory_order_release);
  }
  void end() noexcept {
    id.store(0, std::memory_order_relaxed);
    deadline_ns.store(0, std::memory_order_relaxed);
  }
};
Running running;

/// A result that is being written. Made while no task waits, so that making it costs none of them time.
class Answer {
 public:
  /// `memory` must be zero, and is again when this ends.
  Answer(std::span<std::uint64_t> memory, Arena& arena)
      : memory_(memory), message_(memory, arena), result_(message_.initRoot<wire::Result>()) {}
  ~Answer() noexcept { std::memset(memory_.data(), 0, message_.first_words().size_bytes()); }
  Answer(const Answer&) = delete;
  Answer& operator=(const Answer&) = delete;

  MessageWriter& message() { return message_; }
  wire::Result::Builder result() { return result_; }

 private:
  std::span<std::uint64_t> memory_;
  MessageWriter message_;
  wire::Result::Builder result_;
};

/// The actor at the root of a worker process: runs the tasks in its ring, one by one, in order. Unlike other actors its
/// handler runs user code and takes as long as that takes; nobody else lives in this process's run loop.
class Worker final : public Actor {
 public:
  enum Topic : std::uint32_t { look = 1 };

  Worker(Channel& channel, bool& stopped) : channel_(channel), stopped_(stopped) {}

  void receive(Mail&) override {
    spin_.found_later();
    // Goes on while tasks keep coming; the run loop sleeps when they do not.
    do {
      now_ = Clock::now();
      run_all();
    } while (!stopped_ && spin_([this] { return channel_.requests.has_data(); }));
  }

 private:
  void run_all() {
    Frame frame;
    while (!stopped_) {
      const auto status = channel_.requests.peek(frame);
      if (status == RingReader::Status::empty) return;
      if (status == RingReader::Status::corrupt) give_up();
      auto expected = static_cast<std::uint32_t>(FrameState::queued);
      channel_.slot.shared().busy_since.store(now_.time_since_epoch().count(), std::memory_order_relaxed);
      if (frame.header->state.compare_exchange_strong(expected, static_cast<std::uint32_t>(FrameState::running))) {
        run(frame);
        running.end();
        frame.header->state.store(static_cast<std::uint32_t>(FrameState::done), std::memory_order_release);
        channel_.bell.ring();
      } else if (expected != static_cast<std::uint32_t>(FrameState::revoked)) {
        give_up();
      }
      channel_.requests.pop(frame);
    }
  }

  // Tasks have written where they must not: what is left in the ring is not to be trusted.
  [[noreturn]] static void give_up() {
    std::fputs("troupe: the memory that a worker shares with its pool is damaged; the worker ends\n", stderr);
    ::_exit(EXIT_FAILURE);
  }

  void run(const Frame& frame) {
    std::uint64_t id = 0;
    try {
      MessageReader message{frame.words, frame.segments, &channel_.task_arena};
      const auto task = message.root<wire::Task>();
      id = task.getId();
      if (task.isStop()) {
        stopped_ = true;
        return;
      }
      running.begin(frame.header, id, task.getDeadline());
      const auto thunk = reinterpret_cast<TaskThunk>(
          find_thunk(ThunkKind::task, {.offset = task.getThunk(), .module = task.getModule()}));
      answer(id, [&](wire::Result::Builder result) {
        const UserCodeScope user_code;
        thunk(task, result);
      });
      if (id == 0) channel_.slot.shared().started.store(1, std::memory_order_release);
    } catch (...) {
      fail(frame, id, std::current_exception());
      if (id == 0) end_without_initializer();
    }
  }

  // The pool has been told why. What the initializer has registered to run at exit runs.
  [[noreturn]] void end_without_initializer() {
    channel_.bell.ring();
    std::exit(EXIT_FAILURE);
  }

  // Fills in a result and sends it. After an exception of `fill` the answer must be made anew.
  template <class Fill>
  void answer(std::uint64_t id, Fill fill) {
    auto result = answer_->result();
    fill(result);
    if (!is_running())
      ::_exit(EXIT_FAILURE);  // the task has forked, and this copy of the worker must not answer as well
    const auto before = std::exchange(now_, Clock::now());
    const auto busy = static_cast<std::uint64_t>(std::chrono::nanoseconds(now_ - before).count());
    const FrameNote note{.task = id, .busy = busy & FrameNote::longest, .failed = result.isFailure()};
    const auto words = answer_->message().first_words();
    const auto segments = answer_->message().take_segments();
    while (channel_.results.try_write(segments, words, note) == nullptr) {
      channel_.bell.ring();
      channel_.results.wait_for_room(frame_bytes(words.size(), segments.size()), no_deadline);
    }
    answer_.emplace(memory_, channel_.result_arena);
  }

  void fail(const Frame& frame, std::uint64_t id, const std::exception_ptr& error) {
    const std::string name = task_name(frame.words);
    try {
      answer_.emplace(memory_, channel_.result_arena);
      answer(id, [&](wire::Result::Builder result) { encode_exception(error, name, result.initFailure()); });
    } catch (const std::exception& second) {
      // Even the error cannot be written (no shared memory left): a short one always fits the ring.
      const std::string text = std::string("the error of a task could not be sent: ") + second.what();
      answer_.emplace(memory_, channel_.result_arena);
      answer(id, [&](wire::Result::Builder result) {
        encode_exception(std::make_exception_ptr(RuntimeError(text.substr(0, 512))), name, result.initFailure());
      });
    }
  }

  Channel& channel_;
  bool& stopped_;
  std::array<std::uint64_t, Scratch::num_words> memory_{};
  std::optional<Answer> answer_{std::in_place, memory_, channel_.result_arena};
  Clock::time_point now_;  // when the task before this one ended
  SpinWait spin_;
};

void run_worker(ChildContext& context) {
  at_child_start([] { running.end(); });
  std::signal(SIGINT, SIG_IGN);  // Ctrl-C reaches the whole terminal; the parent decides what becomes of us
  Channel channel{context.descriptors()};
  bool stopped = false;
  const ActorRef worker{std::make_unique<Worker>(channel, stopped)};
  if (!channel.has_initializer()) channel.slot.shared().started.store(1, std::memory_order_release);
  while (!stopped) {
    channel.requests.wait_for_data(no_deadline);
    worker.post({.topic = Worker::look, .number = 0, .object = {}});
  }
}

const bool registered = register_thunk(ThunkKind::process_entry, reinterpret_cast<AnyFunction>(&run_worker),
                                       [] { return std::string("troupe worker"); });

}  // namespace

CodeRef worker_entry() {
  static_cast<void>(registered);
  return code_ref(reinterpret_cast<AnyFunction>(&run_worker));
}

namespace {

// Whether the callable's state is the address of a function, as that of function pointers is.
bool has_function_pointer(wire::Task::Reader task) noexcept {
  try {
    return task.isCall() && task.getCall().size() > 0 && find_function(decode_code_ref(task.getCall()[0])) != nullptr;
  } catch (...) {
    return false;
  }
}

// A function pointer travels as the callable's state: its own name says more than its type does.
std::string pointed_function_name(wire::Task::Reader task) {
  wire::Value::Reader state;
  if (task.isChunk()) state = task.getChunk().getState();
  if (task.isCall() && task.getCall().size() > 0) state = task.getCall()[0];
  return function_name(find_function(decode_code_ref(state)));
}

}  // namespace

std::string task_name(std::span<const std::uint64_t> words) {
  try {
    MessageReader message{words, {}, nullptr};
    const auto task = message.root<wire::Task>();
    const std::string number = task.getId() == 0 ? " (the initializer)" : " #" + std::to_string(task.getId());
    if (task.getName().size() > 0) return task.getName().cStr() + number;
    try {
      if (const std::string name = pointed_function_name(task); !name.empty()) return name + number;
    } catch (const std::exception&) {  // not a function's address after all, or one in an arena: its type will do
    }
    return thunk_name({.offset = task.getThunk(), .module = task.getModule()}) + number;
  } catch (const std::exception&) {
    return "unknown task";
  }
}

namespace {

constexpr std::size_t most_argument_bytes = 100;

std::string text_of(const Dynamic& value) {
  std::string text = value.to_string();
  if (text.size() > most_argument_bytes) text = text.substr(0, most_argument_bytes) + "...";
  return text;
}

}  // namespace

std::string task_arguments(std::span<const std::uint64_t> words) {
  try {
    MessageReader message{words, {}, nullptr};
    const auto task = message.root<wire::Task>();
    if (task.isChunk()) return "(a chunk: " + text_of(decode<Dynamic>(task.getChunk().getItems())) + ")";
    std::string text;
    const auto arguments = task.getCall();
    for (unsigned i = has_function_pointer(task) ? 1 : 0; i < arguments.size(); ++i) {
      text += text.empty() ? "" : ", ";
      if (text.size() >= most_argument_bytes) return "(" + text + "...)";
      text += text_of(decode<Dynamic>(arguments[i]));
    }
    return "(" + text + ")";
  } catch (...) {  // in an arena, or an argument that is no value
    return "(large arguments)";
  }
}

}  // namespace troupe::detail

namespace troupe {

// A worker runs one task at a time, and all its threads are in that one. A thread of a ThreadPool, in whichever
// process, has tasks of its own.
bool this_task::is_running() noexcept { return detail::ThreadTask::current() != nullptr || detail::running.id != 0; }
std::uint64_t this_task::id() noexcept {
  const auto* task = detail::ThreadTask::current();
  return task != nullptr ? task->id() : detail::running.id.load();
}
StopToken this_task::stop_token() noexcept {
  if (auto* task = detail::ThreadTask::current()) return StopToken{Ref<detail::ThreadTask>::share(task)};
  return StopToken{detail::running.id};
}
bool this_task::stop_requested() noexcept {
  if (const auto* task = detail::ThreadTask::current()) return task->stop_requested();
  return StopToken{detail::running.id}.stop_requested();
}
bool StopToken::stop_requested() const noexcept {
  if (thread_task_) return thread_task_->stop_requested();
  if (task_id_ == 0 || task_id_ != detail::running.id.load(std::memory_order_acquire)) return false;
  const bool stop = detail::running.frame.load(std::memory_order_relaxed)->stop.load(std::memory_order_relaxed) != 0;
  // The task may have ended meanwhile, and its frame lie under another one.
  std::atomic_thread_fence(std::memory_order_acquire);
  return stop && task_id_ == detail::running.id.load(std::memory_order_relaxed);
}
Deadline this_task::deadline() noexcept {
  if (const auto* task = detail::ThreadTask::current()) return task->due();
  const std::uint64_t when = detail::running.deadline_ns.load(std::memory_order_relaxed);
  return when == 0 ? no_deadline : Deadline{std::chrono::nanoseconds(static_cast<std::int64_t>(when))};
}

}  // namespace troupe
