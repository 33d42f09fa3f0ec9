#pragma once

/// \file
/// Shared ownership with the count inside the object: one pointer wide, one allocation, needed where a million tasks
/// wait in a queue.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

namespace troupe {

/// Base of objects that are owned together. Thread: any, as far as the count goes.
class Shared {
 public:
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;

  void add_owner() const noexcept { owners_.fetch_add(1, std::memory_order_relaxed); }
  void remove_owner() const noexcept {
    if (owners_.fetch_sub(1, std::memory_order_acq_rel) == 1) destroy();
  }

 protected:
  Shared() = default;
  virtual ~Shared() = default;
  /// Runs when the last owner is gone; classes with their own allocation override it.
  virtual void destroy() const noexcept { delete this; }

 private:
  mutable std::atomic<std::uint32_t> owners_{1};
};

/// How Ref counts. A header that shows only the name of a class declares overloads for it beside that name, and defines
/// them where the class is complete.
template <class T>
void acquire_ref(T* object) noexcept {
  object->add_owner();
}
template <class T>
void release_ref(T* object) noexcept {
  object->remove_owner();
}

/// One owner of a Shared object, or nobody. Thread: caller; different Refs to one object may live on different threads.
template <class T>
class Ref {
 public:
  Ref() = default;
  Ref(std::nullptr_t) noexcept {}  // NOLINT(google-explicit-constructor): null is a Ref like any other
  Ref(const Ref& other) noexcept : object_(other.object_) {
    if (object_ != nullptr) acquire_ref(object_);
  }
  Ref(Ref&& other) noexcept : object_(other.release()) {}
  template <class U>
    requires std::is_convertible_v<U*, T*>
  Ref(Ref<U> other) noexcept : object_(other.release()) {}  // NOLINT(google-explicit-constructor): as pointers do
  Ref& operator=(Ref other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Ref() {
    if (object_ != nullptr) release_ref(object_);
  }

  /// Takes over one ownership that exists already, as after `new` or `release`.
  static Ref adopt(T* object) noexcept {
    Ref ref;
    ref.object_ = object;
    return ref;
  }
  /// Becomes one more owner of `object`.
  static Ref share(T* object) noexcept {
    if (object != nullptr) acquire_ref(object);
    return adopt(object);
  }
  /// Gives the ownership away; this Ref is empty afterwards.
  T* release() noexcept { return std::exchange(object_, nullptr); }

  T* get() const noexcept { return object_; }
  T* operator->() const noexcept { return object_; }
  T& operator*() const noexcept { return *object_; }
  explicit operator bool() const noexcept { return object_ != nullptr; }

 private:
  T* object_ = nullptr;
};

/// Makes a Shared object with its first owner.
template <class T, class... Args>
Ref<T> make_ref(Args&&... arguments) {
  return Ref<T>::adopt(new T(std::forward<Args>(arguments)...));
}

}  // namespace troupe
