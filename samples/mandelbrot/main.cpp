// Shows a picture computed by a pool: a row is a task, rows come back in order and go straight to the file.
// Run: mandelbrot [--width 800] [--height 600] [--workers N] [--output mandelbrot.ppm]
// Writes a PPM picture; prints its name and size, and a progress bar on the terminal.

#include <troupe/pool.hpp>
#include <troupe/process.hpp>
#include <troupe/progress.hpp>
#include <troupe/runtime.hpp>

#include "mandelbrot.hpp"

#include <CLI/CLI.hpp>

#include <cerrno>
#include <fstream>
#include <iostream>
#include <ranges>
#include <string>
#include <system_error>

namespace {

void check(const std::ofstream& file, const std::string& path) {
  if (!file) throw std::system_error(errno, std::generic_category(), "cannot write " + path);
}

void render(const Picture& picture, int workers, const std::string& path) {
  std::ofstream file{path, std::ios::binary};
  check(file, path);
  file << "P6\n" << picture.width << ' ' << picture.height << "\n255\n";

  troupe::Pool pool{workers};
  auto rows = pool.imap(troupe::bind(render_row, picture), std::views::iota(0, picture.height));
  for (const auto& row : troupe::progress("mandelbrot", picture.height).wrap(rows))
    file.write(reinterpret_cast<const char*>(row.data()), static_cast<std::streamsize>(row.size()));
  pool.close();
  pool.join();

  file.close();
  check(file, path);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"The Mandelbrot set, computed by a pool of processes"};
  try {
    const troupe::Runtime runtime{argc, argv};
    Picture picture;
    int workers = troupe::cpu_count();
    std::string output = "mandelbrot.ppm";
    app.add_option("--width", picture.width, "in points")->check(CLI::Range(1, 100000))->capture_default_str();
    app.add_option("--height", picture.height, "in points")->check(CLI::Range(1, 100000))->capture_default_str();
    app.add_option("--workers", workers, "how many processes")->check(CLI::Range(1, 1024))->capture_default_str();
    app.add_option("--output", output, "the picture, PPM (P6)")->capture_default_str();
    CLI11_PARSE(app, argc, argv);
    render(picture, workers, output);
    std::cout << output << ": " << picture.width << " x " << picture.height << " points\n";
  } catch (const std::exception& error) {
    std::cerr << "mandelbrot: " << error.what() << '\n';
    return 1;
  }
}
