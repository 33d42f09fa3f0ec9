#pragma once

// What the tests of thread pools share.

#include <troupe/thread_pool.hpp>

#include "pools.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <future>
#include <memory>

namespace troupe::test {

/// Something that tasks wait for. Copies are the same.
class Gate {
 public:
  void open() const { promise_->set_value(); }
  /// Returns whether it was opened within half a minute.
  bool wait() const {
    const auto opened = opened_;  // `this` may go when it is open
    return opened.wait_for(std::chrono::seconds{30}) == std::future_status::ready;
  }

 private:
  std::shared_ptr<std::promise<void>> promise_ = std::make_shared<std::promise<void>>();
  std::shared_future<void> opened_ = promise_->get_future().share();
};

/// A pool whose end at the end of its scope is meant.
class ScopedPool : public ThreadPool {
 public:
  using ThreadPool::ThreadPool;
  ~ScopedPool() { terminate(); }
  ScopedPool(const ScopedPool&) = delete;
  ScopedPool& operator=(const ScopedPool&) = delete;
};

/// Has the workers of `pool` busy until `gate` opens.
inline void occupy(ThreadPool& pool, const Gate& gate) {
  const auto busy = std::make_shared<std::atomic<std::size_t>>(0);
  for (std::size_t i = 0; i < pool.num_workers(); ++i)
    pool.with({.priority = 1000}).apply_async([busy, gate] {
      ++*busy;
      gate.wait();
    });
  ASSERT_TRUE(comes_true([&] { return *busy == pool.num_workers(); }));
}

}  // namespace troupe::test
