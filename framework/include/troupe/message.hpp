#pragma once

/// \file
/// What the codec needs to know about the memory that it builds messages in.

namespace troupe {

/// While one lives on this thread, segments that a message grows by need not be zeroed, because whoever builds
/// overwrites every byte. The codec sets it around the allocation of a packed list or a blob that it copies in whole;
/// a 64 MiB argument then costs one copy instead of a clearing and a copy.
/// Thread: the one that builds. Nests.
class UnzeroedAllocation {
 public:
  UnzeroedAllocation() noexcept { ++depth_; }
  ~UnzeroedAllocation() { --depth_; }
  UnzeroedAllocation(const UnzeroedAllocation&) = delete;
  UnzeroedAllocation& operator=(const UnzeroedAllocation&) = delete;

  /// Whether one lives on this thread.
  static bool active() noexcept { return depth_ > 0; }

 private:
  static inline thread_local int depth_ = 0;
};

}  // namespace troupe
