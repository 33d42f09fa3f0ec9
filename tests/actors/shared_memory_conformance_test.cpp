// The cases of CPython's _TestSharedMemory under their names. What each pins down is restated in one line.

#include <troupe/context.hpp>
#include <troupe/error.hpp>
#include <troupe/process.hpp>
#include <troupe/runtime.hpp>
#include <troupe/shareable_list.hpp>
#include <troupe/shared_memory.hpp>
#include <troupe/shared_memory_manager.hpp>

#include "framework/codec_fixture.hpp"
#include "support/errors.hpp"
#include "support/pools.hpp"
#include "support/processes.hpp"
#include "support/start_methods.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <limits>
#include <string>
#include <string_view>
#include <unistd.h>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace troupe;
using namespace troupe::test;
using testing::HasSubstr;

std::string new_name(const std::string& purpose) {
  static int count = 0;
  return "troupe_test_" + purpose + "_" + std::to_string(::getpid()) + "_" + std::to_string(++count);
}

bool is_named(const std::string& name) { return std::filesystem::exists("/dev/shm/" + name); }

void write_text(const SharedMemory& memory, std::string_view text) {
  std::ranges::copy(std::as_bytes(std::span{text}), memory.buf().begin());
}

std::string read_text(const SharedMemory& memory, std::size_t size) {
  return {reinterpret_cast<const char*>(memory.buf().data()), size};
}

class TestSharedMemory : public EveryMethod {};

