// The nursery's loop. One thread, one epoll: connections of processes, pidfds of its children, the lifeline.

#include "nursery.hpp"

#include <troupe/callable.hpp>
#include <troupe/error.hpp>
#include <troupe/wire/control.capnp.h>

#include "control_wire.hpp"
#include "descriptors.hpp"
#include "lifeline.hpp"
#include "nursery_child.hpp"
#include "nursery_names.hpp"
#include "nursery_store.hpp"
#include "process_watch.hpp"

#include <capnp/message.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <poll.h>
#include <string>
#include <string_view>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <tuple>
#include <unistd.h>
#include <unordered_map>
#include <utility>
#include <vector>

namespace troupe {

namespace {

/// How often processes are looked at that could not be watched.
constexpr int look_again_milliseconds = 100;
/// How many requests that make no sense are told of.
constexpr int max_complaints = 10;

// Of the descriptors that this process may have, what nobody holds gets a quarter at most.
std::size_t max_loose_here() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<std::size_t>(std::min<rlim_t>(store::max_loose, limit.rlim_cur / 4));
}

class Nursery {
 public:
  Nursery(NurseryDescriptors descriptors, OriginalState original)
      : original_(std::move(original)),
        lifeline_(std::move(descriptors.lifeline)),
        names_(::getppid(), std::move(descriptors.names)) {
    if (!epoll_) throw OSError(errno, "making the nursery's event loop");
    watch(lifeline_.get());
    add_connection(std::move(descriptors.connection));
    auto [mine, theirs] = make_socket_pair("making the door of the nursery");
    tell_senders(mine.get());
    inside_door_ = mine.get();
    add_connection(std::move(mine));
    door_ = std::move(theirs);
  }

  void run() {
    std::array<epoll_event, 64> events{};
    for (;;) {
      const bool has_more = wants_spare_ || !unanswered_.empty() || names_.has_unsettled();
      const int milliseconds = has_more ? 0 : holders_.is_complete() ? -1 : look_again_milliseconds;
      const int count = ::epoll_wait(epoll_.get(), events.data(), events.size(), milliseconds);
      if (count == 0) {
        answer_misses();
        names_.settle();
        holders_.look_again();
        if (wants_spare_) make_spare();
      }
      for (int i = 0; i < count; ++i) {
        const int number = events[static_cast<std::size_t>(i)].data.fd;
        if (number == lifeline_.get()) return end_children();
        if (children_.contains(number)) {
          reap(number);
        } else if (spare_ && number == spare_->process.pidfd.get()) {
          end_spare();
        } else if (connections_.contains(number)) {
          serve(number);
        } else {
          holders_.serve(number);
        }
      }
    }
  }

 private:
  struct Child {
    pid_t pid = 0;
    FileDescriptor pidfd;
    FileDescriptor status;  // where its end is told
  };
  struct Wanted {
    int connection = -1;
    Ticket ticket = 0;
    pid_t holder = 0;  // 0: to withdraw it
  };
  struct Spare {
    Child process;
    FileDescriptor line;  // where it waits for a request
  };

