// Writes the seed corpus of control_fuzz: requests, launches, replies and reports of every kind, and a few that cannot
// be. Run it again when control.capnp changes.
// Usage: control_seeds DIR

#include <troupe/codec.hpp>
#include <troupe/launch.hpp>
#include <troupe/wire/control.capnp.h>

#include "control_input.hpp"

#include <capnp/message.h>
#include <capnp/serialize.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>

namespace {

using troupe::wire::NameNote;
using troupe::wire::NurseryReply;
using troupe::wire::NurseryRequest;

std::string flat(capnp::MessageBuilder& message) {
  const auto words = capnp::messageToFlatArray(message);
  const auto bytes = words.asChars();
  return {bytes.begin(), bytes.size()};
}

template <class Root, class Fill>
std::string message(Fill fill) {
  capnp::MallocMessageBuilder builder;
  fill(builder.initRoot<Root>());
  return flat(builder);
}

/// Requests one after the other.
class Talk {
 public:
  Talk& add(unsigned sender, unsigned descriptors, const std::string& request) {
    const fuzz::RequestHead head{.bytes = static_cast<std::uint16_t>(request.size()),
                                 .descriptors = static_cast<std::uint8_t>(descriptors),
                                 .sender = static_cast<std::uint8_t>(sender)};
    text_.append(reinterpret_cast<const char*>(&head), sizeof head).append(request);
    return *this;
  }
  template <class Fill>
  Talk& ask(unsigned sender, unsigned descriptors, Fill fill) {
    return add(sender, descriptors, message<NurseryRequest>(fill));
  }
  Talk& name(unsigned sender, const char* name, NameNote::What what) {
    return ask(sender, 0, [&](NurseryRequest::Builder request) {
      auto note = request.initName();
      note.setName(name);
      note.setInode(7);
      note.setWhat(what);
    });
  }
  Talk& end(unsigned sender) { return add(sender, 0, ""); }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

std::string a_launch(const char* method) {
  troupe::LaunchMessage message{{.offset = 0x1000, .module = 5}};
  auto launch = message.launch();
  launch.setName("Process-1:2");
  launch.setIdentity("1:2");
  launch.setStartMethod(method);
  launch.setParentName("MainProcess");
  launch.setParentPid(5);
  launch.setExecutable("/bin/true");
  launch.setDescriptors(2);
  launch.initAuthkey(16);
  auto environment = launch.initEnvironment(3);
  environment.set(0, "PATH=/bin");
  environment.set(1, "NOTHING");
  auto arguments = message.init_arguments(2);
  troupe::encode(3, arguments[0]);
  troupe::encode(std::string("text"), arguments[1]);
  return flat(message.message());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return std::cerr << "usage: control_seeds DIR\n", 2;
  const std::filesystem::path folder = argv[1];
  std::filesystem::create_directories(folder);
  const auto write = [&](const char* name, fuzz::ControlPart part, const std::string& input) {
    std::ofstream{folder / name, std::ios::binary} << static_cast<char>(part) << input;
  };
  const auto write_talk = [&](const char* name, const Talk& talk) { write(name, fuzz::requests, talk.text()); };
  using Request = NurseryRequest::Builder;

  const std::string launch = a_launch("forkserver");
  write("launch", fuzz::launch, launch);
  write("launch_unknown_method", fuzz::launch, a_launch("conjure"));
  write("launch_cut_off", fuzz::launch, launch.substr(0, launch.size() / 2));
  write("launch_file", fuzz::launch_file, launch + "more");
  write("launch_file_empty", fuzz::launch_file, "");

  const auto start = [&](unsigned descriptors, bool spawn, bool inside) {
    return [=](Request request) {
      auto plan = request.initStart();
      plan.setDescriptors(descriptors);
      plan.setSpawn(spawn);
      if (spawn) plan.setExecutable("/bin/true");
      if (inside) plan.setLaunch(kj::StringPtr(launch.data(), launch.size()).asBytes());
      plan.setHasOutput(true);
      plan.setHasErrors(true);
    };
  };
  write_talk("start_fork", Talk{}.ask(1, 7, start(2, false, true)));
  write_talk("start_fork_by_file", Talk{}.ask(1, 8, start(2, false, false)));
  write_talk("start_spawn", Talk{}.ask(1, 8, start(2, true, false)));
  write_talk("start_spawn_with_launch", Talk{}.ask(1, 7, start(2, true, true)));
  write_talk("start_wrong_number", Talk{}.ask(1, 3, start(~0U, false, true)));
  write_talk("start_launch_not_whole", Talk{}.ask(1, 3, [](Request request) { request.initStart().initLaunch(5); }));

  const auto hold = [](std::uint64_t ticket) { return [=](Request request) { request.setHold(ticket); }; };
  const auto take_hold = [](std::uint64_t ticket) { return [=](Request request) { request.setTakeHold(ticket); }; };
  const auto let_go = [](std::uint64_t ticket) { return [=](Request request) { request.setLetGo(ticket); }; };
  const auto deposit = [](std::uint64_t ticket) { return [=](Request request) { request.setDeposit(ticket); }; };
  const auto withdraw = [](std::uint64_t ticket) { return [=](Request request) { request.setWithdraw(ticket); }; };
  const auto attach = [](std::uint64_t carrier, std::uint64_t ticket) {
    return [=](Request request) {
      request.initAttach().setCarrier(carrier);
      request.getAttach().setTicket(ticket);
    };
  };
  write_talk("store_hold", Talk{}.ask(1, 2, hold(5)).ask(2, 0, take_hold(5)).ask(1, 0, let_go(5)).end(2));
  write_talk("store_carried",
             Talk{}.ask(1, 1, hold(5)).ask(1, 1, deposit(6)).ask(1, 0, attach(5, 6)).end(1).ask(2, 0, withdraw(6)));
  write_talk("store_ring", Talk{}
                               .ask(1, 1, hold(5))
                               .ask(1, 1, hold(6))
                               .ask(1, 0, attach(5, 6))
                               .ask(1, 0, attach(6, 5))
                               .ask(1, 0, attach(6, 6))
                               .end(1)
                               .ask(2, 20, deposit(7)));
  write_talk("store_unknown", Talk{}
                                  .ask(1, 0, take_hold(5))
                                  .ask(1, 0, let_go(5))
                                  .ask(1, 0, withdraw(5))
                                  .ask(1, 0, attach(5, 6))
                                  .ask(1, 0, deposit(5))
                                  .ask(1, 0, hold(5)));
  write_talk("store_too_much", Talk{}.ask(1, 8, deposit(5)).ask(1, 8, deposit(6)).ask(1, 9, deposit(7)));

  write_talk("name", Talk{}
                         .name(1, "a name", NameNote::What::MAKING)
                         .name(2, "a name", NameNote::What::INHERITING)
                         .name(1, "a name", NameNote::What::CLOSING)
                         .name(2, "a name", NameNote::What::UNLINKING)
                         .end(1));
  write_talk("name_left", Talk{}.name(1, "/no/such/socket", NameNote::What::MAKING).end(1));
  write_talk("name_damaged", Talk{}
                                 .name(1, "", NameNote::What::MAKING)
                                 .name(1, "..", NameNote::What::OPENING)
                                 .name(1, "a/../b", NameNote::What::MAKING)
                                 .name(1, std::string(300, 'x').c_str(), NameNote::What::OPENING)
                                 .name(1, "x", static_cast<NameNote::What>(77))
                                 .end(1));
  write_talk("adopt", Talk{}.ask(1, 1, [](Request request) { request.setAdopt(); }));
  write_talk("preload", Talk{}.ask(1, 0, [](Request request) { request.initPreload().setOffset(0x1000); }));
  write_talk("no_message", Talk{}.add(1, 0, "no").add(1, 0, std::string(64, '\xff')));

  write("reply_pid", fuzz::reply, message<NurseryReply>([](auto reply) { reply.setPid(5); }));
  write("reply_pid_of_many", fuzz::reply, message<NurseryReply>([](auto reply) { reply.setPid(-1); }));
  write("reply_inode", fuzz::reply, message<NurseryReply>([](auto reply) { reply.setInode(~std::uint64_t{0}); }));
  write("reply_failure", fuzz::reply, message<NurseryReply>([](auto reply) {
          reply.initFailure().setErrno(EPERM);
          reply.getFailure().setStep("fork");
        }));
  write("exit_report", fuzz::exit_report, message<troupe::wire::ExitReport>([](auto report) {
          report.setPid(5);
          report.setExitcode(-9);
          report.setDumpedCore(true);
        }));
}
