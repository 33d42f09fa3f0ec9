// Any bytes as what processes and the nursery tell each other: requests in a row, done to a store and to names as the
// nursery does them; the Launch of a new process; the nursery's replies and reports. Each ends in a kj::Exception, in
// one of troupe's errors, or in values that can be acted on.
//
//   cmake --preset fuzz && cmake --build --preset fuzz && ctest --preset fuzz
//   build/fuzz/tests/fuzz/control_fuzz -max_total_time=60 tests/fuzz/corpus/control

#include <troupe/callable.hpp>
#include <troupe/dynamic.hpp>
#include <troupe/error.hpp>
#include <troupe/launch.hpp>
#include <troupe/named_memory.hpp>

#include "control_input.hpp"
#include "control_wire.hpp"
#include "nursery_child.hpp"
#include "nursery_names.hpp"
#include "nursery_store.hpp"
#include "quiet_errors.hpp"
#include "self.hpp"

#include <kj/exception.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <sanitizer/asan_interface.h>
#include <span>
#include <string>
#include <sys/types.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using troupe::ChildContext;
using troupe::Datagram;
using troupe::FileDescriptor;

using Input = std::span<const std::byte>;

template <class Code>
void attempt(Code code) {
  try {
    code();
  } catch (const kj::Exception&) {
  } catch (const troupe::Error&) {
  }
}

/// Numbers that nothing is open at: what the store does with them fails, as with any file that is none of ours.
std::vector<FileDescriptor> some_descriptors(std::size_t count) {
  constexpr int never_open = 1 << 30;
  std::vector<FileDescriptor> descriptors;
  for (std::size_t i = 0; i < count; ++i) descriptors.emplace_back(never_open + static_cast<int>(i));
  return descriptors;
}

kj::Array<capnp::word> words_of(Input input) {
  auto words = kj::heapArray<capnp::word>(input.size() / sizeof(capnp::word));
  std::memcpy(words.begin(), input.data(), words.asBytes().size());
  return words;
}

// --- as a new process ---

void read_launch(std::unique_ptr<ChildContext::Payload> payload) {
  const auto launch = payload->launch();
  attempt([&] { static_cast<void>(troupe::identity_of(launch)); });
  attempt([&] {
    std::string all;
    for (const char* entry : troupe::environment_of(launch)) all += entry;
  });
  attempt([&] {
    troupe::find_thunk(troupe::ThunkKind::process_entry, {.offset = launch.getThunk(), .module = launch.getModule()});
  });
  const ChildContext context{{}, std::move(payload)};
  attempt([&] {
    for (const auto argument : troupe::arguments_of(context))
      attempt([&] { static_cast<void>(troupe::decode<troupe::Dynamic>(argument)); });
  });
}

void read_launch_file(Input input) {
  FileDescriptor file = troupe::create_memory_file("hostile", 0);
  if (::write(file.get(), input.data(), input.size()) != static_cast<ssize_t>(input.size())) std::abort();
  read_launch(std::make_unique<ChildContext::Payload>(std::move(file)));
}

// --- as the nursery ---

class HostileRequests {
 public:
  void serve(Input bytes, fuzz::RequestHead head) {
    Datagram datagram;
    datagram.size = std::min(bytes.size(), sizeof datagram.bytes);
    std::ranges::copy(bytes.first(datagram.size), datagram.bytes);
    datagram.descriptors = some_descriptors(head.descriptors);
    std::byte* const end = datagram.bytes + datagram.size;
    const std::size_t unused = sizeof datagram.bytes - datagram.size;
    ASAN_POISON_MEMORY_REGION(end, unused);
    attempt([&] {
      troupe::RequestReader reader{datagram};
      answer(reader.request(), datagram.descriptors, head.sender);
    });
    ASAN_UNPOISON_MEMORY_REGION(end, unused);
  }

  void sender_ended(pid_t sender) {
    store_.holder_ended(sender);
    names_.holder_ended(sender);
    names_.settle();
  }

