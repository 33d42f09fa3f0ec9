// The messages between processes and the nursery, whole and damaged: an error comes out, never a wrong value.

#include "control_wire.hpp"

#include <troupe/error.hpp>

#include "nursery_child.hpp"
#include "self.hpp"

#include <capnp/message.h>
#include <gtest/gtest.h>
#include <kj/exception.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace troupe;

std::vector<std::byte> bytes_of(capnp::MessageBuilder& message) {
  const auto words = capnp::messageToFlatArray(message);
  const auto bytes = std::as_bytes(std::span{words.begin(), words.size()});
  return {bytes.begin(), bytes.end()};
}

Datagram datagram_of(std::span<const std::byte> bytes) {
  Datagram datagram;
  std::ranges::copy(bytes, datagram.bytes);
  datagram.size = bytes.size();
  return datagram;
}

std::vector<std::byte> request(const std::function<void(wire::NurseryRequest::Builder)>& fill) {
  capnp::MallocMessageBuilder message;
  fill(message.initRoot<wire::NurseryRequest>());
  return bytes_of(message);
}

std::vector<std::byte> start(const std::function<void(wire::Start::Builder)>& fill) {
  return request([&](auto out) { fill(out.initStart()); });
}

// As the nursery and its spare read it, with so many descriptors beside it.
bool fits(const std::vector<std::byte>& bytes, std::size_t num_descriptors) {
  const Datagram datagram = datagram_of(bytes);
  RequestReader reader{datagram};
  std::vector<FileDescriptor> received(num_descriptors);
  FileDescriptor status;
  ChildPlan plan;
  return plan.read(reader.request().getStart(), received, status);
}

NurseryAnswer reply(const std::function<void(wire::NurseryReply::Builder)>& fill) {
  capnp::MallocMessageBuilder message;
  fill(message.initRoot<wire::NurseryReply>());
  return read_reply(datagram_of(bytes_of(message)).bytes);
}

TEST(ControlWire, ReadsARequestWhateverFollowsItsLastWord) {
  auto bytes = request([](auto out) { out.setHold(77); });
  for (int i = 0; i < 9; ++i) {
    const Datagram datagram = datagram_of(bytes);
    EXPECT_EQ(RequestReader{datagram}.request().getHold(), 77U);
    bytes.push_back(std::byte{0xff});
  }
}

TEST(ControlWire, RefusesARequestThatIsCutOff) {
  const auto bytes = start([](auto out) { out.setExecutable("/bin/true"); });
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const Datagram datagram = datagram_of(std::span{bytes}.first(size));
    EXPECT_THROW(RequestReader{datagram}.request(), kj::Exception) << size;
  }
}

TEST(ControlWire, RefusesAKindOfRequestThatIsUnknown) {
  auto bytes = request([](auto out) { out.setHold(0); });
  const auto other = request([](auto out) { out.setLetGo(0); });
  *std::ranges::mismatch(bytes, other).in1 = std::byte{99};
  const Datagram datagram = datagram_of(bytes);
  EXPECT_THROW(RequestReader{datagram}.request(), CodecError);
}

TEST(ControlWire, RefusesATextWithoutItsEnd) {
  auto bytes = start([](auto out) { out.setExecutable("/bin/true"); });
  const std::string_view text = "/bin/true";
  const auto at = std::ranges::search(bytes, std::as_bytes(std::span{text}));
  ASSERT_FALSE(at.empty());
  *at.end() = std::byte{'x'};
  EXPECT_THROW(fits(bytes, 4), kj::Exception);
}

TEST(ControlWire, RefusesAStartThatDoesNotFitItsDescriptors) {
  const auto plain = start([](auto out) { out.setDescriptors(2); });
  for (std::size_t count = 0; count < 20; ++count) EXPECT_EQ(fits(plain, count), count == 6) << count;
  const auto absurd = start([](auto out) { out.setDescriptors(~0U); });
  for (std::size_t count = 0; count < 20; ++count) EXPECT_FALSE(fits(absurd, count)) << count;
}

// Where the Launch lies must be beyond doubt.
TEST(ControlWire, RefusesALaunchThatIsNotWholeOrNotForAProgram) {
  const auto with_launch = [](unsigned bytes, bool spawn) {
    return start([&](auto out) {
      out.initLaunch(bytes);
      out.setSpawn(spawn);
    });
  };
  EXPECT_TRUE(fits(with_launch(16, false), 3));
  EXPECT_FALSE(fits(with_launch(16, true), 3));
  for (const unsigned bytes : {1U, 7U, 9U}) EXPECT_FALSE(fits(with_launch(bytes, false), 3)) << bytes;
}

TEST(ControlWire, ReadsReplies) {
  EXPECT_EQ(reply([](auto out) { out.setPid(7); }).pid, 7);
  EXPECT_EQ(reply([](auto out) { out.setInode(7); }).inode, 7U);
  EXPECT_EQ(reply([](auto out) { out.setInode(7); }).pid, 0);
  try {
    reply([](auto out) {
      out.initFailure().setErrno(EPERM);
      out.getFailure().setStep("fork");
    });
    ADD_FAILURE() << "no error";
  } catch (const OSError& error) {
    EXPECT_EQ(error.errno_value(), EPERM);
    EXPECT_EQ(std::string(error.what()).find("fork"), 0U);
  }
}

// Who started it would send that a signal, which goes to every process of the user.
TEST(ControlWire, RefusesAPidThatNoProcessHas) {
  EXPECT_THROW(reply([](auto out) { out.setPid(-1); }), CodecError);
}

TEST(ControlWire, RefusesAnExitReportThatIsCutOff) {
  capnp::MallocMessageBuilder message;
  message.initRoot<wire::ExitReport>().setExitcode(-9);
  const Datagram whole = datagram_of(bytes_of(message));
  EXPECT_EQ(read_exit_report({whole.bytes, whole.size}).exitcode, -9);
  for (std::size_t size = 0; size < whole.size; ++size)
    EXPECT_THROW(read_exit_report({whole.bytes, size}), kj::Exception) << size;
}

TEST(ControlWire, RefusesALaunchByAMethodThatIsUnknown) {
  capnp::MallocMessageBuilder message;
  auto launch = message.initRoot<wire::Launch>();
  launch.setName("Process-1");
  launch.setStartMethod("spawn");
  EXPECT_EQ(identity_of(launch).name, "Process-1");
  launch.setStartMethod("conjure");
  EXPECT_THROW(identity_of(launch), ValueError);
}

}  // namespace
