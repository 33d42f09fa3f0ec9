#pragma once

/// \file
/// Waiting for the first of several things, like multiprocessing.connection.wait: connections, queues, processes,
/// descriptors.
///
///     for (auto& ready : troupe::wait({connection, queue, process, listener}, 5s))
///       if (ready == connection) handle(connection.recv<int>());
///     for (auto* ready : troupe::wait(connections)) handle(ready->recv<int>());     // a range of one type

#include <troupe/bell.hpp>
#include <troupe/file_descriptor.hpp>
#include <troupe/process_ref.hpp>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <ranges>
#include <span>
#include <type_traits>
#include <vector>

namespace troupe {

/// Has a descriptor that is readable while there is something.
template <class T>
concept HasFileno = requires(T& object) {
  { object.fileno() } -> std::convertible_to<int>;
};

/// Can be waited for without a system call while messages come fast, as a Connection.
template <class T>
concept HasWaitHooks = requires(T& object) {
  { object.has_data() } -> std::same_as<bool>;  // as far as it can tell at once
  { object.begin_wait() } -> std::same_as<int>;  // a descriptor that becomes readable, from now on until ...
  object.end_wait(0);                            // ... this, with that descriptor; negative: has_data was true
  { object.poll() } -> std::same_as<bool>;       // for certain
};

/// Has a part that can be waited for so, as a Queue.
template <class T>
concept HasWaitSource = requires(T& object) {
  requires HasWaitHooks<std::remove_reference_t<decltype(object.wait_source())>>;
};

/// Something to wait for; borrowed.
class Waitable {
 public:
  /// A descriptor: ready when it is readable, or at its end.
  Waitable(int descriptor) noexcept : descriptor_(descriptor) {}
  Waitable(const FileDescriptor& descriptor) noexcept
      : object_(&descriptor), descriptor_(descriptor.get()) {}
  /// A process: ready when it has ended. Errors: those of ProcessRef::sentinel.
  Waitable(const ProcessRef& process) : object_(&process), descriptor_(process.sentinel()) {}
  template <HasWaitHooks T>
  Waitable(T& object) noexcept : object_(&object), source_(&object), hooks_(&hooks_of<T>) {}
  template <HasWaitSource T>
  Waitable(T& object) noexcept
      : object_(&object),
        source_(&object.wait_source()),
        hooks_(&hooks_of<std::remove_reference_t<decltype(object.wait_source())>>) {}
  template <HasFileno T>
    requires(!HasWaitHooks<T>)
  Waitable(T& object) : object_(&object), descriptor_(object.fileno()) {}

  /// Whether both are the same object, or the same number.
  friend bool operator==(const Waitable& a, const Waitable& b) noexcept {
    return a.object_ == b.object_ && (a.object_ != nullptr || a.descriptor_ == b.descriptor_);
  }

 private:
  friend class WaitSet;
  struct Hooks {
    bool (*has_data)(void*);
    int (*begin_wait)(void*);
    void (*end_wait)(void*, int);
    bool (*poll)(void*);
  };
  template <class T>
  static constexpr Hooks hooks_of{[](void* it) { return static_cast<T*>(it)->has_data(); },
                                  [](void* it) { return static_cast<T*>(it)->begin_wait(); },
                                  [](void* it, int descriptor) { static_cast<T*>(it)->end_wait(descriptor); },
                                  [](void* it) { return static_cast<T*>(it)->poll(); }};
  void* source() const noexcept { return const_cast<void*>(source_); }

  const void* object_ = nullptr;
  const void* source_ = nullptr;  // of the hooks
  int descriptor_ = -1;
  const Hooks* hooks_ = nullptr;
};

/// Waits until at least one of `objects` is ready: something can be received, or the other side is closed; a queue has
/// an item, which it keeps, so another process may be faster to get it; a process has ended. Gives the places of all
/// that are. Blocks: until then or `deadline`, and then there are none; not at all when there are no objects.
/// Thread: caller, of all the objects; a queue's any. Errors: OSError for what is closed.
std::vector<std::size_t> wait_until(std::span<const Waitable> objects, Deadline deadline);

/// The same; gives the objects. Without a timeout it waits for ever, a negative timeout acts as zero.
std::vector<Waitable> wait(std::span<const Waitable> objects);
inline std::vector<Waitable> wait(std::initializer_list<Waitable> objects) { return wait(std::span(objects)); }
template <class Rep, class Period>
std::vector<Waitable> wait(std::span<const Waitable> objects, std::chrono::duration<Rep, Period> timeout) {
  std::vector<Waitable> ready;
  for (const std::size_t place : wait_until(objects, deadline_after(timeout))) ready.push_back(objects[place]);
  return ready;
}
template <class Rep, class Period>
std::vector<Waitable> wait(std::initializer_list<Waitable> objects, std::chrono::duration<Rep, Period> timeout) {
  return wait(std::span(objects), timeout);
}

namespace detail {

/// A range of things that can be waited for, or of pointers to such.
template <class Range>
concept WaitRange = std::ranges::forward_range<Range> &&
                    !std::same_as<std::remove_cvref_t<std::ranges::range_value_t<Range>>, Waitable> &&
                    (std::constructible_from<Waitable, std::ranges::range_reference_t<Range>> ||
                     requires(std::ranges::range_reference_t<Range> item) { Waitable(*item); });

template <class Item>
auto* address_of(Item& item) {
  if constexpr (std::constructible_from<Waitable, Item&>) {
    return std::addressof(item);
  } else {
    return std::addressof(*item);
  }
}

template <WaitRange Range>
auto wait_for_range(Range& range, Deadline deadline) {
  using Pointer = decltype(address_of(*std::ranges::begin(range)));
  std::vector<Pointer> pointers;
  for (auto& item : range) pointers.push_back(address_of(item));
  std::vector<Waitable> objects;
  for (const Pointer pointer : pointers) objects.emplace_back(*pointer);
  std::vector<Pointer> ready;
  for (const std::size_t place : wait_until(objects, deadline)) ready.push_back(pointers[place]);
  return ready;
}

}  // namespace detail

/// The same for a range of objects of one type, or of pointers to them; gives pointers to those that are ready.
template <detail::WaitRange Range>
auto wait(Range&& range) {
  return detail::wait_for_range(range, no_deadline);
}
template <detail::WaitRange Range, class Rep, class Period>
auto wait(Range&& range, std::chrono::duration<Rep, Period> timeout) {
  return detail::wait_for_range(range, deadline_after(timeout));
}

}  // namespace troupe
