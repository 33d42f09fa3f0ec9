#pragma once

/// \file
/// Compares our lines with those of the program sha256sum.

#include "report.hpp"

#include <vector>

namespace tree_digest {

/// Runs sha256sum over the files of `lines` and compares every line byte for byte. Says on standard error how many
/// agree, or which do not; returns whether all agree.
/// Errors: std::runtime_error when sha256sum cannot be run; std::system_error.
bool verify(const std::vector<Line>& lines);

}  // namespace tree_digest