// Names, sizes, the memory itself, and what cannot be.
TEST_P(TestSharedMemory, test_shared_memory_basics) {
  const std::string name = new_name("basics");
  const auto memory = SharedMemory::create(512, name);
  EXPECT_EQ(memory.name(), name);
  EXPECT_GE(memory.size(), 512U);
  EXPECT_GE(memory.buf().size(), 512U);
  EXPECT_THAT(memory.to_string(), HasSubstr(name));
  EXPECT_THAT(memory.to_string(), HasSubstr(std::to_string(memory.size())));

  memory.buf()[0] = std::byte{42};
  const auto same = SharedMemory::attach(name);
  EXPECT_EQ(same.buf()[0], std::byte{42});
  EXPECT_EQ(same.size(), memory.size());
  same.buf()[1] = std::byte{7};
  EXPECT_EQ(memory.buf()[1], std::byte{7});
  same.close();
  same.close();
  EXPECT_TRUE(same.buf().empty());

  EXPECT_THROW(SharedMemory::create(-2, new_name("negative")), ValueError);
  EXPECT_THROW(SharedMemory::attach(""), ValueError);
  EXPECT_EQ(errno_of([&] { SharedMemory::create(512, name); }), EEXIST);
  const auto again = SharedMemory::open_or_create(name, 10'000);
  EXPECT_EQ(again.size(), memory.size());
  EXPECT_EQ(again.buf()[0], std::byte{42});
  again.close();
  EXPECT_EQ(errno_of([&] { SharedMemory::attach(new_name("unknown")); }), ENOENT);

  memory.close();
  memory.unlink();
  EXPECT_EQ(errno_of([&] { memory.unlink(); }), ENOENT);
  EXPECT_EQ(errno_of([&] { SharedMemory::attach(name); }), ENOENT);
}

// A made-up name that is taken is no error: another one is tried.
TEST_P(TestSharedMemory, test_shared_memory_recreate) {
  const std::vector<std::string> names{new_name("recreate"), new_name("recreate")};
  const auto first = SharedMemory::create(1, names[0]);
  std::size_t asked = 0;
  const auto second = detail::create_unnamed(1, [&] { return names.at(asked++); });
  EXPECT_EQ(second.name(), names[1]);
  EXPECT_EQ(asked, 2U);
  const auto unnamed = SharedMemory::create(1);
  EXPECT_NE(unnamed.name(), SharedMemory(second).name());
  for (const auto* memory : {&first, &second, &unnamed}) memory->unlink();
}

// The size has to be positive.
TEST_P(TestSharedMemory, test_invalid_shared_memory_cration) {
  EXPECT_THROW(SharedMemory::create(-1), ValueError);
  EXPECT_THROW(SharedMemory::create(0), ValueError);
  EXPECT_THROW(SharedMemory::open_or_create(new_name("size"), 0), ValueError);
}

// What was sent opens the same block.
TEST_P(TestSharedMemory, test_shared_memory_pickle_unpickle) {
  const auto memory = SharedMemory::create(512);
  write_text(memory, "pickle");
  const auto same = Sent{memory}.as<SharedMemory>();
  EXPECT_EQ(same.name(), memory.name());
  EXPECT_EQ(read_text(same, 6), "pickle");
  write_text(same, "unpick");
  EXPECT_EQ(read_text(memory, 6), "unpick");
  memory.unlink();
}

// A name travels, not the data.
TEST_P(TestSharedMemory, test_shared_memory_pickle_unpickle_dead_object) {
  const auto memory = SharedMemory::create(512);
  Sent sent{memory};
  memory.close();
  memory.unlink();
  EXPECT_EQ(errno_of([&] { sent.as<SharedMemory>(); }), ENOENT);
}

// By name and as an argument.
TEST_P(TestSharedMemory, test_shared_memory_across_processes) {
  const auto memory = SharedMemory::create(512);
  Process by_name{[](const std::string& name) {
                    const auto same = SharedMemory::attach(name);
                    write_text(same, "howdy");
                    same.close();
                  },
                  memory.name()};
  by_name.start();
  by_name.join();
  EXPECT_EQ(by_name.exitcode(), 0);
  EXPECT_EQ(read_text(memory, 5), "howdy");
  Process by_argument{[](const SharedMemory& same) {
                        write_text(same, "HELLO");
                        same.close();
                      },
                      memory};
  by_argument.start();
  by_argument.join();
  EXPECT_EQ(by_argument.exitcode(), 0);
  EXPECT_EQ(read_text(memory, 5), "HELLO");
  memory.close();
  memory.unlink();
}

// What a manager has made goes with it.
TEST_P(TestSharedMemory, test_shared_memory_SharedMemoryManager_basics) {
  std::vector<std::string> names;
  const auto fill = [&names](SharedMemoryManager& manager) {
    for (int i = 0; i < 5; ++i) {
      std::vector<ShareableItem> items(static_cast<std::size_t>(5 + i));
      const auto list = manager.shareable_list(items);
      EXPECT_EQ(list.size(), items.size());
      names.push_back(list.shm().name());
      names.push_back(manager.shared_memory(32 + 20 * i).name());
    }
    for (const auto& name : names) EXPECT_NO_THROW(SharedMemory::attach(name).close());
  };
  const auto expect_gone = [&names] {
    for (const auto& name : names) EXPECT_EQ(errno_of([&] { SharedMemory::attach(name); }), ENOENT);
    names.clear();
  };
  SharedMemoryManager manager;
  EXPECT_THROW(manager.shared_memory(10), ValueError);
  EXPECT_THROW(manager.shareable_list({1}), ValueError);
  manager.start();
  fill(manager);
  manager.shutdown();
  expect_gone();
  EXPECT_THROW(manager.shared_memory(10), ValueError);
  {
    SharedMemoryManager scoped;
    scoped.start();
    fill(scoped);
  }
  expect_gone();
}

ShareableItem::Bytes bytes(std::string_view text) {
  const auto all = std::as_bytes(std::span{text});
  return {all.begin(), all.end()};
}

// Items of all types, slots, and what does not fit.
TEST_P(TestSharedMemory, test_shared_memory_ShareableList_basics) {
  const ShareableList list{"howdy", bytes("HoWdY"), -273.154, 100, nullptr, true, 42};
  EXPECT_EQ(list.size(), 7U);
  EXPECT_EQ(list[0].as<std::string>(), "howdy");
  EXPECT_EQ(list[1].as<ShareableItem::Bytes>(), bytes("HoWdY"));
  EXPECT_EQ(list[2].as<double>(), -273.154);
  EXPECT_TRUE(list[4].is_none());
  EXPECT_TRUE(list[5].as<bool>());
  EXPECT_THROW(list[0].as<int>(), TypeError);
  EXPECT_EQ(ShareableItem{std::numeric_limits<std::int64_t>::min()}.as<std::int64_t>(),
            std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(ShareableItem{std::uint8_t{255}}.as<std::uint64_t>(), 255U);
  EXPECT_THROW(ShareableItem{std::numeric_limits<std::uint64_t>::max()}, ValueError);
  EXPECT_THROW(ShareableItem{-1}.as<std::uint64_t>(), ValueError);
  EXPECT_THROW(ShareableItem{300}.as<std::int8_t>(), ValueError);
  EXPECT_THROW(list.get(7), IndexError);
  EXPECT_THROW(list.set(7, 2), IndexError);
  EXPECT_EQ(list[-2], true);
  EXPECT_THROW(list.index("missing"), ValueError);
  EXPECT_EQ(list.index(100), 3U);

  list.set(4, "without");
  EXPECT_EQ(list[4], "without") << "7 bytes fit the slot of none";
  list.set(3, 42);
  EXPECT_EQ(list[3].as<int>(), 42);
  EXPECT_EQ(list.count(42), 2U);
  list.set(3, "4 bytes?");
  EXPECT_EQ(list[3], "4 bytes?");

  // "howdy" has a slot of 8 bytes, the three times two-byte letters count double
  list.set(0, "b\xc3\xa4\xc3\xb6\xc3\xbc.");
  EXPECT_EQ(list[0], "b\xc3\xa4\xc3\xb6\xc3\xbc.");
  try {
    list.set(0, "ab\xc3\xa4\xc3\xb6\xc3\xbc.");
    ADD_FAILURE() << "nine bytes";
  } catch (const ValueError& error) {
    EXPECT_THAT(error.what(), HasSubstr("exceeds available storage"));
  }
  EXPECT_THROW(list.set(1, bytes("123456789")), ValueError);
  EXPECT_EQ(list[0], "b\xc3\xa4\xc3\xb6\xc3\xbc.");
  EXPECT_EQ(list[1], bytes("HoWdY")) << "the neighbour is as it was";
  list.set(1, bytes(std::string_view{"ab\0c\0\0", 6}));
  EXPECT_EQ(list[1], bytes(std::string_view{"ab\0c", 4})) << "NUL bytes at the end are lost";

  const std::string name = new_name("copy");
  const auto copy = ShareableList::copy_of(list, name);
  EXPECT_EQ(copy.shm().name(), name);
  EXPECT_EQ(copy.items(), list.items());
  copy.set(-1, 7);
  EXPECT_EQ(list[-1], 42);
  const auto same = ShareableList::attach(name);
  same.set(-1, 8);
  EXPECT_EQ(copy[-1], 8);
  EXPECT_THAT(copy.to_string(), HasSubstr("True, 8], name='" + name + "')"));
  copy.shm().close();
  EXPECT_THROW(copy.get(0), ValueError);
  same.shm().unlink();
  list.shm().unlink();

  const ShareableList empty{};
  EXPECT_EQ(empty.size(), 0U);
  EXPECT_EQ(empty.count(4), 0U);
  EXPECT_THROW(empty.index(4), ValueError);
  EXPECT_THROW(empty.get(0), IndexError);
  empty.shm().unlink();

  const auto no_list = SharedMemory::create(100);
  EXPECT_THROW(ShareableList::attach(no_list.name()), ValueError);
  no_list.unlink();
}

// A list travels as its name.
TEST_P(TestSharedMemory, test_shared_memory_ShareableList_pickling) {
  const ShareableList list{1, 2, 3};
  Process process{[](const ShareableList& same) { same.set(0, same[1].as<int>() + same[2].as<int>()); }, list};
  process.start();
  process.join();
  EXPECT_EQ(process.exitcode(), 0);
  EXPECT_EQ(list[0], 5);
  list.shm().unlink();
}

TEST_P(TestSharedMemory, test_shared_memory_ShareableList_pickling_dead_object) {
  const ShareableList list{1, 2, 3};
  Sent sent{list};
  list.shm().close();
  list.shm().unlink();
  EXPECT_EQ(errno_of([&] { sent.as<ShareableList>(); }), ENOENT);
}

[[maybe_unused]] const bool holder = add_role("hold_memory", [](int argc, char** argv, const std::string& words) {
  const Runtime runtime{argc, argv};
  const auto space = words.find(' ');
  set_start_method(words.substr(0, space));
  Process process{[](const std::string& name) {
                    const auto memory = SharedMemory::create(10, name);
                    std::cout << "made" << std::endl;
                    ::pause();
                  },
                  words.substr(space + 1)};
  process.start();
  process.join();
  return 0;
});

// A program is killed and a process of it has a block: the block goes, and somebody is told.
TEST_P(TestSharedMemory, test_shared_memory_cleaned_after_process_termination) {
  const std::string name = new_name("killed");
  Program program{"hold_memory", std::string(to_string(GetParam())) + " " + name};
  ASSERT_EQ(program.read_line(), "made");
  EXPECT_TRUE(is_named(name));
  ::kill(program.pid(), SIGTERM);
  EXPECT_EQ(program.wait(), -SIGTERM);
  EXPECT_TRUE(comes_true([&] { return !is_named(name); }));
  EXPECT_TRUE(comes_true([&] { return !program.errors().empty(); }));
  EXPECT_THAT(program.errors(), HasSubstr("1 leaked shared_memory objects"));
  EXPECT_THAT(program.errors(), HasSubstr(name));
}

INSTANTIATE_TEST_SUITE_P(Methods, TestSharedMemory, every_start_method, name_of_method);

// --- What no case of CPython pins down ---

std::string output_of(const std::string& program) {
  std::string text;
  FILE* pipe = ::popen(("/usr/bin/python3 -c '" + program + "' 2>&1").c_str(), "r");
  for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) text += static_cast<char>(c);
  ::pclose(pipe);
  return text;
}

// Python's multiprocessing opens our blocks, and we open those of Python.
TEST(SharedMemory, IsOpenedByPython) {
  if (output_of("import multiprocessing.shared_memory") != "") GTEST_SKIP() << "there is no Python 3.8";
  const auto memory = SharedMemory::create(100);
  write_text(memory, "from C++");
  const std::string attach =
      "from multiprocessing import shared_memory, resource_tracker\n"
      "m = shared_memory.SharedMemory(name=\"" +
      memory.name() +
      "\")\n"
      "resource_tracker.unregister(m._name, \"shared_memory\")\n"  // else Python removes what it only opened
      "print(m.size, bytes(m.buf[:8]).decode(), end=\"\")\n"
      "m.buf[:4] = b\"back\"\n"
      "m.close()\n";
  EXPECT_EQ(output_of(attach), "100 from C++");
  EXPECT_EQ(read_text(memory, 8), "back C++");
  memory.unlink();

  const std::string name = new_name("python");
  const std::string make =
      "from multiprocessing import shared_memory, resource_tracker\n"
      "m = shared_memory.SharedMemory(name=\"" +
      name +
      "\", create=True, size=64)\n"
      "resource_tracker.unregister(m._name, \"shared_memory\")\n"
      "m.buf[:5] = b\"snake\"\n"
      "m.close()\n";
  EXPECT_EQ(output_of(make), "");
  const auto theirs = SharedMemory::attach(name);
  EXPECT_EQ(read_text(theirs, 5), "snake");
  theirs.unlink();
}

}  // namespace
