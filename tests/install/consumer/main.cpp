// What a user's program is like: it knows the installed headers and troupe::troupe, nothing else.

#include <troupe/pool.hpp>
#include <troupe/runtime.hpp>

#include <iostream>
#include <ranges>

namespace {

int square(int x) { return x * x; }

}  // namespace

int main(int argc, char** argv) {
  const troupe::Runtime runtime{argc, argv};
  troupe::Pool pool{2};
  std::cout << "squares:";
  for (const int y : pool.map(square, std::views::iota(0, 4))) std::cout << ' ' << y;
  std::cout << '\n';
  pool.close();
  pool.join();
}
