#include <troupe/shared_memory.hpp>

#include <troupe/codec.hpp>
#include <troupe/error.hpp>
#include <troupe/named_memory.hpp>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <mutex>
#include <sys/random.h>
#include <utility>

namespace troupe {

struct SharedMemory::State {
  explicit State(NamedMemory its_memory)
      : memory(std::move(its_memory)), name(memory.name()), size(memory.size_bytes()), data(memory.data()) {}

  std::mutex mutex;
  NamedMemory memory;  // guarded
  const std::string name;
  const std::size_t size;
  std::atomic<std::byte*> data;  // null when it is closed
};

namespace {

constexpr const char* named_kind = "named_memory";

void check_size(std::ptrdiff_t bytes) {
  if (bytes <= 0)
    throw ValueError("shared memory cannot have " + std::to_string(bytes) + " bytes: give it a positive size");
}

// shm_open(3) wants a slash in front, and multiprocessing allows one.
std::string plain_name(std::string_view name) {
  if (name.starts_with('/')) name.remove_prefix(1);
  return std::string(name);
}

std::string random_name() {
  std::array<unsigned char, 4> random{};
  if (::getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size()))
    throw OSError(errno, "drawing a name for shared memory");
  std::string name = "psm_";
  for (const unsigned char byte : random) {
    name += "0123456789abcdef"[byte >> 4U];
    name += "0123456789abcdef"[byte & 15U];
  }
  return name;
}

}  // namespace

SharedMemory detail::create_unnamed(std::ptrdiff_t bytes, const std::function<std::string()>& make_name) {
  for (;;) {
    try {
      return SharedMemory::create(bytes, make_name());
    } catch (const OSError& error) {
      if (error.errno_value() != EEXIST) throw;
    }
  }
}

SharedMemory SharedMemory::create(std::ptrdiff_t bytes, std::string_view name) {
  check_size(bytes);
  if (name.empty()) return detail::create_unnamed(bytes, random_name);
  return SharedMemory{std::make_shared<State>(NamedMemory::create(plain_name(name), static_cast<std::size_t>(bytes)))};
}

SharedMemory SharedMemory::attach(std::string_view name) {
  return SharedMemory{std::make_shared<State>(NamedMemory::open(plain_name(name)))};
}

SharedMemory SharedMemory::open_or_create(std::string_view name, std::ptrdiff_t bytes) {
  for (;;) {
    try {
      return attach(name);
    } catch (const OSError& error) {
      if (error.errno_value() != ENOENT) throw;
    }
    check_size(bytes);
    try {
      return create(bytes, name);
    } catch (const OSError& error) {
      if (error.errno_value() != EEXIST) throw;
    }
  }
}

const std::string& SharedMemory::name() const { return state_->name; }

std::size_t SharedMemory::size() const { return state_->size; }

std::span<std::byte> SharedMemory::buf() const {
  std::byte* data = state_->data;
  return data == nullptr ? std::span<std::byte>{} : std::span{data, state_->size};
}

void SharedMemory::close() const {
  const std::lock_guard lock{state_->mutex};
  state_->data = nullptr;
  state_->memory.close();
}

void SharedMemory::unlink() const {
  const std::lock_guard lock{state_->mutex};
  state_->memory.unlink();
}

std::string SharedMemory::to_string() const {
  return "SharedMemory('" + state_->name + "', size=" + std::to_string(state_->size) + ")";
}

void Codec<SharedMemory>::encode(const SharedMemory& memory, wire::Value::Builder out) {
  auto handle = out.initHandle();
  handle.setKind(named_kind);
  handle.initAddress(1)[0].setText(memory.name());
}

SharedMemory Codec<SharedMemory>::decode(wire::Value::Reader in) {
  if (!in.isHandle() || in.getHandle().getKind() != named_kind || in.getHandle().getAddress().size() != 1)
    detail::fail_shape("named shared memory", in);
  return SharedMemory::attach(troupe::decode<std::string>(in.getHandle().getAddress()[0]));
}

}  // namespace troupe
