#pragma once

/// \file
/// Which exceptions keep their class between processes: those of the standard library, and those that were registered.

#include <troupe/failure.hpp>

#include <string>
#include <string_view>
#include <system_error>

namespace troupe {

/// What the exception type with this C++ name is called on the wire: the registered name, else `type` itself.
/// Thread: any; safe in a child that was forked at any moment.
std::string exception_name(const std::string& type);

/// How to rebuild the exception with this name on the wire, null if it is not known here. Thread: any, as above.
detail::MakeException find_exception(std::string_view name);

/// The code with this value in the standard category of this name; in the generic one where the name is another.
std::error_code make_code(int value, std::string_view category);

/// Whether codes of this category can be rebuilt.
bool is_standard_category(std::string_view name);

}  // namespace troupe
