// Whose item it is that was taken and is not done.

#include <troupe/file_descriptor.hpp>

#include "queue_leases.hpp"
#include "support/one_piece.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <unistd.h>

namespace {

using troupe::create_memory_file;
using troupe::FileDescriptor;
using troupe::detail::Lease;
using troupe::detail::process_key;
using troupe::detail::QueueLeases;

class LeasesOf : public testing::Test {
 protected:
  LeasesOf() { leases_.keep(1, message_); }

  /// Whether the item is free to be taken by another when this process has it.
  bool is_free_of(std::uint64_t owner) {
    Lease* lease = leases_.oldest_taken();
    const std::uint64_t before = lease->owner.exchange(owner);
    const bool is_free = leases_.find_orphan(1) == lease;
    lease->owner = before;
    return is_free;
  }

 private:
  FileDescriptor file_{create_memory_file("leases", QueueLeases::bytes)};
  QueueLeases leases_{file_.get(), 0};
  std::array<std::byte, 8> message_{};
};

constexpr std::uint64_t one_tick = std::uint64_t{1} << troupe::detail::pid_bits;

TEST_F(LeasesOf, ALivingProcessAreItsOwn) {
  EXPECT_FALSE(is_free_of(process_key(::getpid())));
  EXPECT_FALSE(is_free_of(process_key(::getppid())));
}

// A process that has the same number but began at another time is somebody else.
TEST_F(LeasesOf, AProcessWhosePidIsUsedAgainAreFree) {
  EXPECT_TRUE(is_free_of(process_key(::getppid()) - one_tick));
  EXPECT_TRUE(is_free_of(process_key(::getpid()) - one_tick));
}

TEST_F(LeasesOf, ADeadProcessAreFree) {
  constexpr std::uint64_t no_pid = one_tick - 1;
  EXPECT_TRUE(is_free_of(no_pid));
  EXPECT_TRUE(is_free_of(no_pid + one_tick));
}

// Without /proc the number has to do.
TEST_F(LeasesOf, AProcessOfUnknownStartAreItsOwn) {
  EXPECT_FALSE(is_free_of(static_cast<std::uint64_t>(::getppid())));
}

}  // namespace
