// samples/mandelbrot: the picture that the pool makes is the one that a loop makes.

#include "program.hpp"

#include <gmock/gmock.h>

#include <iterator>
#include <mandelbrot/mandelbrot.hpp>

namespace samples {
namespace {

using ::testing::HasSubstr;

const std::string mandelbrot = MANDELBROT;

std::string content_of(const std::string& path) {
  std::ifstream file{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{file}, {}};
}

std::string picture_by_loop(const Picture& picture) {
  std::string bytes = "P6\n" + std::to_string(picture.width) + ' ' + std::to_string(picture.height) + "\n255\n";
  for (int row = 0; row < picture.height; ++row) {
    for (const std::uint8_t byte : render_row(picture, row)) bytes += static_cast<char>(byte);
  }
  return bytes;
}

TEST(Mandelbrot, IsTheSamePictureInAPool) {
  const Folder folder;
  const std::string file = folder.path("picture.ppm");
  for (const int workers : {1, 3}) {
    Program program{
        {mandelbrot, "--width", "61", "--height", "47", "--workers", std::to_string(workers), "--output", file}};
    EXPECT_EQ(program.wait(), 0) << program.error();
    EXPECT_EQ(program.out(), file + ": 61 x 47 points\n");
    EXPECT_EQ(program.error(), "");
    EXPECT_TRUE(content_of(file) == picture_by_loop({.width = 61, .height = 47}));
  }
}

TEST(Mandelbrot, DrawsABarOnATerminal) {
  const Folder folder;
  Program program{{mandelbrot, "--width", "61", "--height", "47", "--output", folder.path("picture.ppm")},
                  {.on_terminal = true}};
  EXPECT_EQ(program.wait(), 0);
  EXPECT_THAT(program.error(), HasSubstr("=] 100 %  47/47"));
}

TEST(Mandelbrot, SaysThatItCannotWrite) {
  const Folder folder;
  const std::string file = folder.path("missing/picture.ppm");
  Program program{{mandelbrot, "--width", "8", "--height", "8", "--output", file}};
  EXPECT_EQ(program.wait(), 1);
  EXPECT_THAT(program.error(), HasSubstr("cannot write " + file + ": No such file or directory"));
}

}  // namespace
}  // namespace samples
