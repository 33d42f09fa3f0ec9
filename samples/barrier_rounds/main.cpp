// Shows a computation in steps: each process computes its part of a row from the row before, and all meet at a barrier
// before the next step.
// Run: barrier_rounds
// Prints the rows, one per step: each cell is the exclusive or of its two neighbours above.

#include <troupe/barrier.hpp>
#include <troupe/error.hpp>
#include <troupe/file_descriptor.hpp>
#include <troupe/process.hpp>
#include <troupe/runtime.hpp>

#include <iostream>
#include <span>
#include <string>
#include <unistd.h>
#include <vector>

namespace {

constexpr int width = 63;
constexpr int num_steps = 16;
constexpr int num_parts = 3;

/// Two rows in memory that all processes share: the one before and the one that is computed.
class Rows {
 public:
  explicit Rows(const troupe::FileDescriptor& file)
      : memory_(file.get(), 0, bytes, troupe::Mapping::Access::read_write, "the rows") {}

  std::span<char> of_step(int step) const {
    return {reinterpret_cast<char*>(memory_.data()) + step % 2 * width, static_cast<std::size_t>(width)};
  }

  static constexpr std::size_t bytes = 2 * width;

 private:
  troupe::Mapping memory_;
};

troupe::FileDescriptor copy_of(const troupe::FileDescriptor& file) { return troupe::FileDescriptor{::dup(file.get())}; }

char cell(std::span<const char> row, int place) {
  return place < 0 || place >= width ? '\0' : row[static_cast<std::size_t>(place)];
}

void draw(std::span<const char> row) {
  std::string line;
  for (const char alive : row) line += alive != 0 ? '#' : '.';
  std::cout << line + '\n' << std::flush;
}

void compute(int part, const troupe::Barrier& barrier, const troupe::FileDescriptor& file) {
  const Rows rows{file};
  for (int step = 1; step < num_steps; ++step) {
    const auto before = rows.of_step(step - 1);
    const auto now = rows.of_step(step);
    for (int place = part * width / num_parts; place < (part + 1) * width / num_parts; ++place)
      now[static_cast<std::size_t>(place)] = static_cast<char>(cell(before, place - 1) ^ cell(before, place + 1));
    // All parts of the row are there; one of the processes, and only one, gets a 0 and draws it.
    if (barrier.wait() == 0) draw(now);
    barrier.wait();  // nobody overwrites the row before it is drawn
  }
}

}  // namespace

int main(int argc, char** argv) {
  const troupe::Runtime runtime{argc, argv};
  try {
    const troupe::Barrier barrier{num_parts};
    const troupe::FileDescriptor file = troupe::create_memory_file("rows", Rows::bytes);
    const Rows rows{file};
    rows.of_step(0)[width / 2] = 1;
    draw(rows.of_step(0));
    std::vector<troupe::Process> processes;
    for (int part = 0; part < num_parts; ++part) processes.emplace_back(compute, part, barrier, copy_of(file)).start();
    for (const troupe::Process& each : processes) each.join();
  } catch (const troupe::Error& error) {
    std::cerr << "barrier_rounds: " << error.what() << '\n';
    return 1;
  }
}
