#include <troupe/codec_descriptor.hpp>
#include <troupe/error.hpp>
#include <troupe/launch.hpp>
#include <troupe/store.hpp>

#include <string>

namespace troupe {

namespace {

constexpr const char* descriptor_kind = "descriptor";

// Who brings the descriptors. On the wire: a list of this number and the place of the first, or the ticket.
enum class Carrier : std::uint64_t { launch = 0, message = 1, store = 2 };

std::vector<FileDescriptor> take(std::vector<FileDescriptor>& from, std::uint64_t first, std::size_t count) {
  if (first > from.size() || count > from.size() - first)
    throw CodecError("file descriptor " + std::to_string(first) + " did not come along");
  std::vector<FileDescriptor> taken;
  for (std::size_t i = 0; i < count; ++i) {
    if (!from[first + i]) throw CodecError("file descriptor " + std::to_string(first + i) + " was taken before");
    taken.push_back(std::move(from[first + i]));
  }
  return taken;
}

}  // namespace

std::size_t OutgoingDescriptors::add(std::span<const int> numbers) {
  const std::size_t first = numbers_.size();
  numbers_.insert(numbers_.end(), numbers.begin(), numbers.end());
  return first;
}

void encode_descriptors(std::span<const int> numbers, wire::Value::Builder out) {
  const auto tell = [&](Carrier carrier, std::uint64_t place) {
    auto list = out.initUint64s(2);
    list.set(0, static_cast<std::uint64_t>(carrier));
    list.set(1, place);
  };
  if (OutgoingDescriptors* message = OutgoingDescriptors::current())
    return tell(Carrier::message, message->add(numbers));
  LaunchMessage* launch = LaunchMessage::Scope::current();
  if (launch == nullptr) return tell(Carrier::store, store::deposit(numbers));
  const std::size_t first = launch->descriptors().size();
  for (const int number : numbers) launch->add_descriptor(number);
  tell(Carrier::launch, first);
}

std::vector<FileDescriptor> decode_descriptors(wire::Value::Reader in, std::size_t count) {
  if (!in.isUint64s() || in.getUint64s().size() != 2) throw CodecError("expected file descriptors that came along");
  const std::uint64_t place = in.getUint64s()[1];
  switch (static_cast<Carrier>(in.getUint64s()[0])) {
    case Carrier::launch:
      if (ChildContext* context = ArgumentScope::current()) return take(context->descriptors(), place, count);
      throw CodecError("expected file descriptors that were handed to this process at its start");
    case Carrier::message:
      if (IncomingDescriptors* message = IncomingDescriptors::current())
        return take(message->descriptors(), place, count);
      throw CodecError("expected file descriptors that came with a message");
    case Carrier::store: {
      auto descriptors = store::withdraw(place);
      if (descriptors.size() == count) return descriptors;
      break;
    }
  }
  throw CodecError("expected " + std::to_string(count) + " file descriptors that came along");
}

void Codec<FileDescriptor>::encode(const FileDescriptor& descriptor, wire::Value::Builder out) {
  if (!descriptor) throw ValueError("a file descriptor that is to be passed on is empty");
  auto handle = out.initHandle();
  handle.setKind(descriptor_kind);
  const int number = descriptor.get();
  encode_descriptors({&number, 1}, handle.initAddress(1)[0]);
}

FileDescriptor Codec<FileDescriptor>::decode(wire::Value::Reader in) {
  if (!in.isHandle() || in.getHandle().getKind() != descriptor_kind || in.getHandle().getAddress().size() != 1)
    detail::fail_shape("a file descriptor", in);
  return std::move(decode_descriptors(in.getHandle().getAddress()[0], 1).front());
}

}  // namespace troupe
