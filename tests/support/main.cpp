// The main of every test program: as a user's would be, with the Runtime first.

#include <troupe/runtime.hpp>

#include <gtest/gtest.h>

int main(int argc, char** argv) {
  const troupe::Runtime runtime{argc, argv};
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
