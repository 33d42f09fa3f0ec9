#pragma once

/// \file
/// What each thread has one of, also while it ends.

#include <utility>

namespace troupe {

/// One T per thread, made on first use and destroyed with the thread. Destructors of static objects, which run when the
/// main thread's own are gone, may still use it: then it is made anew and stays. Thread: caller.
template <class T>
class ThreadStorage {
 public:
  static T& get() {
    if (object_ == nullptr) make();
    return *object_;
  }

 private:
  struct Owner {
    ~Owner() { delete std::exchange(object_, nullptr); }
  };

  static void make() {
    object_ = new T;
    thread_local const Owner owner;
    static_cast<void>(owner);
  }

  static inline constinit thread_local T* object_ = nullptr;
};

}  // namespace troupe
