#pragma once

/// \file
/// The three ways of starting a process.

#include <cstdint>
#include <string_view>

namespace troupe {

/// How a new process comes to be. `forkserver` is the default: as fast as `fork`, and safe however many threads the
/// caller has. (CPython's default on Linux is fork; its documentation advises against it in programs with threads.)
enum class StartMethod : std::uint8_t {
  forkserver,  ///< forked by the nursery, which is a copy of the program as it was when the Runtime was made
  fork,        ///< a copy of the calling process, as it is; takes any callable, but copies locks as they are held
  spawn,       ///< the program is executed anew
};

/// "forkserver", "fork" or "spawn". Thread: any.
std::string_view to_string(StartMethod method) noexcept;
/// The method of that name. Thread: any. Errors: ValueError for an unknown name.
StartMethod start_method_named(std::string_view name);

}  // namespace troupe
