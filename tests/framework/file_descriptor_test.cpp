#include <troupe/error.hpp>
#include <troupe/file_descriptor.hpp>

#include "../support/forked.hpp"

#include <gmock/gmock.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

namespace troupe {
namespace {

using test::Forked;
using testing::AllOf;
using testing::HasSubstr;

constexpr std::size_t page_bytes = 4096;

bool is_open(int number) { return ::fcntl(number, F_GETFD) >= 0; }

std::string name_of(int number) {
  return std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(number)).string();
}

std::size_t count_mappings() {
  std::ifstream maps{"/proc/self/maps"};
  return static_cast<std::size_t>(std::count(std::istreambuf_iterator<char>{maps}, {}, '\n'));
}

/// Whether all of [address, address + bytes) is mapped.
bool is_mapped(const std::byte* address, std::size_t bytes) {
  return ::msync(const_cast<std::byte*>(address), bytes, MS_ASYNC) == 0;
}

TEST(FileDescriptor, ClosesWhatItOwnsOnce) {
  int first = -1;
  {
    FileDescriptor owner{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
    first = owner.get();
    EXPECT_TRUE(owner);
    EXPECT_TRUE(is_open(first));
    FileDescriptor taken{std::move(owner)};
    EXPECT_EQ(taken.get(), first);
    EXPECT_FALSE(owner);
    EXPECT_EQ(owner.get(), -1);
    auto& same = taken;
    taken = std::move(same);
    EXPECT_TRUE(is_open(first));
  }
  EXPECT_FALSE(is_open(first));
}

TEST(FileDescriptor, GivesItsNumberAway) {
  FileDescriptor owner{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
  const int number = owner.release();
  EXPECT_FALSE(owner);
  EXPECT_TRUE(is_open(number));
  owner.reset(number);
  owner.reset();
  EXPECT_FALSE(is_open(number));
  owner.reset();  // harmless when empty
}

TEST(MemoryFile, IsZeroAndClosedOnExecAndShowsItsName) {
  const FileDescriptor file = create_memory_file("a ring", 3 * page_bytes);
  struct stat status {};
  ASSERT_EQ(::fstat(file.get(), &status), 0);
  EXPECT_EQ(status.st_size, static_cast<off_t>(3 * page_bytes));
  EXPECT_EQ(::fcntl(file.get(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  EXPECT_THAT(name_of(file.get()), HasSubstr("a ring"));
  const Mapping mapping{file.get(), 0, 3 * page_bytes, Mapping::Access::read_only, "a test"};
  for (std::size_t i = 0; i < mapping.size_bytes(); ++i) ASSERT_EQ(mapping.data()[i], std::byte{0});
}

// The kernel takes 249 bytes. The user's names of pools and processes go into these.
TEST(MemoryFile, HasAsMuchOfALongNameAsTheSystemTakes) {
  const std::string name(300, 'x');
  const FileDescriptor file = create_memory_file(name, page_bytes);
  EXPECT_THAT(name_of(file.get()), HasSubstr(name.substr(0, 249)));
}

// What a program without standard streams prints must not land in a ring.
TEST(MemoryFile, NeverTakesThePlaceOfAStandardStream) {
  Forked child{[] {
    ::close(STDIN_FILENO);
    ::close(STDOUT_FILENO);
    const FileDescriptor file = create_memory_file("not stdout", page_bytes);
    if (file.get() <= STDERR_FILENO) ::_exit(2);
  }};
  EXPECT_EQ(child.wait(), 0);
}

TEST(MemoryFile, ErrorsNameTheFileAndTheStep) {
  try {
    static_cast<void>(create_memory_file("too large", std::size_t{1} << 63U));
    FAIL() << "no error";
  } catch (const OSError& error) {
    EXPECT_EQ(error.errno_value(), EINVAL);
    EXPECT_THAT(error.what(), HasSubstr("sizing shared memory \"too large\""));
  }
  Forked child{[] {
    const rlimit none{.rlim_cur = 3, .rlim_max = 3};
    ::setrlimit(RLIMIT_NOFILE, &none);
    try {
      static_cast<void>(create_memory_file("one too many", page_bytes));
      FAIL() << "no error";
    } catch (const OSError& error) {
      EXPECT_EQ(error.errno_value(), EMFILE);
      EXPECT_THAT(error.what(), HasSubstr("creating shared memory \"one too many\""));
    }
  }};
  EXPECT_EQ(child.wait(), 0);
}

// Others have mapped it, and would end by SIGBUS.
TEST(MemoryFile, CannotBeMadeSmaller) {
  const FileDescriptor file = create_memory_file("fixed", 2 * page_bytes);
  EXPECT_EQ(::ftruncate(file.get(), page_bytes), -1);
  EXPECT_EQ(errno, EPERM);
}

// The kernel sends SIGXFSZ along, which would end the process.
TEST(MemoryFile, SaysThatTheLimitOfFileSizesIsTooLow) {
  Forked child{[] {
    const rlimit small{.rlim_cur = page_bytes, .rlim_max = page_bytes};
    ::setrlimit(RLIMIT_FSIZE, &small);
    try {
      static_cast<void>(create_memory_file("too large", 2 * page_bytes));
      FAIL() << "no error";
    } catch (const OSError& error) {
      EXPECT_EQ(error.errno_value(), EFBIG);
      EXPECT_THAT(error.what(), AllOf(HasSubstr("\"too large\" to 8192 bytes"), HasSubstr("RLIMIT_FSIZE (ulimit -f)")));
    }
    sigset_t pending;
    ::sigpending(&pending);
    EXPECT_EQ(::sigismember(&pending, SIGXFSZ), 0);
    EXPECT_TRUE(create_memory_file("just right", page_bytes));
  }};
  EXPECT_EQ(child.wait(), 0);
}

TEST(Mapping, SharesMemoryWithOtherMappingsAndProcesses) {
  const FileDescriptor file = create_memory_file("shared", 2 * page_bytes);
  const Mapping all{file.get(), 0, 2 * page_bytes, Mapping::Access::read_write, "all"};
  const Mapping second{file.get(), page_bytes, page_bytes, Mapping::Access::read_only, "the second page"};
  all.data()[page_bytes + 7] = std::byte{42};
  EXPECT_EQ(second.data()[7], std::byte{42});
  Forked child{[&] { all.data()[page_bytes + 8] = std::byte{43}; }};
  EXPECT_EQ(child.wait(), 0);
  EXPECT_EQ(second.data()[8], std::byte{43});
}

TEST(Mapping, ReadOnlyMemoryCannotBeWritten) {
  const FileDescriptor file = create_memory_file("read only", page_bytes);
  const Mapping mapping{file.get(), 0, page_bytes, Mapping::Access::read_only, "a test"};
  Forked child{[&] {
    std::signal(SIGSEGV, SIG_DFL);
    *const_cast<volatile std::byte*>(mapping.data()) = std::byte{1};
  }};
  EXPECT_EQ(child.wait(), -SIGSEGV);
}

TEST(Mapping, TwiceInARowReadsAcrossTheEndInOnePiece) {
  const FileDescriptor file = create_memory_file("ring", 3 * page_bytes);
  const Mapping ring = Mapping::twice_in_a_row(file.get(), page_bytes, 2 * page_bytes, "a ring");
  EXPECT_EQ(ring.size_bytes(), 4 * page_bytes);
  const std::string text = "across the border";
  std::memcpy(ring.data() + 2 * page_bytes - 6, text.data(), text.size());
  EXPECT_EQ(std::memcmp(ring.data() + 2 * page_bytes, text.data() + 6, text.size() - 6), 0);
  EXPECT_EQ(std::memcmp(ring.data(), text.data() + 6, text.size() - 6), 0);
  EXPECT_EQ(std::memcmp(ring.data() + 4 * page_bytes - 6, text.data(), 6), 0);
  ring.data()[3 * page_bytes] = std::byte{9};
  EXPECT_EQ(ring.data()[page_bytes], std::byte{9});
}

TEST(Mapping, UnmapsWhatItHeldWhenItIsMovedTo) {
  const FileDescriptor file = create_memory_file("moved", 2 * page_bytes);
  Mapping mapping{file.get(), 0, page_bytes, Mapping::Access::read_write, "first"};
  const std::byte* first = mapping.data();
  Mapping other = Mapping::twice_in_a_row(file.get(), 0, 2 * page_bytes, "second");
  const std::byte* second = other.data();
  mapping = std::move(other);
  EXPECT_FALSE(is_mapped(first, page_bytes));
  EXPECT_EQ(mapping.data(), second);
  EXPECT_EQ(other.data(), nullptr);
  mapping = Mapping{};
  EXPECT_FALSE(is_mapped(second, page_bytes));
  EXPECT_EQ(mapping.size_bytes(), 0U);
}

TEST(Mapping, ErrorsNameThePurposeAndLeaveNothingBehind) {
  const auto expect_error = [](auto map) {
    try {
      map();
      ADD_FAILURE() << "no error";
    } catch (const OSError& error) {
      EXPECT_EQ(error.errno_value(), EBADF);
      EXPECT_THAT(error.what(), HasSubstr("for the test's ring"));
    }
  };
  const auto once = [] { Mapping{-1, 0, page_bytes, Mapping::Access::read_write, "the test's ring"}; };
  const auto twice = [] { Mapping::twice_in_a_row(-1, 0, page_bytes, "the test's ring"); };
  expect_error(once);
  expect_error(twice);
  const std::size_t before = count_mappings();
  for (int i = 0; i < 10; ++i) {
    expect_error(once);
    expect_error(twice);
  }
  EXPECT_LE(count_mappings(), before + 3);  // the allocator may have taken some
}

}  // namespace
}  // namespace troupe
