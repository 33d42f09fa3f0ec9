#pragma once

/// \file
/// How numbers read in the texts of errors and of Dynamic.

#include <cstdint>
#include <string>

namespace troupe {

/// The shortest text that reads back as the same number: "3.5", "1e+300", "nan".
std::string number_text(double value);

/// What follows the ticks of a duration: " ms", " x 60 s".
std::string unit_text(std::int32_t unit);

}  // namespace troupe
