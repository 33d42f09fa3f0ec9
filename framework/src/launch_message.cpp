#include <troupe/error.hpp>
#include <troupe/launch.hpp>

#include <cerrno>
#include <sys/stat.h>

namespace troupe {

namespace {

// Every word may be read eight times; the sender is our own parent.
capnp::ReaderOptions reader_limits(std::size_t bytes) {
  capnp::ReaderOptions limits;
  limits.traversalLimitInWords = bytes;
  limits.nestingLimit = wire_nesting_limit;
  return limits;
}

}  // namespace

LaunchMessage::LaunchMessage(CodeRef entry) {
  auto launch = message_.initRoot<wire::Launch>();
  launch.setThunk(entry.offset);
  launch.setModule(entry.module);
}

std::size_t LaunchMessage::add_descriptor(int number) {
  descriptors_.push_back(number);
  return descriptors_.size() - 1;
}

ChildContext::ChildContext(std::vector<FileDescriptor> descriptors, std::unique_ptr<Payload> payload)
    : descriptors_(std::move(descriptors)), payload_(std::move(payload)) {}

ChildContext::~ChildContext() = default;

ChildContext::Payload::Payload(FileDescriptor file) {
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) throw OSError(errno, "reading what this process was started with");
  const auto bytes = static_cast<std::size_t>(status.st_size);
  memory_ = Mapping(file.get(), 0, bytes, Mapping::Access::read_only, "what this process was started with");
  reader_.emplace(kj::arrayPtr(reinterpret_cast<const capnp::word*>(memory_.data()), bytes / sizeof(capnp::word)),
                  reader_limits(bytes));
}

ChildContext::Payload::Payload(kj::Array<capnp::word> words) : words_(std::move(words)) {
  reader_.emplace(words_, reader_limits(words_.asBytes().size()));
}

wire::Launch::Reader ChildContext::Payload::launch() const {
  if (reader_) return reader_->getRoot<wire::Launch>();
  return message_->launch().asReader();
}

}  // namespace troupe
