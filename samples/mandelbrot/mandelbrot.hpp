#pragma once

/// \file
/// The Mandelbrot set as a picture.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

struct Picture {
  int width = 800;
  int height = 600;
};

constexpr int max_steps = 1000;

/// How many steps it takes the point to leave the circle of radius 2; max_steps if it stays.
inline int steps_of(double x, double y) {
  double re = 0;
  double im = 0;
  for (int step = 0; step < max_steps; ++step) {
    const double re2 = re * re;
    const double im2 = im * im;
    if (re2 + im2 > 4) return step;
    im = 2 * re * im + y;
    re = re2 - im2 + x;
  }
  return max_steps;
}

/// Row `row` of the picture, three bytes (red, green, blue) per point. One task of the pool; it returns to main packed,
/// as bytes.
inline std::vector<std::uint8_t> render_row(const Picture& picture, int row) {
  const double scale = std::max(3.2 / picture.width, 2.4 / picture.height);
  const double y = (row - picture.height / 2.0) * scale;
  std::vector<std::uint8_t> bytes;
  bytes.reserve(static_cast<std::size_t>(picture.width) * 3);
  for (int column = 0; column < picture.width; ++column) {
    const int steps = steps_of((column - picture.width / 2.0) * scale - 0.7, y);
    const int glow = steps == max_steps ? 0 : 255 - 255 * 8 / (steps + 8);  // brighter the longer it took
    for (const int colour : {glow * glow / 255, glow * 3 / 4, (255 - glow) * glow / 64 / 2})
      bytes.push_back(static_cast<std::uint8_t>(colour));
  }
  return bytes;
}