  void watch(int number) {
    epoll_event event{.events = EPOLLIN, .data = {.fd = number}};
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, number, &event) != 0)
      throw OSError(errno, "watching a descriptor in the nursery");
  }

  // Before a descriptor is closed: others may hold copies of it (a pidfd goes to the requester, a new process has all
  // for a moment), and then closing it would not end the watch.
  void unwatch(int number) { ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, number, nullptr); }

  void add_connection(FileDescriptor connection) {
    const int number = connection.get();
    watch(number);
    connections_.emplace(number, std::move(connection));
  }

  void serve(int connection) {
    Datagram datagram;
    const int error = receive_datagram(connection, datagram, false);
    if (error == EAGAIN) return;
    if (error != 0 || datagram.size == 0) return drop_connection(connection);  // its process has ended
    try {
      RequestReader reader{datagram};
      answer(connection, reader.request(), datagram);
    } catch (const std::exception& failure) {
      complain(failure);
      drop_connection(connection);
    }
  }

  // A process gone mad does not fill the log.
  void complain(const std::exception& failure) {
    if (num_complaints_ == max_complaints) return;
    const bool is_last = ++num_complaints_ == max_complaints;
    const std::string_view said = failure.what();
    const std::string line{said.substr(0, said.find('\n'))};  // Cap'n Proto adds a stack of addresses
    std::fprintf(stderr, "troupe: the nursery drops a request and its connection: %s%s\n", line.c_str(),
                 is_last ? "; it will not say so again" : "");
  }

  // Without a descriptor left for it, it is closed with that: who introduced it finds out.
  void adopt_connection(Datagram& datagram) {
    if (datagram.descriptors.empty()) return;
    const int number = datagram.descriptors.front().get();
    add_connection(std::move(datagram.descriptors.front()));
    reply_started(number, 0, -1);
  }

  void drop_connection(int number) {
    if (number == inside_door_) return;  // all processes need it, whoever sent what through it
    unwatch(number);
    connections_.erase(number);
    std::erase_if(unanswered_, [&](const Wanted& wanted) { return wanted.connection == number; });
  }

  void answer(int connection, wire::NurseryRequest::Reader request, Datagram& datagram) {
    if (datagram.sender_pid == 0) throw CodecError("the system does not tell who sent a request");
    // A process that gave up its privileges must not get them back by having others started.
    if ((request.isStart() || request.isPreload()) && datagram.sender != ::getuid())
      return reply_failure(connection, EPERM, "its user is not the one who made the Runtime");
    if (is_ending_ && !request.isAdopt() && !request.isName()) return;
    switch (request.which()) {
      case wire::NurseryRequest::START: return start(connection, request.getStart(), datagram);
      case wire::NurseryRequest::ADOPT: return adopt_connection(datagram);
      case wire::NurseryRequest::PRELOAD: return preload(connection, request.getPreload());
      case wire::NurseryRequest::HOLD:
        store_.hold(request.getHold(), complete(datagram), datagram.sender_pid);
        return holders_.watch(datagram.sender_pid);
      case wire::NurseryRequest::TAKE_HOLD:
        return give({.connection = connection, .ticket = request.getTakeHold(), .holder = datagram.sender_pid}, true);
      case wire::NurseryRequest::LET_GO: return store_.let_go(request.getLetGo(), datagram.sender_pid);
      case wire::NurseryRequest::DEPOSIT: return store_.deposit(request.getDeposit(), complete(datagram));
      case wire::NurseryRequest::ATTACH:
        return store_.attach(request.getAttach().getCarrier(), request.getAttach().getTicket());
      case wire::NurseryRequest::WITHDRAW:
        return give({.connection = connection, .ticket = request.getWithdraw(), .holder = 0}, true);
      case wire::NurseryRequest::NAME: return note_name(connection, request.getName(), datagram);
    }
  }

  // --- Names in /dev/shm ---

  void note_name(int connection, wire::NameNote::Reader note, const Datagram& datagram) {
    const pid_t sender = datagram.sender_pid;
    const std::string name = note.getName().cStr();
    if (note.getWhat() == wire::NameNote::What::OPENING) {
      const auto inode = names_.open(name, sender);
      if (!inode) return reply_failure(connection, errno, "opening shared memory \"" + name + "\"");
      capnp::MallocMessageBuilder message{16};
      message.initRoot<wire::NurseryReply>().setInode(*inode);
      reply(connection, message, {});
    } else {
      names_.note(name, note.getInode(), note.getWhat(), sender, datagram.sender);
      if (note.getWhat() == wire::NameNote::What::MAKING) reply_started(connection, 0, -1);
    }
    holders_.watch(sender);
  }

  // What processes said about names before they ended.
  void read_last_notes() {
    is_ending_ = true;
    std::array<epoll_event, 64> events{};
    for (int count = 1; count > 0;) {
      count = ::epoll_wait(epoll_.get(), events.data(), events.size(), 0);
      for (int i = 0; i < count; ++i) {
        const int number = events[static_cast<std::size_t>(i)].data.fd;
        if (connections_.contains(number)) {
          serve(number);
        } else {
          unwatch(number);
        }
      }
    }
  }

  // --- The store ---

  // What came with a request to keep it; nothing if this process has too many files open for some of it.
  static std::optional<std::vector<FileDescriptor>> complete(Datagram& datagram) {
    if (datagram.lost_descriptors) return std::nullopt;
    return std::move(datagram.descriptors);
  }

  // Answers with what the ticket names. If there is nothing, that may be on its way on another connection, sent before
  // the ticket was told: so a miss `may_wait` until all that was sent has been read.
  void give(const Wanted& wanted, bool may_wait) {
    std::vector<FileDescriptor> withdrawn;
    std::vector<int> numbers;
    if (wanted.holder != 0) {
      numbers = store_.take_hold(wanted.ticket, wanted.holder);
    } else {
      withdrawn = store_.withdraw(wanted.ticket);
      for (const auto& descriptor : withdrawn) numbers.push_back(descriptor.get());
    }
    if (numbers.empty() && store_.has_lost(wanted.ticket))
      return reply_failure(wanted.connection, EMFILE,
                           "finding what its ticket names: the nursery had too many files open");
    if (numbers.empty() && may_wait) return unanswered_.push_back(wanted);
    if (numbers.empty()) return reply_failure(wanted.connection, ENOENT, "finding what its ticket names");
    if (wanted.holder != 0) holders_.watch(wanted.holder);
    capnp::MallocMessageBuilder message{16};
    message.initRoot<wire::NurseryReply>().setPid(0);
    reply(wanted.connection, message, numbers);
  }

  void answer_misses() {
    for (const Wanted& wanted : std::exchange(unanswered_, {})) give(wanted, false);
  }

  void preload(int connection, wire::Preload::Reader request) {
    end_spare();  // what is loaded now, it would not have
    try {
      find_function({.offset = request.getOffset(), .module = request.getModule()})();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "troupe: a function preloaded in the nursery threw %s: %s\n",
                   demangle(typeid(error).name()).c_str(), error.what());
    } catch (...) {
      std::fprintf(stderr, "troupe: a function preloaded in the nursery threw something that is not an exception\n");
    }
    std::fflush(nullptr);
    reply_started(connection, 0, -1);
  }

  void start(int connection, wire::Start::Reader request, Datagram& datagram) {
    if (datagram.lost_descriptors) return reply_failure(connection, EMFILE, "receiving its descriptors");
    ChildPlan plan{.original = &original_, .nursery = ::getpid()};
    FileDescriptor status;
    if (!plan.read(request, datagram.descriptors, status))
      return reply_failure(connection, EINVAL, "reading the request");
    const char* step = "preparing it";
    try {
      // Here, where /proc/self is known already: a process that is about to end would have to set it up, and remove it.
      FileDescriptor& lifeline = datagram.descriptors.at(ChildPlan::lifeline_place);
      lifeline = reopen_lifeline(lifeline.get());
      plan.lifeline = lifeline.get();
      wants_spare_ = !plan.spawn;
      if (!plan.spawn && hand_to_spare(datagram, status)) {
        Child child = std::move(std::exchange(spare_, std::nullopt)->process);
        child.status = std::move(status);
        const int number = adopt(std::move(child));
        return reply_started(connection, children_.at(number).pid, number);
      }
      FileDescriptor failure_read;
      FileDescriptor failure_write;
      if (plan.spawn) std::tie(failure_read, failure_write) = make_pipe(step);
      plan.door = door_.get();
      plan.failure = failure_write.get();
      Child child{.pid = ::fork(), .pidfd = {}, .status = std::move(status)};
      if (child.pid < 0) return reply_failure(connection, errno, "fork");
      if (child.pid == 0) become_child(std::move(plan));
      failure_write.reset();
      step = "watching it";
      const int number = adopt(std::move(child));
      const int error = plan.spawn ? wait_for_exec(std::move(failure_read)) : 0;
      if (error == 0) return reply_started(connection, children_.at(number).pid, number);
      forget(number);
      reply_failure(connection, error, "exec of " + plan.executable);
    } catch (const OSError& error) {
      reply_failure(connection, error.errno_value(), step);
    }
  }

  // Takes charge of a child that was just forked, or was the spare; if that fails there is no child. Returns the number
  // of its pidfd.
  int adopt(Child child) {
    watch_end(child);
    const int number = child.pidfd.get();
    children_.emplace(number, std::move(child));
    return number;
  }

  void watch_end(Child& child) {
    if (child.pidfd) return;
    try {
      child.pidfd = above_standard(FileDescriptor{open_pidfd(child.pid)});
      if (!child.pidfd) throw OSError(errno, "opening its pidfd");
      watch(child.pidfd.get());
    } catch (...) {
      end(child);
      throw;
    }
  }

  // For one that has not become anything; nobody is told.
  void end(const Child& child) {
    ::kill(child.pid, SIGKILL);
    while (::waitpid(child.pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    if (child.pidfd) unwatch(child.pidfd.get());
  }

  // --- The spare: a process forked ahead while there is nothing else to do, so that the next start need not wait ---

  void make_spare() {
    wants_spare_ = false;
    if (spare_) return;
    try {
      auto [mine, theirs] = make_socket_pair("forking a process ahead");
      const pid_t nursery = ::getpid();
      Child process{.pid = ::fork(), .pidfd = {}, .status = {}};
      if (process.pid == 0) become_spare(original_, nursery, theirs.get(), door_.get());
      if (process.pid < 0) return;
      watch_end(process);
      spare_ = Spare{std::move(process), std::move(mine)};
    } catch (const OSError&) {
      // There is something that the system has no more of; who starts the next process will be told.
    }
  }

  // False: there is none.
  bool hand_to_spare(const Datagram& request, const FileDescriptor& status) {
    if (!spare_) return false;
    std::vector<int> numbers;
    for (const auto& descriptor : request.descriptors) numbers.push_back((descriptor ? descriptor : status).get());
    if (send_datagram(spare_->line.get(), {request.bytes, request.size}, numbers, false) == 0) return true;
    end_spare();
    return false;
  }

  void end_spare() {
    if (!spare_) return;
    end(spare_->process);
    spare_.reset();
  }

  void forget(int number) {
    end(children_.at(number));
    children_.erase(number);
  }

  // The end of a child: reaped first, so that it is really gone when the one who waits for it hears of it.
  void reap(int number) {
    const ProcessEnd end = reap_pidfd(number);
    if (end.status == ProcessEnd::Status::running) return;
    const auto child = children_.find(number);
    store_.holder_ended(child->second.pid);  // whoever has joined it finds what it held given back
    std::array<capnp::word, 16> scratch{};
    capnp::MallocMessageBuilder message{kj::arrayPtr(scratch.data(), scratch.size())};
    auto report = message.initRoot<wire::ExitReport>();
    report.setPid(child->second.pid);
    report.setExitcode(end.exitcode);
    report.setDumpedCore(end.dumped_core);
    report.setPeakResident(end.peak_resident_bytes);
    // Nobody reads it if the process that started this one has ended.
    [[maybe_unused]] const int error = send_message(child->second.status.get(), message, {}, false);
    unwatch(number);
    children_.erase(child);
  }

  static ProcessEnd wait_for_end(int number) {
    pollfd end{.fd = number, .events = POLLIN, .revents = 0};
    while (::poll(&end, 1, -1) < 0 && errno == EINTR) {
    }
    return reap_pidfd(number);
  }

  // The main process has died: so does everything else.
  void end_children() {
    end_spare();
    for (const auto& [number, child] : children_) [[maybe_unused]] const int error = signal_pidfd(number, SIGKILL);
    for (const auto& [number, child] : children_) wait_for_end(number);
    read_last_notes();
    names_.remove_all();
  }

  void reply_started(int connection, pid_t pid, int pidfd) {
    std::array<capnp::word, 64> scratch{};
    capnp::MallocMessageBuilder message{kj::arrayPtr(scratch.data(), scratch.size())};
    message.initRoot<wire::NurseryReply>().setPid(pid);
    reply(connection, message, pidfd < 0 ? std::span<const int>{} : std::span{&pidfd, 1});
  }

  void reply_failure(int connection, int error, const std::string& step) {
    capnp::MallocMessageBuilder message;
    auto failure = message.initRoot<wire::NurseryReply>().initFailure();
    failure.setErrno(error);
    failure.setStep(step);
    reply(connection, message, {});
  }

  // If the requester is gone, so is the need for an answer; its lifeline ends the process that it wanted. One that asks
  // and asks and does not read the answers is not waited for.
  void reply(int connection, capnp::MessageBuilder& message, std::span<const int> descriptors) {
    if (send_message(connection, message, descriptors, false) == EAGAIN) drop_connection(connection);
  }

  OriginalState original_;
  FileDescriptor epoll_{::epoll_create1(EPOLL_CLOEXEC)};
  FileDescriptor lifeline_;
  std::unordered_map<int, FileDescriptor> connections_;  // by number
  FileDescriptor door_;  // every process of ours has a copy, to introduce a connection of its own when it needs one
  std::unordered_map<int, Child> children_;              // by number of the pidfd
  NurseryStore store_{max_loose_here()};
  NurseryNames names_;
  bool is_ending_ = false;
  int inside_door_ = -1;  // the connection that door_ leads to
  std::vector<Wanted> unanswered_;
  int num_complaints_ = 0;
  ProcessWatch holders_{epoll_.get(), [this](pid_t ended) {
                          store_.holder_ended(ended);
                          names_.holder_ended(ended);
                        }};
  std::optional<Spare> spare_;
  bool wants_spare_ = false;
};

}  // namespace

void run_nursery(NurseryDescriptors descriptors, OriginalState original) noexcept {
  try {
    Nursery{std::move(descriptors), std::move(original)}.run();
    ::_exit(EXIT_SUCCESS);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "troupe: the nursery ends: %s\n", error.what());
    ::_exit(EXIT_FAILURE);
  }
}

}  // namespace troupe
