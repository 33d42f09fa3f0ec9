// samples/tree_digest as a user meets it: what it prints, what it says about bad input, how it ends.

#include "program.hpp"

#include <gmock/gmock.h>

#include <regex>
#include <string>
#include <sys/stat.h>

namespace samples {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

const std::string tree_digest = TREE_DIGEST;

/// Everything that a tree may hold.
void fill(const Folder& folder) {
  folder.add("plain", "hello\n");
  folder.add("empty", "");
  folder.add("deep/er/large", std::string(3'000'000, 'x'));
  folder.add("with space", "1");
  folder.add("-dash", "2");
  folder.add("new\nline", "3");
  folder.add("back\\slash", "4");
  folder.add("carriage\rreturn", "5");
  folder.add("not utf-8 \xff\xfe", "6");
  folder.add("deep/\xc3\xa9", "7");
  for (int i = 0; i < 600; ++i) folder.add("many/" + std::to_string(i), std::to_string(i));
  std::filesystem::create_hard_link(folder.path("plain"), folder.path("second name"));
  std::filesystem::create_symlink("plain", folder.path("link"));
  std::filesystem::create_directory_symlink("..", folder.path("deep/loop"));
  std::filesystem::create_directory(folder.path("nothing inside"));
  check(::mkfifo(folder.path("fifo").c_str(), 0600) == 0, "make a fifo");
}

/// What sha256sum prints for all files in the order of their paths.
std::string expected_output(const std::string& directory) {
  Program program{{"bash", "-c", "find \"$0\" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum", directory}};
  EXPECT_EQ(program.wait(), 0) << program.error();
  return program.out();
}

// What somebody pipes into `sha256sum --check`, or compares with yesterday's output, must be exactly what sha256sum
// itself would have written, whatever the names are.
TEST(TreeDigest, PrintsWhatSha256sumPrints) {
  const Folder folder;
  fill(folder);
  Program program{{tree_digest, folder.path(), "--workers", "3"}};
  EXPECT_EQ(program.wait(), 0);
  EXPECT_EQ(program.out(), expected_output(folder.path()));
  EXPECT_THAT(program.error(), AllOf(StartsWith("611 files, 3.0 MB in "), HasSubstr("\n  worker "),
                                     HasSubstr("\nspeed-up "), Not(HasSubstr("could not be read"))));
}

// Every file is somebody's, and nobody's twice. Small enough that all numbers are printed to the byte.
TEST(TreeDigest, TheSharesOfTheWorkersAddUpToTheWhole) {
  const Folder folder;
  constexpr int num_files = 900;  // more than two batches
  for (int i = 0; i < num_files; ++i) folder.add(std::to_string(i), i % 2 == 0 ? "" : "x");
  Program program{{tree_digest, folder.path(), "--workers", "3"}};
  EXPECT_EQ(program.wait(), 0);
  EXPECT_THAT(program.error(), StartsWith("900 files, 450 B in "));
  int files = 0;
  int bytes = 0;
  const std::regex share{"\n  worker [0-9]+: ([0-9]+) files, ([0-9]+) B, busy"};
  const std::string& summary = program.error();
  for (std::sregex_iterator line{summary.begin(), summary.end(), share}; line != std::sregex_iterator{}; ++line) {
    files += std::stoi((*line)[1]);
    bytes += std::stoi((*line)[2]);
  }
  EXPECT_EQ(files, num_files);
  EXPECT_EQ(bytes, num_files / 2);
}

// The same tree by other names of its root: the paths are made from what was given.
TEST(TreeDigest, NamesFilesByTheDirectoryAsGiven) {
  const Folder folder;
  folder.add("real/file", "x");
  std::filesystem::create_directory_symlink("real", folder.path("link"));
  for (const std::string& root : {folder.path("real/"), folder.path("real/../real"), folder.path("link")}) {
    Program program{{tree_digest, root}};
    EXPECT_EQ(program.wait(), 0);
    EXPECT_THAT(program.out(), EndsWith("  " + root + (root.ends_with('/') ? "" : "/") + "file\n"));
  }
}

TEST(TreeDigest, DigestsAnEmptyTree) {
  const Folder folder;
  Program program{{tree_digest, folder.path(), "--verify"}};
  EXPECT_EQ(program.wait(), 0);
  EXPECT_EQ(program.out(), "");
  EXPECT_THAT(program.error(), AllOf(StartsWith("0 files, 0 B in "), HasSubstr("verified 0 files")));
}

// A typing error is answered with what is wrong, and with a status that no result has.
TEST(TreeDigest, SaysWhatIsWrongWithItsArguments) {
  const Folder folder;
  const std::string file = folder.add("file", "x");
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases{
      {{folder.path("missing")}, "tree_digest: " + folder.path("missing") + ": No such file or directory\n"},
      {{file}, "tree_digest: " + file + ": Not a directory\n"},
      {{}, "DIR is required"},
      {{folder.path(), "--workers", "0"}, "--workers"},
      {{folder.path(), "--workers", "many"}, "--workers"},
      {{folder.path(), "--unknown"}, "--unknown"},
  };
  for (auto [arguments, text] : cases) {
    arguments.insert(arguments.begin(), tree_digest);
    Program program{arguments};
    EXPECT_EQ(program.wait(), 2) << text;
    EXPECT_EQ(program.out(), "");
    EXPECT_THAT(program.error(), HasSubstr(text));
  }
}

// One bad file must neither hide the others nor go unnoticed.
TEST(TreeDigest, NamesAndCountsWhatItCannotRead) {
  const Folder folder;
  const std::string good = folder.add("good", "x");
  const std::string secret = folder.add("odd\nsecret", "y");
  folder.add("closed/inside", "z");
  ASSERT_EQ(::chmod(secret.c_str(), 0), 0);
  ASSERT_EQ(::chmod(folder.path("closed").c_str(), 0), 0);
  Program program{{tree_digest, folder.path(), "--verify"}, {.obeys_modes = true}};
  EXPECT_EQ(program.wait(), 1);
  EXPECT_THAT(program.out(), EndsWith("  " + good + '\n'));
  EXPECT_EQ(std::ranges::count(program.out(), '\n'), 1);
  EXPECT_THAT(program.error(), AllOf(HasSubstr(folder.path("odd\\012secret") + ": Permission denied\n"),
                                     HasSubstr(folder.path("closed") + ": Permission denied\n"),
                                     HasSubstr("\n2 could not be read\n"), HasSubstr("verified 1 files")));
  ::chmod(folder.path("closed").c_str(), 0700);
}

TEST(TreeDigest, SaysThatItCannotWrite) {
  const Folder folder;
  folder.add("file", "x");
  Program program{{"bash", "-c", "\"$0\" \"$1\" >/dev/full", tree_digest, folder.path()}};
  EXPECT_EQ(program.wait(), 2);
  EXPECT_THAT(program.error(), HasSubstr("cannot write to standard output: No space left on device"));
}

TEST(TreeDigest, VerifiesEveryLine) {
  const Folder folder;
  fill(folder);
  Program program{{tree_digest, folder.path(), "--verify"}};
  EXPECT_EQ(program.wait(), 0);
  EXPECT_THAT(program.error(), HasSubstr("\nverified 611 files against sha256sum"));
}

/// A program called sha256sum that does not tell the truth about "changed", and nothing about "left out".
std::string lying_path(const Folder& folder) {
  const std::string script = folder.add("sha256sum",
                                        "#!/bin/bash\n"
                                        "/usr/bin/env -i PATH=/usr/bin:/bin sha256sum \"$@\" |\n"
                                        "  sed -e '/left out$/ d' -e '/changed$/ s/^......../00000000/'\n");
  ::chmod(script.c_str(), 0755);
  return folder.path() + ":/usr/bin:/bin";
}

// A verification that cannot fail proves nothing.
TEST(TreeDigest, NamesLinesThatDiffer) {
  const Folder scripts;
  const Folder folder;
  for (const char* const name : {"a", "changed", "left out", "z"}) folder.add(name, name);
  Program program{{tree_digest, folder.path(), "--verify"}, {.path_variable = lying_path(scripts)}};
  EXPECT_EQ(program.wait(), 1);
  EXPECT_THAT(program.error(), AllOf(HasSubstr(folder.path("changed") + ": sha256sum says 00000000"),
                                     HasSubstr(folder.path("left out") + ": sha256sum says nothing"),
                                     HasSubstr("2 of 4 files differ from sha256sum\n")));
}

TEST(TreeDigest, SaysThatThereIsNoSha256sum) {
  const Folder folder;
  folder.add("file", "x");
  Program program{{tree_digest, folder.path(), "--verify"}, {.path_variable = folder.path()}};
  EXPECT_EQ(program.wait(), 2);
  EXPECT_THAT(program.error(), HasSubstr("cannot run sha256sum"));
}

}  // namespace
}  // namespace samples
