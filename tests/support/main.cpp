// The main of every test program: as a user's would be, with the Runtime first. Run by a test with a role, the program
// plays that instead, to be killed or to break a rule.

#include <troupe/runtime.hpp>

#include "processes.hpp"

#include <gtest/gtest.h>

int main(int argc, char** argv) {
  if (const troupe::test::Role role = troupe::test::requested_role())
    return role(argc, argv, troupe::test::role_argument());
  const troupe::Runtime runtime{argc, argv};
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}

#if defined(__SANITIZE_THREAD__)
// Forked processes with a pool start threads of their own, which ThreadSanitizer takes for a mistake unless told.
extern "C" const char* __tsan_default_options();
extern "C" const char* __tsan_default_options() { return "die_after_fork=0"; }
#endif
