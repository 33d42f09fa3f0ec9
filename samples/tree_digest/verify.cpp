#include "verify.hpp"

#include <troupe/progress.hpp>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <span>
#include <stdexcept>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>

namespace tree_digest {
namespace {

/// As many names as one command line surely holds, and not so many that the progress bar stands still.
constexpr std::size_t names_at_once = 1000;
constexpr std::size_t name_bytes_at_once = 64 * 1024;

[[noreturn]] void fail(const char* attempted) { throw std::system_error(errno, std::generic_category(), attempted); }

/// In the forked process. sha256sum ends with us, whatever ends us.
[[noreturn]] void become_sha256sum(char* const* arguments, int output) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::dup2(output, STDOUT_FILENO);
  ::execvp(arguments[0], arguments);
  ::_exit(127);
}

std::string read_to_end(int descriptor) {
  std::string all;
  char block[64 * 1024];
  for (;;) {
    const ssize_t count = ::read(descriptor, block, sizeof block);
    if (count == 0) return all;
    if (count > 0) {
      all.append(block, static_cast<std::size_t>(count));
    } else if (errno != EINTR) {
      fail("cannot read the output of sha256sum");
    }
  }
}

/// What sha256sum prints for these files. It names files that it cannot read on standard error itself.
std::string run_sha256sum(std::span<const Line> lines) {
  std::vector<std::string> words{"sha256sum", "--"};
  for (const Line& line : lines) words.push_back(line.path);
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);

  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) fail("pipe to sha256sum");
  const pid_t child = ::fork();
  if (child < 0) fail("fork for sha256sum");
  if (child == 0) become_sha256sum(arguments.data(), ends[1]);
  ::close(ends[1]);
  std::string output = read_to_end(ends[0]);
  ::close(ends[0]);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) fail("wait for sha256sum");
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) == 127)
    throw std::runtime_error("cannot run sha256sum, which --verify compares with (part of GNU coreutils)");
  return output;
}

/// The first `lines` that fit one command line.
std::size_t count_at_once(std::span<const Line> lines) {
  std::size_t count = 0;
  std::size_t bytes = 0;
  while (count < lines.size() && count < names_at_once && bytes < name_bytes_at_once)
    bytes += lines[count++].path.size();
  return count;
}

std::uint64_t sum_bytes(std::span<const Line> lines) {
  std::uint64_t sum = 0;
  for (const Line& line : lines) sum += line.bytes;
  return sum;
}

/// Names the lines that sha256sum does not have. Its lines come in the order of the names it was given.
std::size_t report_differences(std::span<const Line> lines, std::string_view output) {
  std::size_t num_different = 0;
  for (const Line& line : lines) {
    const std::string_view theirs = output.substr(0, output.find('\n'));
    const std::size_t after_hex = 64 + (line.text.starts_with('\\') ? 1 : 0);
    const bool is_same_file = theirs.size() > after_hex && theirs.substr(after_hex) == line.text.substr(after_hex);
    if (theirs != line.text) {
      ++num_different;
      std::fprintf(stderr, "tree_digest: %s: sha256sum says %s\n", printable(line.path).c_str(),
                   is_same_file ? std::string(theirs.substr(0, after_hex)).c_str() : "nothing");
    }
    if (is_same_file) output.remove_prefix(std::min(output.size(), theirs.size() + 1));
  }
  return num_different;
}

}  // namespace

bool verify(const std::vector<Line>& lines) {
  const auto start = std::chrono::steady_clock::now();
  std::string output;
  {
    const auto bar = troupe::progress("sha256sum", in_bytes(sum_bytes(lines)));
    for (std::span<const Line> rest = lines; !rest.empty();) {
      const auto now = rest.first(count_at_once(rest));
      output += run_sha256sum(now);
      bar.advance(sum_bytes(now));
      rest = rest.subspan(now.size());
    }
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const std::size_t num_different = report_differences(lines, output);
  if (num_different > 0) {
    std::fprintf(stderr, "%zu of %zu files differ from sha256sum\n", num_different, lines.size());
    return false;
  }
  std::fprintf(stderr, "verified %zu files against sha256sum, which took %.2f s\n", lines.size(), seconds);
  return true;
}

}  // namespace tree_digest
