#pragma once

/// \file
/// Included where a wake-up that gets lost must show: has the process of the test sleep until it is woken.

#include <troupe/bell.hpp>

#include <gtest/gtest.h>

namespace troupe::test {

/// With the look once a second that a main process has, a wake-up that is lost would only cost a second, and no case
/// would notice. Processes that are forked by hand inherit it.
class SleepInOnePiece : public testing::Environment {
 public:
  void SetUp() override { sleep_in_pieces(nullptr); }
};
inline const testing::Environment* const sleep_in_one_piece = testing::AddGlobalTestEnvironment(new SleepInOnePiece);

}  // namespace troupe::test
