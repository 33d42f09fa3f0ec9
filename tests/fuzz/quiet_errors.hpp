#pragma once

/// \file
/// What every fuzz target needs so that errors, which most inputs are, cost little. Include once in each program.

#include <kj/exception.h>

namespace fuzz {

/// Most inputs are damaged; walking the stack for each error would be most of the work.
class NoStackTraces : public kj::ExceptionCallback {
 public:
  StackTraceMode stackTraceMode() override { return StackTraceMode::NONE; }
};

}  // namespace fuzz

// kj wants its callbacks on the real stack, not where the address sanitizer keeps locals to find uses after return.
extern "C" const char* __asan_default_options() { return "detect_stack_use_after_return=0"; }
