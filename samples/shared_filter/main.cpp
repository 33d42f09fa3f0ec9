// Shows a pool that works on shared arrays: the tasks read one picture and write another, and nothing is copied.
// Run: shared_filter [--width 800] [--height 600] [--radius 4] [--workers N] [--output shared_filter.ppm]
// Writes a PPM picture; prints its name and size.

#include <troupe/pool.hpp>
#include <troupe/process.hpp>
#include <troupe/runtime.hpp>
#include <troupe/shared_array.hpp>

#include "filter.hpp"

#include <CLI/CLI.hpp>

#include <cerrno>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <ranges>
#include <string>
#include <system_error>

namespace {

using Image = troupe::SharedArray<std::uint8_t, 3>;  // row, column, colour

// The tasks. An Image is a handle: what it refers to is the same memory in every process.
void draw(const Picture& picture, const Image& image, int row) { draw_row(picture, row, image[row].span()); }

void blur(const Picture& picture, const Image& from, const Image& to, int row) {
  blur_row(picture, from.span(), row, to[row].span());
}

void check(const std::ofstream& file, const std::string& path) {
  if (!file) throw std::system_error(errno, std::generic_category(), "cannot write " + path);
}

void write(const Image& image, const std::string& path) {
  std::ofstream file{path, std::ios::binary};
  check(file, path);
  file << "P6\n" << image.extent(1) << ' ' << image.extent(0) << "\n255\n";
  const auto bytes = image.span();
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  file.close();
  check(file, path);
}

void filter(const Picture& picture, int workers, const std::string& path) {
  const Image sharp{picture.height, picture.width, static_cast<int>(num_colours)};
  const Image blurred{sharp.shape()};
  const auto rows = std::views::iota(0, picture.height);

  troupe::Pool pool{workers};
  pool.map(troupe::bind(draw, picture, sharp), rows);
  pool.map(troupe::bind(blur, picture, sharp, blurred), rows);
  pool.close();
  pool.join();
  write(blurred, path);
}

}  // namespace

int main(int argc, char** argv) {
  const troupe::Runtime runtime{argc, argv};
  Picture picture;
  int workers = troupe::cpu_count();
  std::string output = "shared_filter.ppm";
  CLI::App app{"A picture, blurred by a pool of processes that share it"};
  app.add_option("--width", picture.width, "in points")->check(CLI::Range(1, 20000))->capture_default_str();
  app.add_option("--height", picture.height, "in points")->check(CLI::Range(1, 20000))->capture_default_str();
  app.add_option("--radius", picture.radius, "of the blur")->check(CLI::Range(0, 100))->capture_default_str();
  app.add_option("--workers", workers, "how many processes")->check(CLI::Range(1, 1024))->capture_default_str();
  app.add_option("--output", output, "the picture, PPM (P6)")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    filter(picture, workers, output);
    std::cout << output << ": " << picture.width << " x " << picture.height << " points\n";
  } catch (const std::exception& error) {
    std::cerr << "shared_filter: " << error.what() << '\n';
    return 1;
  }
}
