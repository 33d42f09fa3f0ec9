// Named shared memory: what a name can be, and that it appears and goes as a whole.

#include <troupe/error.hpp>
#include <troupe/named_memory.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <string>
#include <unistd.h>
#include <utility>

namespace {

using namespace troupe;
using testing::HasSubstr;

std::string new_name() {
  static int count = 0;
  return "troupe_named_" + std::to_string(::getpid()) + "_" + std::to_string(++count);
}

TEST(NamedMemory, ChecksNames) {
  EXPECT_TRUE(is_memory_name("a"));
  EXPECT_TRUE(is_memory_name("..."));
  EXPECT_TRUE(is_memory_name(std::string(max_memory_name, 'a')));
  EXPECT_FALSE(is_memory_name(std::string(max_memory_name + 1, 'a')));
  for (const std::string& name : {std::string{}, std::string{"."}, std::string{".."}, std::string{"a/b"},
                                  std::string{"/a"}, std::string("a\0b", 3)}) {
    EXPECT_FALSE(is_memory_name(name));
    EXPECT_THROW(NamedMemory::create(name, 10), ValueError);
    EXPECT_THROW(NamedMemory::open(name), ValueError);
  }
}

TEST(NamedMemory, IsTheSameUnderItsName) {
  const std::string name = new_name();
  const NamedMemory memory = NamedMemory::create(name, 5000);
  EXPECT_EQ(memory.size_bytes(), 5000U);
  EXPECT_TRUE(std::all_of(memory.data(), memory.data() + 5000, [](std::byte b) { return b == std::byte{0}; }));
  memory.data()[4999] = std::byte{7};
  NamedMemory same = NamedMemory::open(name);
  EXPECT_EQ(same.size_bytes(), 5000U);
  EXPECT_EQ(same.data()[4999], std::byte{7});
  NamedMemory moved = std::move(same);
  EXPECT_FALSE(same.is_open());  // NOLINT(bugprone-use-after-move)
  EXPECT_TRUE(moved.is_open());
  moved.close();
  moved.close();
  EXPECT_FALSE(moved.is_open());
  memory.unlink();
  EXPECT_EQ(memory.data()[4999], std::byte{7}) << "what is open stays";
  EXPECT_THROW(memory.unlink(), OSError);
}

// A name that is taken stays with what it names.
TEST(NamedMemory, TakesNoNameAway) {
  const std::string name = new_name();
  const NamedMemory memory = NamedMemory::create(name, 10);
  memory.data()[0] = std::byte{1};
  try {
    NamedMemory::create(name, 20);
    ADD_FAILURE() << "the name is taken";
  } catch (const OSError& error) {
    EXPECT_EQ(error.errno_value(), EEXIST);
    EXPECT_THAT(error.what(), HasSubstr(name));
  }
  EXPECT_EQ(NamedMemory::open(name).data()[0], std::byte{1});
  memory.unlink();
}

TEST(NamedMemory, OpensOnlyWhatHasASize) {
  const std::string name = new_name();
  std::ofstream{memory_path(name)}.flush();
  EXPECT_THROW(NamedMemory::open(name), ValueError);
  std::filesystem::remove(memory_path(name));
  try {
    NamedMemory::open(name);
    ADD_FAILURE() << "there is no such name";
  } catch (const OSError& error) {
    EXPECT_EQ(error.errno_value(), ENOENT);
    EXPECT_THAT(error.what(), HasSubstr(name));
  }
}

// After an unlink the name may be used anew; who has the old block open keeps it, and takes nothing away at the end.
TEST(NamedMemory, GivesANameToAnotherBlock) {
  const std::string name = new_name();
  NamedMemory old_one = NamedMemory::create(name, 10);
  old_one.unlink();
  const NamedMemory new_one = NamedMemory::create(name, 10);
  old_one.data()[0] = std::byte{1};
  new_one.data()[0] = std::byte{2};
  old_one.close();
  EXPECT_EQ(NamedMemory::open(name).data()[0], std::byte{2});
  new_one.unlink();
}

}  // namespace
