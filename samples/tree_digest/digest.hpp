#pragma once

/// \file
/// What the workers do: SHA-256 of files, a batch at a time. These types travel between the processes as they are.

#include "walk.hpp"

#include <array>
#include <chrono>
#include <cstdint>
#include <string>
#include <sys/types.h>
#include <vector>

namespace tree_digest {

using Sha256 = std::array<std::uint8_t, 32>;

/// The task of one worker: one large file, or several small ones, so that the way there and back does not count.
struct Batch {
  std::uint64_t first = 0;  ///< index of the first path in the list of all files
  std::vector<std::string> paths;
};

struct FileDigest {
  Sha256 sha256{};
  std::uint64_t bytes = 0;  ///< that were read
  std::string error;        ///< empty if all went well
};

struct BatchDigest {
  std::uint64_t first = 0;
  std::vector<FileDigest> files;  ///< of the batch's paths, in their order
  pid_t worker = 0;
  std::chrono::nanoseconds busy{};
};

/// Cuts the list into batches of about the same work, without changing its order.
std::vector<Batch> make_batches(const std::vector<File>& files);

/// Reads one file in blocks. Errors: none, they are in the result. A file that shrinks or grows meanwhile is no error.
FileDigest digest_file(const std::string& path);

/// Runs in a worker.
BatchDigest digest_batch(const Batch& batch);

}  // namespace tree_digest
