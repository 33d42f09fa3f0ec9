#include <troupe/shared_memory_manager.hpp>

#include <troupe/error.hpp>

#include <utility>

namespace troupe {

SharedMemoryManager::~SharedMemoryManager() { shutdown(); }

void SharedMemoryManager::start() {
  const std::lock_guard lock{mutex_};
  if (state_ != State::initial) throw ValueError("a SharedMemoryManager can be started only once");
  state_ = State::started;
}

void SharedMemoryManager::shutdown() noexcept {
  const std::lock_guard lock{mutex_};
  state_ = State::shut_down;
  for (const SharedMemory& memory : std::exchange(made_, {})) {
    try {
      memory.unlink();
    } catch (const Error&) {
      // Somebody else has unlinked it.
    }
  }
}

void SharedMemoryManager::check_started() const {
  if (state_ != State::started)
    throw ValueError(state_ == State::initial ? "the SharedMemoryManager is not started: call start()"
                                              : "the SharedMemoryManager was shut down");
}

SharedMemory SharedMemoryManager::shared_memory(std::ptrdiff_t bytes) {
  const std::lock_guard lock{mutex_};
  check_started();
  made_.push_back(SharedMemory::create(bytes));
  return made_.back();
}

ShareableList SharedMemoryManager::shareable_list(std::span<const ShareableItem> items) {
  const std::lock_guard lock{mutex_};
  check_started();
  ShareableList list{items};
  made_.push_back(list.shm());
  return list;
}

}  // namespace troupe
