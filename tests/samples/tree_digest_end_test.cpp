// samples/tree_digest on a terminal, interrupted, and with a worker that dies. Its trees hold a file that takes hours,
// so that every end in here has its cause in the test.

#include "program.hpp"

#include <gmock/gmock.h>

#include <optional>
#include <sys/stat.h>

namespace samples {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

const std::string tree_digest = TREE_DIGEST;

/// How long an interrupted program may take until all its processes are gone.
constexpr std::chrono::seconds end_limit{1};

/// The process that reads `file`, one of the descendants of `root`; empty as long as there is none.
std::optional<pid_t> find_reader(pid_t root, const std::string& file) {
  const std::string process = "/proc/" + std::to_string(root);
  std::error_code error;
  for (const auto& descriptor : std::filesystem::directory_iterator{process + "/fd", error}) {
    if (std::filesystem::read_symlink(descriptor, error) == file) return root;
  }
  std::ifstream children{process + "/task/" + std::to_string(root) + "/children"};
  for (pid_t child = 0; children >> child;) {
    if (const auto reader = find_reader(child, file)) return reader;
  }
  return std::nullopt;
}

/// Waits until a worker has begun with `file`.
pid_t wait_for_reader(const Program& program, const std::string& file) {
  const auto deadline = Clock::now() + patience;
  while (Clock::now() < deadline) {
    if (const auto reader = find_reader(program.pid(), file)) return *reader;
    ::sched_yield();
  }
  ADD_FAILURE() << "nobody reads " << file;
  return program.pid();
}

TEST(TreeDigest, DrawsABarOnATerminal) {
  const Folder folder;
  folder.add("file", std::string(2'000'000, 'x'));
  Program program{{tree_digest, folder.path()}, {.on_terminal = true}};
  EXPECT_EQ(program.wait(), 0);
  EXPECT_THAT(program.out(), EndsWith("  " + folder.path("file") + "\n"));
  EXPECT_THAT(program.error(), AllOf(HasSubstr("\rtree_digest ["), HasSubstr("  0 %  0 B/2.0 MB"), HasSubstr("left"),
                                     HasSubstr("=] 100 %  2.0 MB/2.0 MB"), HasSubstr("1/1 files"),
                                     HasSubstr("speed-up")));
}

TEST(TreeDigest, DrawsNoBarElsewhere) {
  const Folder folder;
  folder.add("file", "x");
  Program program{{tree_digest, folder.path()}};
  EXPECT_EQ(program.wait(), 0);
  EXPECT_THAT(program.error(), AllOf(StartsWith("1 files, 1 B in "), Not(HasSubstr("\r")), Not(HasSubstr("\033"))));
}

TEST(TreeDigest, PrintsLinesElsewhereWhileItTakesLong) {
  const Folder folder;
  folder.add("file", std::string(2'000'000, 'x'));
  folder.add_endless("endless");
  Program program{{tree_digest, folder.path(), "--workers", "2"}};
  program.expect_error_text("tree_digest: 1 of 2 files, 2.0 MB of ");
  program.expect_error_text(" left\n");
  EXPECT_EQ(::kill(program.pid(), SIGINT), 0);
  EXPECT_EQ(program.wait(), -SIGINT);
  EXPECT_THAT(program.error(), Not(HasSubstr("\r")));
}

// Ctrl-C as it is typed: the signal goes to main and to all workers. The shell sees a death by SIGINT, which it reports
// as 130, the prompt stands on a line of its own, the terminal is as it was, nothing stays behind.
TEST(TreeDigest, EndsAtCtrlC) {
  const Folder folder;
  const std::string file = folder.add_endless("endless");
  Program program{{tree_digest, folder.path()}, {.on_terminal = true}};
  termios before{};
  ASSERT_EQ(::tcgetattr(program.terminal(), &before), 0);
  wait_for_reader(program, file);
  program.expect_error_text("tree_digest [");
  const auto begin = Clock::now();
  program.type("\x03");
  EXPECT_EQ(program.wait(), -SIGINT);
  EXPECT_TRUE(all_processes_ended());
  EXPECT_LT(Clock::now() - begin, end_limit);
  EXPECT_EQ(program.out(), "");
  EXPECT_THAT(program.error(), AllOf(EndsWith("\n"), Not(HasSubstr("\033[?"))));
  termios after{};
  ASSERT_EQ(::tcgetattr(program.terminal(), &after), 0);
  EXPECT_EQ(after.c_lflag, before.c_lflag);
  EXPECT_EQ(after.c_iflag, before.c_iflag);
  EXPECT_EQ(after.c_oflag, before.c_oflag);
}

// A shell that takes commands from a terminal says 130, and is there for the next command.
TEST(TreeDigest, EndsAtCtrlCInAShell) {
  const Folder folder;
  const std::string file = folder.add_endless("endless");
  Program shell{{"env", "PS1=status $?> ", "bash", "--norc", "--noprofile", "-i"}, {.on_terminal = true}};
  shell.expect_error_text("status 0> ");
  shell.type("'" + tree_digest + "' '" + folder.path() + "'\n");
  wait_for_reader(shell, file);
  const auto begin = Clock::now();
  shell.type("\x03");
  shell.expect_error_text("status 130> ");
  EXPECT_LT(Clock::now() - begin, end_limit);
  shell.type("exit\n");
  EXPECT_EQ(shell.wait(), 128 + SIGINT);
  EXPECT_TRUE(all_processes_ended());
}

// The same when main alone is told, and for other signals: the workers end because main has ended.
TEST(TreeDigest, TakesItsWorkersAlong) {
  for (const int number : {SIGINT, SIGTERM, SIGKILL}) {
    const Folder folder;
    const std::string file = folder.add_endless("endless");
    Program program{{tree_digest, folder.path(), "--workers", "4"}};
    wait_for_reader(program, file);
    const auto begin = Clock::now();
    ASSERT_EQ(::kill(program.pid(), number), 0);
    EXPECT_EQ(program.wait(), -number);
    EXPECT_TRUE(all_processes_ended());
    EXPECT_LT(Clock::now() - begin, end_limit);
    EXPECT_EQ(program.out(), "");
  }
}

// The sha256sum that --verify waits for may have hours of work as well.
TEST(TreeDigest, TakesSha256sumAlong) {
  for (const int number : {SIGINT, SIGKILL}) {
    const Folder scripts;
    const Folder folder;
    folder.add("file", "x");
    const std::string script = scripts.add("sha256sum", "#!/bin/sh\necho endless >&2\nexec cat /dev/zero >/dev/null\n");
    ::chmod(script.c_str(), 0755);
    Program program{{tree_digest, folder.path(), "--verify"}, {.path_variable = scripts.path() + ":/usr/bin:/bin"}};
    program.expect_error_text("endless");
    const auto begin = Clock::now();
    ASSERT_EQ(::kill(program.pid(), number), 0);
    EXPECT_EQ(program.wait(), -number);
    EXPECT_TRUE(all_processes_ended());
    EXPECT_LT(Clock::now() - begin, end_limit);
  }
}

// A worker that dies, by the kernel's hand when memory is short, costs what it was doing; that is said, and the rest is
// done.
TEST(TreeDigest, LosesOnlyWhatADeadWorkerDid) {
  const Folder folder;
  const std::string file = folder.add_endless("endless");
  const std::string good = folder.add("good", "x");
  Program program{{tree_digest, folder.path(), "--workers", "1"}};
  ASSERT_EQ(::kill(wait_for_reader(program, file), SIGKILL), 0);
  EXPECT_EQ(program.wait(), 1);
  EXPECT_THAT(program.out(), EndsWith("  " + good + "\n"));
  EXPECT_EQ(std::ranges::count(program.out(), '\n'), 1);
  EXPECT_THAT(program.error(), AllOf(HasSubstr(file + ": its worker died\n"), HasSubstr("signal 9 (SIGKILL)"),
                                     HasSubstr("\n1 could not be read\n")));
}

// So that no large file is begun when all others are done. The only worker gets no further than its first file, and is
// killed there.
TEST(TreeDigest, BeginsWithTheLargest) {
  const Folder folder;
  folder.add("0", "x");
  std::vector<std::string> files;
  for (const char* const name : {"2", "3", "1"}) {  // each larger than the one before
    files.push_back(folder.add_endless(name));
    check(::truncate(files.back().c_str(), (off_t{1} << 40) + static_cast<off_t>(files.size())) == 0, "truncate");
  }
  Program program{{tree_digest, folder.path(), "--workers", "1"}};
  for (; !files.empty(); files.pop_back()) ASSERT_EQ(::kill(wait_for_reader(program, files.back()), SIGKILL), 0);
  EXPECT_EQ(program.wait(), 1);
  EXPECT_THAT(program.out(), EndsWith("  " + folder.path("0") + "\n"));
}

}  // namespace
}  // namespace samples
