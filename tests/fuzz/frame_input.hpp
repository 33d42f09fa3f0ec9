#pragma once

/// \file
/// What frame_fuzz and its seeds agree on: how an input describes a ring and an arena, and which callables there are.

#include <troupe/callable.hpp>
#include <troupe/task_call.hpp>

#include <array>
#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

namespace fuzz {

/// Starts every input. Then come the bytes of the ring from `head` on, then those of the arena's first block.
struct FrameInput {
  std::uint64_t head;
  std::uint64_t tail;
  std::uint64_t arena_bytes;
};

struct Add {
  int operator()(int x, int y) const { return static_cast<int>(static_cast<unsigned>(x) + static_cast<unsigned>(y)); }
};
struct Join {
  std::string operator()(const std::vector<std::string>& parts) const {
    std::string all;
    for (const auto& part : parts) all += part;
    return all;
  }
};
struct Scale {
  double factor;
  std::string unit;
  std::string operator()(double x) const { return std::to_string(factor * x) + unit; }
};
struct Forget {
  void operator()(const std::string&) const {}
};
using AddTo = troupe::Bound<Add, int>;

template <class F, class... Stored>
using Call = troupe::detail::CallThunk<F, std::tuple<Stored...>>;

/// Harmless with any arguments. A task of an input names one by its index in place of an address, which every build
/// would change.
inline constexpr std::array<troupe::TaskThunk, 8> thunks{
    &Call<Add, int, int>::run,
    &Call<Join, std::vector<std::string>>::run,
    &Call<Scale, double>::run,
    &Call<AddTo, int>::run,
    &troupe::detail::ChunkThunk<Add, std::tuple<int, int>, true>::run,
    &troupe::detail::ChunkThunk<AddTo, int, false>::run,
    &troupe::detail::ChunkThunk<Scale, double, false>::run,
    &troupe::detail::ChunkThunk<Forget, std::string, false>::run,
};
enum Thunk : std::uint64_t { add, join, scale, add_to, add_star, add_to_each, scale_each, forget_each };

}  // namespace fuzz
