// What a ShareableList keeps of its items.

#include <troupe/shareable_list.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>

namespace {

using namespace troupe;
using namespace std::string_literals;

class ShareableListItems : public testing::Test {
 protected:
  void TearDown() override { list_.shm().unlink(); }

  /// What comes out when that was put in.
  ShareableItem kept(const ShareableItem& item) const {
    list_.set(0, item);
    return list_[0];
  }

 private:
  const ShareableList list_{"a slot of some size"};
};

// NUL bytes fill the slot, so those at the end are not told from it.
TEST_F(ShareableListItems, TextLosesNulsAtItsEnd) {
  EXPECT_EQ(kept("text\0\0"s), "text");
  EXPECT_EQ(kept("te\0xt\0"s), "te\0xt"s);
  EXPECT_EQ(kept("\0\0"s), "");
  const ShareableItem::Bytes bytes{std::byte{1}, std::byte{0}, std::byte{2}, std::byte{0}};
  EXPECT_EQ(kept(bytes), (ShareableItem::Bytes{std::byte{1}, std::byte{0}, std::byte{2}}));
}

TEST_F(ShareableListItems, IntegersHave64Bits) {
  for (const std::int64_t number :
       {std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max(), std::int64_t{1} << 32U})
    EXPECT_EQ(kept(number).as<std::int64_t>(), number);
}

}  // namespace
