#include "gauge.hpp"

#include "report.hpp"

#include <cmath>
#include <cstdio>
#include <string>

namespace tree_digest {

namespace {

constexpr std::chrono::seconds line_interval{1};

}  // namespace

Gauge::Gauge(std::size_t files, std::uint64_t bytes)
    : all_files_(files),
      all_bytes_(bytes),
      bar_(troupe::progress("tree_digest", in_bytes(bytes))),
      next_line_(start_ + line_interval) {}

void Gauge::advance(std::size_t files, std::uint64_t bytes) {
  files_ += files;
  bytes_ += bytes;
  bar_.note(std::to_string(files_) + '/' + std::to_string(all_files_) + " files");
  bar_.advance(bytes);
  print_if_due();
}

void Gauge::refresh() {
  bar_.refresh();
  print_if_due();
}

void Gauge::print_if_due() {
  const auto now = Clock::now();
  if (bar_.is_visible() || now < next_line_) return;
  next_line_ = now + line_interval;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const auto done = static_cast<double>(bytes_);
  const auto left = static_cast<double>(all_bytes_) - done;
  const std::string time_left = done > 0 ? std::to_string(std::lround(seconds * left / done)) + " s" : "unknown time";
  std::fprintf(stderr, "tree_digest: %zu of %zu files, %s of %s, %s/s, %s left\n", files_, all_files_,
               readable_bytes(done).c_str(), readable_bytes(static_cast<double>(all_bytes_)).c_str(),
               readable_bytes(done / seconds).c_str(), time_left.c_str());
}

}  // namespace tree_digest
