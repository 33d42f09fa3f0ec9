// Writes the seed corpus of value_fuzz: one segment for each kind of value. Run it again when the schema grows.
// Usage: value_seeds DIR

#include <troupe/codec.hpp>
#include <troupe/dynamic.hpp>
#include <troupe/failure.hpp>

#include <capnp/message.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <string>
#include <tuple>
#include <variant>
#include <vector>

namespace {

struct Point {
  int x;
  std::string label;
};

class Named {
  int a = 1;
  std::string b = "b";
  std::optional<double> c = 0.5;
  TROUPE_FIELDS(a, b, c)
};

template <class T>
void write(const std::filesystem::path& file, const T& value) {
  capnp::MallocMessageBuilder message;
  troupe::encode(value, message.initRoot<troupe::wire::Value>());
  const auto bytes = message.getSegmentsForOutput()[0].asBytes();
  std::ofstream(file, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.begin()), static_cast<std::streamsize>(bytes.size()));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: value_seeds DIR\n";
    return 2;
  }
  const std::filesystem::path dir = argv[1];
  std::filesystem::create_directories(dir);
  write(dir / "none", nullptr);
  write(dir / "bool", true);
  write(dir / "int64", -3);
  write(dir / "uint64", 3U);
  write(dir / "float64", 0.5);
  write(dir / "text", "text");
  write(dir / "data", std::vector<std::byte>(5));
  write(dir / "list", std::tuple(1, "x", nullptr));
  write(dir / "nested", std::vector<std::vector<std::string>>{{"a"}, {}, {"b", "c"}});
  write(dir / "map", std::map<std::string, std::vector<int>>{{"a", {1, 2}}, {"b", {}}});
  write(dir / "struct", Point{1, "label"});
  write(dir / "named", Named());
  write(dir / "error",
        std::make_exception_ptr(troupe::WorkerDied({.pid = 5, .exitcode = -9, .task = "square", .attempts = 2})));
  write(dir / "foreign_error", std::make_exception_ptr(std::out_of_range("index")));
  write(dir / "handle", troupe::Dynamic(troupe::Dynamic::Handle{.kind = "queue", .address = {1, "host"}}));
  write(dir / "message", troupe::Typed<troupe::wire::Error>());
  write(dir / "variant", std::variant<int, std::string>("x"));
  write(dir / "duration", std::chrono::milliseconds(1500));
  write(dir / "float_duration", std::chrono::duration<double>(0.5));
  write(dir / "bools", std::vector<bool>{true, false, true});
  write(dir / "int8s", std::vector<std::int8_t>{-1, 1});
  write(dir / "int16s", std::vector<std::int16_t>{-1, 1});
  write(dir / "int32s", std::vector<std::int32_t>{-1, 1});
  write(dir / "int64s", std::vector<std::int64_t>{-1, 1});
  write(dir / "uint16s", std::vector<std::uint16_t>{1, 2});
  write(dir / "uint32s", std::vector<std::uint32_t>{1, 2});
  write(dir / "uint64s", std::vector<std::uint64_t>{1, 2});
  write(dir / "float32s", std::vector<float>{0.5F, 1});
  write(dir / "float64s", std::vector<double>{0.5, 1});
}
