#pragma once

// Reads the options of a soak: --name value.

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <variant>

namespace troupe::test {

/// Where the value of each option goes.
using Options = std::map<std::string_view, std::variant<double*, std::uint64_t*, std::string*>>;

template <class T>
T number_from(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || !(value > T{}))
    throw std::invalid_argument("not a number above 0: " + std::string(text));
  return value;
}

/// Errors: std::invalid_argument that names what is wrong.
inline void read_options(std::span<char* const> arguments, const Options& options) {
  for (std::size_t i = 1; i < arguments.size(); i += 2) {
    const std::string_view name = arguments[i];
    const auto found = options.find(name);
    if (found == options.end()) throw std::invalid_argument("unknown option " + std::string(name));
    if (i + 1 == arguments.size()) throw std::invalid_argument("a value is missing behind " + std::string(name));
    std::visit(
        [&]<class T>(T* target) {
          if constexpr (std::is_same_v<T, std::string>)
            *target = arguments[i + 1];
          else
            *target = number_from<T>(arguments[i + 1]);
        },
        found->second);
  }
}

}  // namespace troupe::test
