#pragma once

// What the tests of errors of the system share.

#include <troupe/error.hpp>

namespace troupe::test {

/// The errno of the OSError that `action` throws; 0: none.
template <class Action>
int errno_of(Action action) {
  try {
    action();
    return 0;
  } catch (const OSError& error) {
    return error.errno_value();
  }
}

}  // namespace troupe::test
