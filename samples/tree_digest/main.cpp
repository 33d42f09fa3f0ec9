// Shows a real job in a pool: SHA-256 of every file in a directory tree, largest first, results as they come.
// Run: tree_digest DIR [--workers N] [--verify]
// Prints what sha256sum would print, by path; on standard error the progress, what could not be read, and a summary.

#include <troupe/pool.hpp>
#include <troupe/process.hpp>
#include <troupe/progress.hpp>
#include <troupe/runtime.hpp>

#include "digest.hpp"
#include "gauge.hpp"
#include "report.hpp"
#include "verify.hpp"
#include "walk.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <optional>

namespace tree_digest {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  std::string directory;
  int workers = 1;
  bool verify = false;
};

/// Files as walk finds them, largest first, so that no large one is begun when the others are done.
Tree find_files(const std::string& directory) {
  Tree tree = walk(directory);
  std::ranges::sort(tree.files, [](const File& a, const File& b) {
    return a.bytes != b.bytes ? a.bytes > b.bytes : a.path < b.path;
  });
  return tree;
}

/// Takes a result over; returns the bytes that were expected of it.
std::uint64_t take(Outcome& outcome, BatchDigest batch) {
  Share& share = outcome.shares[batch.worker];
  share.busy += batch.busy;
  std::uint64_t expected = 0;
  for (std::size_t index = batch.first; FileDigest & digest : batch.files) {
    share.files += digest.error.empty() ? 1 : 0;
    share.bytes += digest.bytes;
    expected += outcome.files[index].bytes;
    outcome.digests[index++] = std::move(digest);
  }
  return expected;
}

/// Digests all files in a pool. A worker that dies costs its batch; the files of that stay without a result.
Outcome digest_files(std::vector<File> files, int workers) {
  Outcome outcome;
  outcome.files = std::move(files);
  outcome.digests.assign(outcome.files.size(), FileDigest{.sha256 = {}, .bytes = 0, .error = "its worker died"});
  std::uint64_t all_bytes = 0;
  for (const File& file : outcome.files) all_bytes += file.bytes;

  const auto start = Clock::now();
  troupe::Pool pool{workers};
  Gauge gauge{outcome.files.size(), all_bytes};
  const std::vector<Batch> batches = make_batches(outcome.files);
  auto results = pool.imap_unordered(digest_batch, batches);
  for (;;) {
    try {
      while (!results.wait(troupe::Progress::interval)) gauge.refresh();
      std::optional<BatchDigest> batch = results.next();
      if (!batch) break;
      const std::size_t num_files = batch->files.size();
      gauge.advance(num_files, take(outcome, *std::move(batch)));
    } catch (const troupe::WorkerDied& death) {
      outcome.losses.emplace_back(death.what());
    }
  }
  outcome.digesting = Clock::now() - start;
  pool.close();
  pool.join();
  return outcome;
}

/// What was found and could not be read after all joins what could not even be found.
std::vector<Unreadable> all_unreadable(std::vector<Unreadable> unreadable, const Outcome& outcome) {
  for (std::size_t i = 0; i < outcome.files.size(); ++i) {
    const std::string& error = outcome.digests[i].error;
    if (!error.empty()) unreadable.push_back({outcome.files[i].path, error});
  }
  return unreadable;
}

/// Returns the exit status: 0, or 1 if something could not be read or does not verify.
int run(const Options& options) {
  const auto start = Clock::now();
  Tree tree = find_files(options.directory);
  const auto finding = Clock::now() - start;
  Outcome outcome = digest_files(std::move(tree.files), options.workers);
  outcome.finding = finding;

  const std::vector<Line> lines = lines_of(outcome);
  print_lines(lines);
  print_summary(outcome);
  const std::vector<Unreadable> unreadable = all_unreadable(std::move(tree.unreadable), outcome);
  print_unreadable(unreadable);
  const bool all_agree = !options.verify || verify(lines);
  return unreadable.empty() && all_agree ? 0 : 1;
}

}  // namespace
}  // namespace tree_digest

int main(int argc, char** argv) {
  CLI::App app{"SHA-256 of every regular file under a directory, computed by a pool of processes"};
  try {
    const troupe::Runtime runtime{argc, argv};
    tree_digest::Options options{.directory = {}, .workers = troupe::cpu_count(), .verify = false};
    app.add_option("DIR", options.directory, "the directory")->required();
    app.add_option("--workers", options.workers, "how many processes")
        ->check(CLI::Range(1, 1024))
        ->capture_default_str();
    app.add_flag("--verify", options.verify, "compare every line with the program sha256sum");
    app.parse(argc, argv);
    return tree_digest::run(options);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  } catch (const std::exception& error) {
    std::cerr << "tree_digest: " << error.what() << '\n';
    return 2;
  }
}
