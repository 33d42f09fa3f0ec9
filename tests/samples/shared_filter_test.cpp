// samples/shared_filter: the picture that the pool makes is the one that a loop makes.

#include "program.hpp"

#include <gmock/gmock.h>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <shared_filter/filter.hpp>
#include <span>
#include <vector>

namespace samples {
namespace {

using ::testing::HasSubstr;

const std::string shared_filter = SHARED_FILTER;

std::string content_of(const std::string& path) {
  std::ifstream file{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{file}, {}};
}

std::string picture_by_loop(const Picture& picture) {
  const std::size_t row_bytes = static_cast<std::size_t>(picture.width) * num_colours;
  std::vector<std::uint8_t> sharp(row_bytes * static_cast<std::size_t>(picture.height));
  std::vector<std::uint8_t> blurred(sharp.size());
  const auto row_of = [&](std::vector<std::uint8_t>& bytes, int row) {
    return std::span{bytes}.subspan(static_cast<std::size_t>(row) * row_bytes, row_bytes);
  };
  for (int row = 0; row < picture.height; ++row) draw_row(picture, row, row_of(sharp, row));
  for (int row = 0; row < picture.height; ++row) blur_row(picture, sharp, row, row_of(blurred, row));
  return "P6\n" + std::to_string(picture.width) + ' ' + std::to_string(picture.height) + "\n255\n" +
         std::string(blurred.begin(), blurred.end());
}

TEST(SharedFilter, IsTheSamePictureInAPool) {
  const Folder folder;
  const std::string file = folder.path("picture.ppm");
  for (const int workers : {1, 3}) {
    Program program{{shared_filter, "--width", "61", "--height", "47", "--radius", "3", "--workers",
                     std::to_string(workers), "--output", file}};
    EXPECT_EQ(program.wait(), 0) << program.error();
    EXPECT_EQ(program.out(), file + ": 61 x 47 points\n");
    EXPECT_EQ(program.error(), "");
    EXPECT_TRUE(content_of(file) == picture_by_loop({.width = 61, .height = 47, .radius = 3}));
  }
}

TEST(SharedFilter, SaysThatItCannotWrite) {
  const Folder folder;
  const std::string file = folder.path("missing/picture.ppm");
  Program program{{shared_filter, "--width", "8", "--height", "8", "--output", file}};
  EXPECT_EQ(program.wait(), 1);
  EXPECT_THAT(program.error(), HasSubstr("cannot write " + file + ": No such file or directory"));
}

}  // namespace
}  // namespace samples
