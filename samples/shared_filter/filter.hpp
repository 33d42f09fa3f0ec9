#pragma once

/// \file
/// A picture of rings and a filter that blurs it, row by row. Three bytes (red, green, blue) per point.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

struct Picture {
  int width = 800;
  int height = 600;
  int radius = 4;  ///< of the blur, in points
};

constexpr std::size_t num_colours = 3;

/// Draws row `row` into `out`.
inline void draw_row(const Picture& picture, int row, std::span<std::uint8_t> out) {
  for (int column = 0; column < picture.width; ++column) {
    const double distance = std::hypot(column - picture.width / 2.0, row - picture.height / 2.0);
    const bool is_ring = static_cast<int>(distance / 24) % 2 == 0;
    const auto shade = static_cast<std::uint8_t>(std::min(255.0, distance / 2));
    const std::array<std::uint8_t, num_colours> colour{static_cast<std::uint8_t>(is_ring ? 240 : 20), shade,
                                                       static_cast<std::uint8_t>(255 - shade)};
    std::ranges::copy(colour, out.subspan(static_cast<std::size_t>(column) * num_colours).begin());
  }
}

/// Writes row `row` of `from` into `out`, each point the mean of those around it.
inline void blur_row(const Picture& picture, std::span<const std::uint8_t> from, int row, std::span<std::uint8_t> out) {
  const int first_row = std::max(row - picture.radius, 0);
  const int last_row = std::min(row + picture.radius, picture.height - 1);
  for (int column = 0; column < picture.width; ++column) {
    const int first = std::max(column - picture.radius, 0);
    const int last = std::min(column + picture.radius, picture.width - 1);
    std::array<unsigned, num_colours> sum{};
    for (int y = first_row; y <= last_row; ++y) {
      for (int x = first; x <= last; ++x) {
        const auto point = static_cast<std::size_t>(y * picture.width + x);
        for (std::size_t colour = 0; colour < num_colours; ++colour) sum[colour] += from[point * num_colours + colour];
      }
    }
    const auto count = static_cast<unsigned>((last_row - first_row + 1) * (last - first + 1));
    for (std::size_t colour = 0; colour < num_colours; ++colour)
      out[static_cast<std::size_t>(column) * num_colours + colour] = static_cast<std::uint8_t>(sum[colour] / count);
  }
}