 private:
  using Request = troupe::wire::NurseryRequest;

  void answer(Request::Reader request, std::vector<FileDescriptor>& descriptors, pid_t sender) {
    switch (request.which()) {
      case Request::START: return start(request.getStart(), descriptors);
      case Request::ADOPT: return;
      case Request::PRELOAD: return;  // any function of the program may be called
      case Request::HOLD: return store_.hold(request.getHold(), std::move(descriptors), sender);
      case Request::TAKE_HOLD: return static_cast<void>(store_.take_hold(request.getTakeHold(), sender));
      case Request::LET_GO: return store_.let_go(request.getLetGo(), sender);
      case Request::DEPOSIT: return store_.deposit(request.getDeposit(), std::move(descriptors));
      case Request::WITHDRAW: return static_cast<void>(store_.withdraw(request.getWithdraw()));
      case Request::NAME: return note_name(request.getName(), sender);
      case Request::ATTACH: return store_.attach(request.getAttach().getCarrier(), request.getAttach().getTicket());
    }
    std::abort();  // a kind that is unknown
  }

  static void start(troupe::wire::Start::Reader request, std::vector<FileDescriptor>& descriptors) {
    troupe::ChildPlan plan;
    FileDescriptor status;
    const std::size_t count = descriptors.size();
    if (!plan.read(request, descriptors, status)) return;
    const std::size_t fixed = count - plan.extras.size();
    if (plan.lifeline < 0 || plan.directory < 0 || fixed < 3 || fixed > 6) std::abort();
    if (plan.launch.size() == 0 ? plan.payload < 0 : plan.spawn) std::abort();
    if (plan.launch.size() > 0) read_launch(std::make_unique<ChildContext::Payload>(std::move(plan.launch)));
  }

  void note_name(troupe::wire::NameNote::Reader note, pid_t sender) {
    // Names that nothing has, and a user that nobody is: whatever an input hits on, it is left alone.
    constexpr auto nobody = static_cast<uid_t>(-2);
    std::string name = note.getName().cStr();
    if (troupe::is_memory_name(name)) name.insert(0, "troupe-fuzz-");
    if (note.getWhat() == troupe::wire::NameNote::What::OPENING) {
      static_cast<void>(names_.open(name, sender));
    } else {
      names_.note(name, note.getInode(), note.getWhat(), sender, nobody);
    }
  }

  troupe::NurseryStore store_{8};
  troupe::NurseryNames names_{::getppid(), troupe::NameJournal::create()};
};

void serve_requests(Input input) {
  HostileRequests nursery;
  fuzz::RequestHead head;
  while (input.size() >= sizeof head) {
    std::memcpy(&head, input.data(), sizeof head);
    input = input.subspan(sizeof head);
    const std::size_t size = std::min<std::size_t>(head.bytes, input.size());
    size == 0 ? nursery.sender_ended(head.sender) : nursery.serve(input.first(size), head);
    input = input.subspan(size);
  }
}

// --- as who started a process ---

void read_as_reply(Input input) {
  const auto words = words_of(input);
  if (troupe::read_reply(std::as_bytes(std::span{words.begin(), words.size()})).pid < 0) std::abort();
}

void read_as_exit_report(Input input) {
  const auto words = words_of(input);
  static_cast<void>(troupe::read_exit_report(std::as_bytes(std::span{words.begin(), words.size()})));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fuzz::NoStackTraces quiet;
  if (size == 0) return 0;
  const Input input = std::as_bytes(std::span(data + 1, size - 1));
  switch (data[0] % 5) {
    case fuzz::requests: serve_requests(input); break;
    case fuzz::launch: attempt([&] { read_launch(std::make_unique<ChildContext::Payload>(words_of(input))); }); break;
    case fuzz::launch_file: attempt([&] { read_launch_file(input); }); break;
    case fuzz::reply: attempt([&] { read_as_reply(input); }); break;
    case fuzz::exit_report: attempt([&] { read_as_exit_report(input); }); break;
  }
  return 0;
}
