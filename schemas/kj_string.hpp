#pragma once

/// \file
/// Lets clang 16 and newer compile the headers of Cap'n Proto 0.9 as C++20. They compare text with kj::StringPtr on
/// the right and trust the compiler to turn the comparison around; since P2468 it does so no longer for classes that
/// have operator!= as well. Included by the build in front of everything, and only where it is needed.

#include <kj/string.h>

namespace kj {

inline bool operator==(const char* a, const StringPtr& b) { return b == StringPtr(a); }
inline bool operator!=(const char* a, const StringPtr& b) { return !(b == StringPtr(a)); }
inline bool operator==(const char* a, const String& b) { return b == StringPtr(a); }
inline bool operator!=(const char* a, const String& b) { return !(b == StringPtr(a)); }

}  // namespace kj
