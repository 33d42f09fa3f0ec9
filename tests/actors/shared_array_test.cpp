// SharedArray: shapes, views, and what travels.

#include <troupe/error.hpp>
#include <troupe/pool.hpp>
#include <troupe/process.hpp>
#include <troupe/shared_array.hpp>

#include "support/pools.hpp"
#include "support/processes.hpp"

#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <ranges>
#include <vector>

namespace {

using namespace troupe;
using namespace troupe::test;
using testing::ElementsAre;

template <class Array>
Array sent(const Array& array) {
  capnp::MallocMessageBuilder message;
  auto value = message.initRoot<wire::Value>();
  encode(array, value);
  return decode<Array>(value.asReader());
}

/// 0, 1, 2, ... in row order.
template <std::size_t Rank>
SharedArray<int, Rank> counted(std::array<std::ptrdiff_t, Rank> shape) {
  SharedArray<int, Rank> array{shape};
  std::iota(array.span().begin(), array.span().end(), 0);
  return array;
}

TEST(SharedArray, IsZeroAtFirstAndInRowOrder) {
  const SharedArray<int, 3> array{2, 3, 4};
  EXPECT_EQ(array.size(), 24U);
  EXPECT_THAT(array.shape(), ElementsAre(2, 3, 4));
  EXPECT_THAT(array.strides(), ElementsAre(12, 4, 1));
  EXPECT_TRUE(std::ranges::all_of(array.span(), [](int x) { return x == 0; }));
  array(1, 2, 3) = 7;
  EXPECT_EQ(array.span().back(), 7);
  EXPECT_EQ(array.at(-1, -1, -1), 7);
}

TEST(SharedArray, ChecksIndices) {
  const SharedArray<int, 2> array{2, 3};
  EXPECT_THROW(array.at(2, 0), IndexError);
  EXPECT_THROW(array.at(0, 3), IndexError);
  EXPECT_THROW(array.at(-3, 0), IndexError);
  EXPECT_THROW(array[2], IndexError);
  EXPECT_THROW(array[0][3], IndexError);
  EXPECT_THROW((SharedArray<int, 2>{2, -1}), ValueError);
  EXPECT_THROW((SharedArray<int, 2>{std::numeric_limits<long>::max(), 3L}), ValueError);
  EXPECT_THROW(array.slice(2, 0, 1), IndexError);
  EXPECT_THROW(array.slice(0, 0, 1, 0), ValueError);
}

TEST(SharedArray, HasViews) {
  const auto array = counted<2>({4, 5});
  EXPECT_THAT(array[2].span(), ElementsAre(10, 11, 12, 13, 14));
  EXPECT_EQ(array[-1][-1], 19);

  const auto middle = array.slice(0, 1, 3).slice(1, 1, -1, 2);
  EXPECT_THAT(middle.shape(), ElementsAre(2, 2));
  EXPECT_EQ(middle(0, 0), 6);
  EXPECT_EQ(middle(1, 1), 13);
  EXPECT_FALSE(middle.is_contiguous());
  EXPECT_THROW(middle.span(), ValueError);
  middle(1, 1) = 100;
  EXPECT_EQ(array(2, 3), 100) << "a view is the same memory";

  EXPECT_TRUE(array.slice(0, 1, 3).is_contiguous());
  EXPECT_EQ(array.slice(0, 3, 1).size(), 0U);
  EXPECT_THAT(array.slice(0, -100, 100, 3).shape(), ElementsAre(2, 5));
  EXPECT_TRUE(array.slice(0, 3, 1).span().empty());
}

TEST(SharedArray, TravelsWithItsShape) {
  const auto array = counted<2>({4, 5});
  const auto same = sent(array);
  EXPECT_TRUE(is_same(array, same));
  EXPECT_EQ(same.shape(), array.shape());
  same(0, 0) = 42;
  EXPECT_EQ(array(0, 0), 42);

  const auto part = array.slice(0, 1, 4, 2).slice(1, 2, 5);
  const auto same_part = sent(part);
  EXPECT_EQ(same_part.shape(), part.shape());
  EXPECT_EQ(same_part.strides(), part.strides());
  EXPECT_EQ(&same_part(1, 2), &part(1, 2));

  EXPECT_EQ(sent(SharedArray<int>{0}).size(), 0U);
  EXPECT_EQ(sent(array.slice(0, 4, 4)).size(), 0U);
}

// What a message says about a view is checked against the block.
TEST(SharedArray, RefusesViewsThatReachOutside) {
  using Array = SharedArray<std::int32_t, 2>;
  using Wire = Codec<Array>::Wire;
  const SharedBlock block{4 * 20};
  const auto arrive = [&](std::int64_t offset, Array::Extents shape, Array::Extents strides) {
    capnp::MallocMessageBuilder message;
    auto value = message.initRoot<wire::Value>();
    encode(Wire{block, offset, shape, strides}, value);
    return decode<Array>(value.asReader());
  };
  const auto huge = std::numeric_limits<std::ptrdiff_t>::max();
  EXPECT_EQ(arrive(0, {4, 5}, {5, 1}).size(), 20U);
  EXPECT_EQ(arrive(19, {4, 5}, {-5, -1}).size(), 20U);
  EXPECT_THROW(arrive(1, {4, 5}, {5, 1}), CodecError);
  EXPECT_THROW(arrive(-1, {4, 5}, {5, 1}), CodecError);
  EXPECT_THROW(arrive(0, {5, 5}, {5, 1}), CodecError);
  EXPECT_THROW(arrive(18, {4, 5}, {-5, -1}), CodecError);
  EXPECT_THROW(arrive(0, {-1, 5}, {5, 1}), CodecError);
  EXPECT_THROW(arrive(0, {huge, 2}, {huge, 1}), CodecError);
  EXPECT_THROW(arrive(0, {huge, huge}, {0, 0}), CodecError);
  EXPECT_THROW(arrive(21, {0, 0}, {1, 1}), CodecError);
  EXPECT_THROW(arrive(huge, {1, 1}, {1, 1}), CodecError);
}

void fill_row(const SharedArray<double, 2>& array, int row) {
  for (double& item : array[row].span()) item = row;
}

TEST(SharedArray, IsFilledByAPool) {
  const SharedArray<double, 2> array{100, 64};
  Pool pool{3};
  pool.map(bind(fill_row, array), std::views::iota(0, 100));
  for (int row = 0; row < 100; ++row)
    for (int column = 0; column < 64; ++column) ASSERT_EQ(array(row, column), row);
  pool.close();
  pool.join();
}

struct Particle {
  std::array<double, 3> position;
  int charge;
};

// Not the memory, only the handle is in the message.
TEST(SharedArray, CostsTheSameWhateverItsSize) {
  const auto words_of = [](const auto& array) {
    capnp::MallocMessageBuilder message;
    encode(array, message.initRoot<wire::Value>());
    return message.sizeInWords();
  };
  EXPECT_EQ(words_of(SharedArray<Particle>{1}), words_of(SharedArray<Particle>{1'000'000}));
}

TEST(SharedArray, IsMadeAndReturnedByATask) {
  Pool pool{1};
  const auto array = pool.apply(counted<1>, std::array<std::ptrdiff_t, 1>{1000});
  EXPECT_EQ(array.size(), 1000U);
  EXPECT_EQ(array[999], 999);
  pool.terminate();
}

}  // namespace
