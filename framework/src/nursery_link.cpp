#include "nursery_link.hpp"

#include <troupe/error.hpp>
#include <troupe/wire/control.capnp.h>

#include "control_wire.hpp"
#include "descriptors.hpp"
#include "environment.hpp"
#include "lifeline.hpp"
#include "name_journal.hpp"
#include "nursery.hpp"
#include "self.hpp"
#include "slab_registry.hpp"

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

namespace troupe {

namespace {

/// How long the nursery may take to end what is left after its connection was closed.
constexpr int nursery_grace_milliseconds = 5000;

std::vector<int> numbers_of(const std::vector<FileDescriptor>& descriptors) {
  std::vector<int> numbers;
  for (const auto& descriptor : descriptors) numbers.push_back(descriptor.get());
  return numbers;
}

void fill_note(capnp::MessageBuilder& request, const std::string& name, std::uint64_t inode,
               wire::NameNote::What what) {
  auto note = request.initRoot<wire::NurseryRequest>().initName();
  note.setName(name);
  note.setInode(inode);
  note.setWhat(what);
}

}  // namespace

void NurseryLink::open(Lifeline& lifeline, const std::string& program_name) {
  lifeline_ = &lifeline;
  program_name_ = program_name;
  journal_ = NameJournal::create();
  start_nursery(true);
}

void NurseryLink::start_nursery(bool is_first) {
  flush_standard_streams();  // or what they hold would be written twice
  nursery_environment_ = environment_hash();
  NurseryProcess nursery = troupe::start_nursery(lifeline_->read_end(), journal_.get(), program_name_, is_first);
  nursery_ = nursery.pid;
  nursery_pidfd_ = std::move(nursery.pidfd);
  connection_ = std::move(nursery.connection);
}

void NurseryLink::introduce() {
  auto [mine, theirs] = make_socket_pair("making a connection to the nursery");
  tell_senders(theirs.get());
  capnp::MallocMessageBuilder request{64};
  request.initRoot<wire::NurseryRequest>().setAdopt();
  const int descriptor = theirs.get();
  if (const int error = send_message(door_.get(), request, {&descriptor, 1}, true))
    throw OSError(error, "connecting to the nursery");
  theirs.reset();
  Datagram welcome;
  if (receive_datagram(mine.get(), welcome, true) != 0 || welcome.size == 0)
    throw OSError(EMFILE, "connecting to the nursery, which has too many files open or has ended");
  connection_ = std::move(mine);
}

// Whether there is a new nursery in place of one that has died. Only the main process can make one.
bool NurseryLink::reopen_if_dead() {
  if (lifeline_ == nullptr) return false;
  end_nursery();  // it closed its connection, so it is dead or dying
  start_nursery(false);
  detail::recover_mapped_slabs_of_all_dead();  // of those who ended with the nursery, or while there was none
  for (const CodeRef function : preloads_) send_preload(function);
  for (const auto& [ticket, copies] : held_) send_hold(ticket, numbers_of(copies));
  for (const auto& [name, count] : names_) send_note(name.first, name.second, wire::NameNote::What::INHERITING);
  return true;
}

bool NurseryLink::is_dead() const noexcept {
  pollfd end{.fd = nursery_pidfd_.get(), .events = POLLIN, .revents = 0};
  return nursery_ != 0 && ::poll(&end, 1, 0) > 0;
}

void NurseryLink::recover_if_dead() const noexcept {
  if (is_dead()) detail::recover_mapped_slabs_of_all_dead();
}

// 0, or the errno: EPIPE or ECONNRESET when the nursery has died without reading the request, ECONNABORTED when it has
// died after that.
int NurseryLink::exchange(capnp::MessageBuilder& request, std::span<const int> descriptors, Datagram& reply) const {
  if (const int error = send_message(connection_.get(), request, descriptors, true)) return error;
  const int error = receive_datagram(connection_.get(), reply, true);
  return error == 0 && reply.size == 0 ? ECONNABORTED : error;
}

// Has `send`, which returns 0 or an errno, reach a nursery: the one there is, or if that has died a new one.
template <class Send>
void NurseryLink::reach(Send send) {
  if (door_ && !connection_) introduce();
  int error = send();
  if ((error == EPIPE || error == ECONNRESET) && reopen_if_dead()) error = send();
  switch (error) {
    case 0: return;
    case EPIPE:
    case ECONNRESET: throw OSError(error, "the nursery has ended");
    case ECONNABORTED: throw OSError(error, "the nursery ended before it answered");
    case EMSGSIZE: throw OSError(error, "the path of the executable is too long");
    default: throw OSError(error, "asking the nursery");
  }
}

void NurseryLink::tell(capnp::MessageBuilder& request, std::span<const int> descriptors) {
  reach([&] { return send_message(connection_.get(), request, descriptors, true); });
}

NurseryAnswer NurseryLink::ask(capnp::MessageBuilder& request, std::span<const int> descriptors, Datagram& reply) {
  reach([&] { return exchange(request, descriptors, reply); });
  return read_reply({reply.bytes, reply.size});
}

NurseryLink::Started NurseryLink::start(capnp::MessageBuilder& request, std::span<const int> descriptors) {
  Datagram datagram;
  Started started{.pid = ask(request, descriptors, datagram).pid, .pidfd = {}};
  if (!datagram.descriptors.empty()) started.pidfd = std::move(datagram.descriptors.front());
  if (started.pid != 0 && !started.pidfd) {
    ::kill(started.pid, SIGKILL);
    throw OSError(EMFILE, "receiving its pidfd");
  }
  return started;
}

void NurseryLink::send_hold(Ticket ticket, std::span<const int> descriptors) {
  capnp::MallocMessageBuilder request{64};
  request.initRoot<wire::NurseryRequest>().setHold(ticket);
  tell(request, descriptors);
}

void NurseryLink::note_hold(Ticket ticket, std::span<const int> descriptors) {
  std::vector<FileDescriptor>& copies = held_[ticket];
  if (lifeline_ == nullptr || !copies.empty()) return;
  for (const int number : descriptors) copies.emplace_back(::fcntl(number, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
}

void NurseryLink::hold(Ticket ticket, std::span<const int> descriptors) {
  send_hold(ticket, descriptors);
  note_hold(ticket, descriptors);
}

std::vector<FileDescriptor> NurseryLink::take_hold(Ticket ticket) {
  capnp::MallocMessageBuilder request{64};
  request.initRoot<wire::NurseryRequest>().setTakeHold(ticket);
  Datagram reply;
  ask(request, {}, reply);
  if (reply.lost_descriptors) throw OSError(EMFILE, "receiving what a ticket names");
  note_hold(ticket, numbers_of(reply.descriptors));
  return std::move(reply.descriptors);
}

void NurseryLink::let_go(Ticket ticket) {
  if (held_.erase(ticket) == 0) return;
  capnp::MallocMessageBuilder request{64};
  request.initRoot<wire::NurseryRequest>().setLetGo(ticket);
  tell(request, {});
}

void NurseryLink::attach(Ticket carrier, Ticket ticket) {
  capnp::MallocMessageBuilder request{64};
  auto attached = request.initRoot<wire::NurseryRequest>().initAttach();
  attached.setCarrier(carrier);
  attached.setTicket(ticket);
  tell(request, {});
}

void NurseryLink::deposit(Ticket ticket, std::span<const int> descriptors) {
  capnp::MallocMessageBuilder request{64};
  request.initRoot<wire::NurseryRequest>().setDeposit(ticket);
  tell(request, descriptors);
}

std::vector<FileDescriptor> NurseryLink::withdraw(Ticket ticket) {
  capnp::MallocMessageBuilder request{64};
  request.initRoot<wire::NurseryRequest>().setWithdraw(ticket);
  Datagram reply;
  ask(request, {}, reply);
  if (reply.lost_descriptors) throw OSError(EMFILE, "receiving what a ticket names");
  return std::move(reply.descriptors);
}

void NurseryLink::hold_like(const NurseryLink& parent) noexcept {
  try {
    for (const auto& [ticket, copies] : parent.held_) {
      send_hold(ticket, {});
      held_.try_emplace(ticket);
    }
    for (const auto& [name, count] : parent.names_) {
      send_note(name.first, name.second, wire::NameNote::What::INHERITING);
      names_.emplace(name, count);
    }
  } catch (const Error&) {
    // Without a nursery there is nothing to hold, and a process that was forked elsewhere can do without.
  }
}

void NurseryLink::send_note(const std::string& name, std::uint64_t inode, wire::NameNote::What what) {
  capnp::MallocMessageBuilder request{64};
  fill_note(request, name, inode, what);
  tell(request, {});
}

void NurseryLink::make_name(const std::string& name, std::uint64_t inode) {
  capnp::MallocMessageBuilder request{64};
  fill_note(request, name, inode, wire::NameNote::What::MAKING);
  Datagram reply;
  ask(request, {}, reply);  // now a nursery that takes its place would know as well
  ++names_[{name, inode}];
}

std::uint64_t NurseryLink::open_name(const std::string& name) {
  capnp::MallocMessageBuilder request{64};
  fill_note(request, name, 0, wire::NameNote::What::OPENING);
  Datagram reply;
  const std::uint64_t inode = ask(request, {}, reply).inode;
  ++names_[{name, inode}];
  return inode;
}

void NurseryLink::close_name(const std::string& name, std::uint64_t inode) {
  const auto found = names_.find({name, inode});
  if (found == names_.end() || --found->second > 0) return;
  names_.erase(found);
  send_note(name, inode, wire::NameNote::What::CLOSING);
}

void NurseryLink::unlink_name(const std::string& name, std::uint64_t inode) {
  names_.erase({name, inode});
  send_note(name, inode, wire::NameNote::What::UNLINKING);
}

// The connection of a nursery that was killed may be open for a moment: a process that it was just forking has a copy.
// What is sent then is lost without an error, and here no later request would find that out.
void NurseryLink::close_names() noexcept {
  try {
    if (is_dead() && NameJournal::is_used(journal_)) reopen_if_dead();
    for (const auto& [name, count] : names_) send_note(name.first, name.second, wire::NameNote::What::CLOSING);
  } catch (const Error&) {
    // Without a nursery nobody keeps count of names.
  }
  names_.clear();
}

void NurseryLink::send_preload(CodeRef function) {
  capnp::MallocMessageBuilder request{64};
  auto preload = request.initRoot<wire::NurseryRequest>().initPreload();
  preload.setOffset(function.offset);
  preload.setModule(function.module);
  start(request, {});
}

void NurseryLink::preload(CodeRef function) {
  send_preload(function);
  preloads_.push_back(function);
}

void NurseryLink::end_nursery() noexcept {
  if (nursery_ == 0) return;
  [[maybe_unused]] const int error = signal_pidfd(nursery_pidfd_.get(), SIGKILL);  // fails if it has ended: as well
  while (::waitpid(nursery_, nullptr, 0) < 0 && errno == EINTR) {
  }
  nursery_ = 0;
}

void NurseryLink::close(Lifeline& lifeline) noexcept {
  connection_.reset();
  lifeline = Lifeline{};
  pollfd end{.fd = nursery_pidfd_.get(), .events = POLLIN, .revents = 0};
  if (nursery_ != 0) ::poll(&end, 1, nursery_grace_milliseconds);
  end_nursery();
}

}  // namespace troupe
