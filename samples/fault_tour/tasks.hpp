#pragma once

/// \file
/// What goes wrong in the tour: tasks that crash, hang, and fail until they do not.

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <thread>

inline int square(int x) { return x * x; }

/// Dies as a task does that follows a bad pointer.
inline int read_at(int address) {
  ::raise(SIGSEGV);
  return address;
}

/// Makes the file `begun`, then hangs.
inline int hang(const std::string& begun) {
  std::ofstream{begun}.put('x');
  for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
}

/// Notes one more attempt in `file`; returns how many there were. A worker that dies takes its memory along, so this
/// is not kept there.
inline unsigned count_attempt(const std::string& file) {
  std::ofstream{file, std::ios::app}.put('x');
  return static_cast<unsigned>(std::filesystem::file_size(file));
}

/// Kills its worker at the first `times` attempts.
inline unsigned crash_first(const std::string& file, unsigned times) {
  const unsigned attempt = count_attempt(file);
  if (attempt <= times) ::raise(SIGKILL);
  return attempt;
}

/// A service that is not ready at the first `times` attempts.
inline unsigned refuse_first(const std::string& file, unsigned times) {
  const unsigned attempt = count_attempt(file);
  if (attempt <= times) throw std::runtime_error("not ready, attempt " + std::to_string(attempt));
  return attempt;
}
