#pragma once

/// \file
/// What the user is shown: the lines of sha256sum on standard output, everything else on standard error.

#include <troupe/progress.hpp>

#include "digest.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace tree_digest {

/// What one worker did.
struct Share {
  std::size_t files = 0;
  std::uint64_t bytes = 0;
  std::chrono::nanoseconds busy{};
};

/// A digested tree.
struct Outcome {
  std::vector<File> files;          ///< largest first
  std::vector<FileDigest> digests;  ///< of the files, in the same order
  std::map<pid_t, Share> shares;
  std::vector<std::string> losses;       ///< what became of workers that died
  std::chrono::nanoseconds finding{};    ///< how long it took to find the files
  std::chrono::nanoseconds digesting{};  ///< and to digest them, start of the workers included
};

/// A line of output, and the file it is about.
struct Line {
  std::string path;
  std::string text;  ///< without its newline
  std::uint64_t bytes = 0;
};

/// One line as sha256sum writes it: a name with a backslash, newline or carriage return has these escaped, and a
/// backslash in front of the line says so.
std::string digest_line(const Sha256& digest, std::string_view path);

/// "17 B", "4.2 kB", "347.1 MB".
std::string readable_bytes(double bytes);

/// A progress bar of so many bytes.
inline troupe::ProgressOptions in_bytes(std::uint64_t bytes) {
  return {.size = bytes, .unit = troupe::ProgressOptions::Unit::bytes};
}

/// A name without the control characters that would confuse a terminal.
std::string printable(std::string_view path);

/// The lines of all files that were read, by path.
std::vector<Line> lines_of(const Outcome& outcome);

/// Writes the lines to standard output. Errors: std::system_error when that is not possible.
void print_lines(const std::vector<Line>& lines);

/// Names what could not be read on standard error, by path.
void print_unreadable(std::vector<Unreadable> unreadable);

/// Files, bytes, seconds, what each worker did, and the speed-up, on standard error.
void print_summary(const Outcome& outcome);

}  // namespace tree_digest
