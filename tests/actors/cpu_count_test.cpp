// How many workers a pool has by default: what affinity and control groups allow.

#include "../../actors/src/cpu_count.hpp"

#include <troupe/process_ref.hpp>

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sched.h>
#include <string>
#include <thread>

namespace {

using troupe::cpu_count;
using troupe::detail::cgroup_cpu_limit;

TEST(CpuCount, FollowsTheAffinityOfTheThread) {
  EXPECT_GE(cpu_count(), 1);
  int pinned = 0;
  std::thread{[&] {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<std::size_t>(::sched_getcpu()), &one);
    ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
    pinned = cpu_count();
  }}.join();
  EXPECT_EQ(pinned, 1);
}

class CgroupLimit : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = "/tmp/troupe-cgroup-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root = name;
    std::filesystem::create_directories(root / "outer" / "inner");
  }
  void TearDown() override { std::filesystem::remove_all(root); }
  void limit(const std::filesystem::path& group, const std::string& text) {
    std::ofstream{root / group / "cpu.max"} << text;
  }

  std::filesystem::path root;
};

TEST_F(CgroupLimit, IsTheQuotaByItsPeriodRoundedUp) {
  limit("outer/inner", "150000 100000\n");
  EXPECT_EQ(cgroup_cpu_limit("0::/outer/inner\n", root), 2);
  limit("outer/inner", "400000 100000\n");
  EXPECT_EQ(cgroup_cpu_limit("0::/outer/inner\n", root), 4);
}

TEST_F(CgroupLimit, IsTheLeastOfAllGroupsAround) {
  limit("outer", "100000 100000\n");
  limit("outer/inner", "max 100000\n");
  EXPECT_EQ(cgroup_cpu_limit("0::/outer/inner\n", root), 1);
  EXPECT_EQ(cgroup_cpu_limit("12:cpuset:/\n0::/outer\n", root), 1);
}

TEST_F(CgroupLimit, IsNoneWithoutQuota) {
  EXPECT_EQ(cgroup_cpu_limit("0::/outer/inner\n", root), std::nullopt);
  limit("outer/inner", "max 100000\n");
  EXPECT_EQ(cgroup_cpu_limit("0::/outer/inner\n", root), std::nullopt);
  EXPECT_EQ(cgroup_cpu_limit("3:cpu:/somewhere\n", root), std::nullopt);
  EXPECT_EQ(cgroup_cpu_limit("", root), std::nullopt);
}

}  // namespace
