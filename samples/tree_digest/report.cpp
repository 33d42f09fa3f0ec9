#include "report.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <iterator>
#include <system_error>

namespace tree_digest {
namespace {

double seconds(std::chrono::nanoseconds time) { return std::chrono::duration<double>(time).count(); }

std::string readable(std::uint64_t bytes) { return readable_bytes(static_cast<double>(bytes)); }

std::string hex(const Sha256& digest) {
  constexpr char digits[] = "0123456789abcdef";
  std::string text;
  for (const std::uint8_t byte : digest) {
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
}

}  // namespace

std::string readable_bytes(double bytes) {
  const char* const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  const char* const* unit = units;
  for (; bytes >= 999.95 && unit + 1 != std::end(units); ++unit) bytes /= 1000;
  char text[32];
  std::snprintf(text, sizeof text, unit == units ? "%.0f %s" : "%.1f %s", bytes, *unit);
  return text;
}

std::string digest_line(const Sha256& digest, std::string_view path) {
  const bool is_escaped = path.find_first_of("\\\n\r") != std::string_view::npos;
  std::string line = (is_escaped ? "\\" : "") + hex(digest) + "  ";
  for (const char character : path) {
    switch (character) {
      case '\\': line += "\\\\"; break;
      case '\n': line += "\\n"; break;
      case '\r': line += "\\r"; break;
      default: line += character;
    }
  }
  return line;
}

std::string printable(std::string_view path) {
  std::string text;
  for (const char character : path) {
    const auto byte = static_cast<unsigned char>(character);
    if (byte >= 0x20 && byte != 0x7f) {
      text += character;
    } else {
      char octal[5];
      std::snprintf(octal, sizeof octal, "\\%03o", byte);
      text += octal;
    }
  }
  return text;
}

std::vector<Line> lines_of(const Outcome& outcome) {
  std::vector<Line> lines;
  lines.reserve(outcome.files.size());
  for (std::size_t i = 0; i < outcome.files.size(); ++i) {
    const FileDigest& digest = outcome.digests[i];
    const std::string& path = outcome.files[i].path;
    if (digest.error.empty()) lines.push_back({path, digest_line(digest.sha256, path), digest.bytes});
  }
  std::ranges::sort(lines, {}, &Line::path);
  return lines;
}

void print_lines(const std::vector<Line>& lines) {
  for (const Line& line : lines) {
    std::fwrite(line.text.data(), 1, line.text.size(), stdout);
    std::fputc('\n', stdout);
  }
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0)
    throw std::system_error(errno, std::generic_category(), "cannot write to standard output");
}

void print_unreadable(std::vector<Unreadable> unreadable) {
  if (unreadable.empty()) return;
  std::ranges::sort(unreadable, {}, &Unreadable::path);
  for (const auto& [path, reason] : unreadable)
    std::fprintf(stderr, "tree_digest: %s: %s\n", printable(path).c_str(), reason.c_str());
  std::fprintf(stderr, "%zu could not be read\n", unreadable.size());
}

void print_summary(const Outcome& outcome) {
  Share all;
  for (const auto& [worker, share] : outcome.shares) {
    all.files += share.files;
    all.bytes += share.bytes;
    all.busy += share.busy;
  }
  const double time = std::max(seconds(outcome.digesting), 1e-6);
  std::fprintf(stderr, "%zu files, %s in %.2f s: %s/s; %.2f s before that to find them\n", all.files,
               readable(all.bytes).c_str(), time, readable_bytes(static_cast<double>(all.bytes) / time).c_str(),
               seconds(outcome.finding));
  for (const auto& [worker, share] : outcome.shares) {
    std::fprintf(stderr, "  worker %d: %zu files, %s, busy for %.2f s\n", static_cast<int>(worker), share.files,
                 readable(share.bytes).c_str(), seconds(share.busy));
  }
  for (const std::string& loss : outcome.losses) std::fprintf(stderr, "  %s\n", loss.c_str());
  std::fprintf(stderr, "speed-up %.2f: the workers were busy for %.2f s in all, within %.2f s\n",
               seconds(all.busy) / time, seconds(all.busy), time);
}

}  // namespace tree_digest
